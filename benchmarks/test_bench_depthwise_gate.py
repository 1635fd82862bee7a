"""Depthwise 3x3 convolution and GELU gate."""

from __future__ import annotations

import pytest

from adair_core.bench.case import OURS, REFERENCES, TORCH
from adair_core.bench.replay import clock


@pytest.mark.benchmark(timer=clock)
@pytest.mark.cases("op", "depthwise_gate ", rows=(*TORCH, OURS, REFERENCES))
def test_depthwise_gate(record, case, row):
    record(case, row)
