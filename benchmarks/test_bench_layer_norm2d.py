"""Layer norm over channels."""

from __future__ import annotations

import pytest

from adair_core.bench.case import OURS, REFERENCES, TORCH
from adair_core.bench.replay import clock


@pytest.mark.benchmark(timer=clock)
@pytest.mark.cases("op", "layer_norm2d ", rows=(*TORCH, OURS, REFERENCES))
def test_layer_norm2d(record, case, row):
    record(case, row)
