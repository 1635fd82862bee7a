"""A batch of four images with four adapters."""

from __future__ import annotations

import pytest

from adair_core.bench.case import OURS, PEFT
from adair_core.bench.cases.mixed import ONE_FOR_ALL, PEFT_BATCH
from adair_core.bench.replay import clock


@pytest.mark.benchmark(timer=clock)
@pytest.mark.cases("mixed", "", rows=(OURS, ONE_FOR_ALL, PEFT, PEFT_BATCH))
def test_mixed(record, case, row):
    record(case, row)
