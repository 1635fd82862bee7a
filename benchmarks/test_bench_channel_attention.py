"""Attention across channels."""

from __future__ import annotations

import pytest

from adair_core.bench.case import OURS, REFERENCES, TORCH
from adair_core.bench.replay import clock


@pytest.mark.benchmark(timer=clock)
@pytest.mark.cases("op", "channel_attention ", rows=(*TORCH, OURS, REFERENCES))
def test_channel_attention(record, case, row):
    record(case, row)
