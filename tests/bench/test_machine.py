from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from adair_core.bench import allocator, machine
from adair_core.bench.machine import Ticks, others
from adair_core.bench.roofline import Roofline, measure
from adair_core.bench.run import refuse_disturbance
from adair_core.errors import AdairError


def test_other_programs_are_what_the_machine_did_less_what_we_did():
    before, after = Ticks(10.0, 500.0, 7.0), Ticks(14.0, 506.0, 9.0)
    assert others(before, after) == 1.0
    assert others(before, Ticks(14.0, 501.0, 9.0)) == 0.0
    assert others(Ticks(10.0, None, 7.0), after) is None
    assert others(before, before) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_a_childs_time_is_our_own():
    code = "import time\nwhile time.process_time() < 0.3: pass\nprint(1, flush=True)\ninput()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    before = Ticks.now([child.pid]).own
    assert child.stdout.readline() == "1\n"
    spent = Ticks.now([child.pid]).own - before
    child.communicate("\n")
    assert 0.1 < spent < 5.0
    assert Ticks.now([child.pid]).own < before + spent  # it has gone


def test_a_busy_machine_is_refused(monkeypatch):
    monkeypatch.setattr(machine, "is_idle", lambda: False)
    with pytest.raises(AdairError, match="expected an idle machine"):
        refuse_disturbance(force=False)
    refuse_disturbance(force=True)
    for idle in (True, None):
        monkeypatch.setattr(machine, "is_idle", lambda idle=idle: idle)
        refuse_disturbance(force=False)


def test_the_roofline_is_the_slower_of_both():
    roof = Roofline(flops=100.0, bytes=10.0)
    assert roof.seconds(200.0, 5.0) == 2.0
    assert roof.seconds(200.0, 50.0) == 5.0
    small = measure(torch.bfloat16, side=16, copied=2**12, repeats=1)
    assert small.flops > 0
    assert small.bytes > 0


def test_stock_has_no_settings():
    given = {"MALLOC_TOP_PAD_": "1", "GLIBC_TUNABLES": "x", "LD_PRELOAD": "y", "PATH": "z", "OMP_NUM_THREADS": "1"}
    assert allocator.stock_environment(given) == {"PATH": "z", "OMP_NUM_THREADS": "1"}


@pytest.mark.skipif(os.confstr("CS_GNU_LIBC_VERSION") is None, reason="mallopt is glibc's")
def test_the_experiment_tells_tuned_from_stock():
    code = (
        "import ctypes; from adair_core.bench.allocator import describe; found = [describe()]; c = ctypes.CDLL(None);"
        "[c.mallopt(*pair) for pair in ((-3, 2**30), (-1, 2**30), (-2, 2**28))]; print([*found, describe()])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=allocator.stock_environment()
    )
    assert done.stdout.strip() == "['returns blocks', 'keeps blocks']"


def test_description():
    described = machine.describe()
    assert described["torch"] == torch.__version__
    assert described["threads"] == torch.get_num_threads()
    assert described["allocator"] in ("keeps blocks", "returns blocks")
