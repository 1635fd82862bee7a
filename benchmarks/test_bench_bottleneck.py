"""The residual of a bottleneck adapter."""

from __future__ import annotations

import pytest

from adair_core.bench.case import OURS, REFERENCES, TORCH
from adair_core.bench.replay import clock


@pytest.mark.benchmark(timer=clock)
@pytest.mark.cases("op", "bottleneck ", rows=(*TORCH, OURS, REFERENCES))
def test_bottleneck(record, case, row):
    record(case, row)
