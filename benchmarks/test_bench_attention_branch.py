"""The attention branch."""

from __future__ import annotations

import pytest

from adair_core.bench.case import OURS, REFERENCES, TORCH
from adair_core.bench.replay import clock


@pytest.mark.benchmark(timer=clock)
@pytest.mark.cases("op", "attention_branch ", rows=(*TORCH, OURS, REFERENCES))
def test_attention_branch(record, case, row):
    record(case, row)
