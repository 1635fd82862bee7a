"""Adapters of each image's own: low_rank_convolution."""

from __future__ import annotations

import pytest

from adair_core.bench.case import OURS, REFERENCES, TORCH
from adair_core.bench.replay import clock


@pytest.mark.benchmark(timer=clock)
@pytest.mark.cases("op", "low_rank_convolution ", rows=(*TORCH, OURS, REFERENCES))
def test_low_rank_convolution(record, case, row):
    record(case, row)
