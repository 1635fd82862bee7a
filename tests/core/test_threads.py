"""How many threads suit a machine: made-up machines, in files as Linux writes them."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from adair_core import threads
from adair_core.threads import Cores, cores

IDLE, WORKING = 0, 90


class Machine:
    """A machine whose logical CPUs sit in pairs on cores unless said otherwise."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.monkeypatch = monkeypatch
        monkeypatch.setattr(threads, "_STATISTICS", folder / "stat")
        monkeypatch.setattr(threads, "_TOPOLOGY", folder / "cpu")
        monkeypatch.setattr(threads, "_CGROUP", folder / "cgroup")

    def has(self, siblings: list[str], load: list[int], allowed: set[int] | None = None) -> None:
        for cpu, text in enumerate(siblings):
            file = self.folder / "cpu" / f"cpu{cpu}" / "topology" / "core_cpus_list"
            file.parent.mkdir(parents=True)
            file.write_text(text + "\n")
        mine = set(range(len(siblings))) if allowed is None else allowed
        self.monkeypatch.setattr(os, "sched_getaffinity", lambda _: mine)
        self._write(load, seconds=0)
        self.monkeypatch.setattr(threads.time, "sleep", lambda _: self._write(load, seconds=1))

    def _write(self, load: list[int], *, seconds: int) -> None:
        lines = ["cpu 1 2 3 4 5 6 7 8 9 10"]
        for cpu, percent in enumerate(load):
            busy, idle = 1000 + percent * seconds, 5000 + (100 - percent) * seconds
            lines.append(f"cpu{cpu} {busy} 0 7 {idle} 50 0 0 0 0 0")
        (self.folder / "stat").write_text("\n".join([*lines, "intr 1 2 3", ""]))

    def grants(self, quota: str, monkeypatch: pytest.MonkeyPatch) -> None:
        (self.folder / "cgroup" / "outer" / "inner").mkdir(parents=True)
        (self.folder / "cgroup" / "outer" / "cpu.max").write_text(quota)
        (self.folder / "cgroup" / "outer" / "inner" / "cpu.max").write_text("max 100000\n")
        lines = threads._lines
        monkeypatch.setattr(
            threads, "_lines", lambda p: ["0::/outer/inner"] if p == Path("/proc/self/cgroup") else lines(p)
        )


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_two_logical_cpus_of_a_core_count_once(machine):
    machine.has(["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"], [IDLE] * 8)
    found = cores()
    assert (found.physical, found.busy, found.free) == (4, 0, 4)


def test_ranges_of_siblings(machine):
    machine.has(["0-1", "0-1", "2-3", "2-3"], [IDLE] * 4)
    assert cores().physical == 2


def test_busy_cores_are_left_to_others(machine):
    machine.has(["0", "1", "2", "3"], [IDLE, WORKING, 10, WORKING])
    found = cores()
    assert (found.physical, found.busy, found.free) == (4, 2, 2)
    assert str(found) == "4 cores, 2 of them busy"


def test_a_core_is_busy_if_either_of_its_cpus_is(machine):
    machine.has(["0,2", "1,3", "0,2", "1,3"], [IDLE, IDLE, WORKING, IDLE])
    assert cores().free == 1


def test_only_the_cpus_of_this_process_count(machine):
    machine.has(["0", "1", "2", "3"], [WORKING, IDLE, IDLE, WORKING], allowed={1, 2, 3})
    found = cores()
    assert (found.physical, found.busy) == (3, 1)


def test_one_thread_even_where_all_is_busy(machine):
    machine.has(["0", "1"], [WORKING, WORKING])
    assert cores().free == 1


def test_quota_of_an_outer_control_group(machine, monkeypatch):
    machine.has([str(cpu) for cpu in range(8)], [IDLE] * 8)
    machine.grants("250000 100000\n", monkeypatch)
    found = cores()
    assert found.quota == 2.5
    assert found.free == 2
    assert str(found) == "8 cores, a quota of 2.5"


def test_no_quota(machine, monkeypatch):
    machine.has(["0", "1"], [IDLE] * 2)
    machine.grants("max 100000\n", monkeypatch)
    assert math.isinf(cores().quota)


def test_a_quota_below_one_core():
    assert Cores(physical=4, quota=0.5).free == 1


def test_a_system_that_does_not_tell(machine, tmp_path, monkeypatch):
    machine.has(["0"], [IDLE])
    monkeypatch.setattr(threads, "_STATISTICS", tmp_path / "nothing")
    assert cores() is None


def test_this_machine():
    found = cores()
    if found is not None:
        assert 1 <= found.free <= found.physical <= os.cpu_count()
