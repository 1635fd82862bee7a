"""A weight plus a low-rank update."""

from __future__ import annotations

import pytest

from adair_core.bench.case import OURS, REFERENCES, TORCH
from adair_core.bench.replay import clock


@pytest.mark.benchmark(timer=clock)
@pytest.mark.cases("op", "low_rank_weight ", rows=(*TORCH, OURS, REFERENCES))
def test_low_rank_weight(record, case, row):
    record(case, row)
