"""A training step: an adapter on a frozen base, and the whole network."""

from __future__ import annotations

import pytest

from adair_core.bench.case import OURS, PEFT, REFERENCES, STOCK, TORCH
from adair_core.bench.cases.training import DEPTHWISE
from adair_core.bench.replay import clock


@pytest.mark.benchmark(timer=clock)
@pytest.mark.cases("train", "paper lora", rows=(*TORCH, PEFT, OURS, DEPTHWISE, REFERENCES))
def test_published_lora(record, case, row):
    record(case, row)


@pytest.mark.benchmark(timer=clock)
@pytest.mark.cases("train", "paper full", rows=(*TORCH, OURS, REFERENCES))
def test_published_full(record, case, row):
    record(case, row)


@pytest.mark.benchmark(timer=clock)
@pytest.mark.cases("train", "tiny lora", rows=(*TORCH, PEFT, OURS, DEPTHWISE, REFERENCES))
def test_tiny_lora(record, case, row):
    record(case, row)


@pytest.mark.benchmark(timer=clock)
@pytest.mark.cases("train", "tiny full", rows=(*TORCH, STOCK, OURS, REFERENCES))
def test_tiny_full(record, case, row):
    record(case, row)
