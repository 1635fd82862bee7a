"""A transformer block at each level."""

from __future__ import annotations

import pytest

from adair_core.bench.case import OURS, REFERENCES, TORCH
from adair_core.bench.replay import clock


@pytest.mark.benchmark(timer=clock)
@pytest.mark.cases("block", "", rows=(*TORCH, OURS, REFERENCES))
def test_block(record, case, row):
    record(case, row)
