"""Depthwise 3x3 convolution."""

from __future__ import annotations

import pytest

from adair_core.bench.case import OURS, REFERENCES, TORCH
from adair_core.bench.replay import clock


@pytest.mark.benchmark(timer=clock)
@pytest.mark.cases("op", "depthwise ", rows=(*TORCH, OURS, REFERENCES))
def test_depthwise(record, case, row):
    record(case, row)
