"""Adapters of each image's own: bottleneck_batch."""

from __future__ import annotations

import pytest

from adair_core.bench.case import OURS, REFERENCES, TORCH
from adair_core.bench.replay import clock


@pytest.mark.benchmark(timer=clock)
@pytest.mark.cases("op", "bottleneck_batch ", rows=(*TORCH, OURS, REFERENCES))
def test_bottleneck_batch(record, case, row):
    record(case, row)
