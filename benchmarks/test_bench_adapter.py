"""What an adapter that is not merged costs."""

from __future__ import annotations

import pytest

from adair_core.bench.case import EAGER, OURS, PEFT
from adair_core.bench.cases.adapters import KINDS, PLAIN, with_adapter
from adair_core.bench.replay import clock


@pytest.mark.benchmark(timer=clock)
@pytest.mark.cases("adapter", "", rows=(OURS, *(with_adapter(kind) for kind in KINDS), EAGER, *PLAIN, PEFT))
def test_adapter(record, case, row):
    record(case, row)
