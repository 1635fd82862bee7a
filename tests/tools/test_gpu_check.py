"""The frame of tools/gpu_check.py: what becomes of steps that fail, crash or hang, and which of them run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner, Result

from adair_core.ops.native import Library

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from gpu_checks import command
from gpu_checks.apart import apart
from gpu_checks.device import Device
from gpu_checks.setting_up import marked_files, sanitize
from gpu_checks.sources import digest
from gpu_checks.steps import STEPS

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "gpu_check.py"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize(
    ("code", "status", "found"),
    [
        ("print('found: {\"failures\": []}')", "passed", {"failures": []}),
        ("print('found: {\"failures\": [1]}'); raise SystemExit(1)", "failed", {"failures": [1]}),
        ("raise ValueError('wrong name')", "failed", None),
        ("import os; os.abort()", "crashed (-6)", None),
    ],
)
def test_every_end_is_a_result(code: str, status: str, found: object, tmp_path: Path):
    result = apart(python(code), limit=60, log=tmp_path / "logs" / "step.txt")
    assert result["status"] == status
    assert result.get("found") == found
    if "wrong name" in code:
        assert result["output"][-1] == "ValueError: wrong name"


def test_a_step_that_hangs_is_ended_with_its_children(tmp_path: Path):
    child = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); p.wait()"
    begun = time.monotonic()
    result = apart(python(child), limit=3, log=tmp_path / "step.txt")
    assert result["status"] == "ended after 3 s"
    assert time.monotonic() - begun < 30
    process = int(result["output"][0])
    assert (tmp_path / "step.txt").read_text() == f"{process}\n"
    for _ in range(100):
        state = Path(f"/proc/{process}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            break
        time.sleep(0.1)
    else:
        pytest.fail("the child still runs")


def test_steps_are_short_and_correctness_comes_first():
    steps = list(STEPS.values())
    assert all(step.limit <= 180 for step in steps)
    first = [step for step in steps if step.first]
    assert steps[: len(first)] == first
    names = [step.name for step in first]
    assert names.index("build") < names.index("tests") < names.index("operators")


class Machine:
    """Where steps take what seconds they take, and end as they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, out: Path, *, seconds: float = 1.0) -> None:
        self.out, self.seconds, self.now = out, seconds, 1000.0
        self.ends: dict[str, str] = {}
        self.limits: dict[str, float] = {}
        monkeypatch.setattr(command, "apart", self.apart)
        monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: self.now))

    def apart(self, words: list[str], *, limit: float, log: Path) -> dict[str, object]:
        name = words[words.index("perform") + 1]
        assert log == self.out / "logs" / f"{name.replace(' ', '-')}.txt"
        self.limits[name] = limit
        seconds = min(self.seconds, limit)
        self.now += seconds
        status = self.ends.get(name, "passed" if seconds < limit else f"ended after {limit:.0f} s")
        return {"status": status, "seconds": seconds, "found": {"failures": []}}

    def run(self, *arguments: str) -> Result:
        self.limits.clear()
        return CliRunner().invoke(command.main, ["run", "--out", str(self.out), *arguments])


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


ALWAYS = ["environment", "build"]
USUAL = [step.name for step in STEPS.values() if not step.optional]


def test_what_passed_is_not_run_again(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    machine.ends["bits"] = "failed"
    result = machine.run()
    assert result.exit_code == 1
    assert "failed: bits\n" in result.stderr
    assert list(machine.limits) == USUAL
    machine.ends.clear()
    assert machine.run().exit_code == 0
    assert list(machine.limits) == [*ALWAYS, "bits"]
    machine.run("--step", "block")
    assert list(machine.limits) == ["block"]
    assert list(json.loads((machine.out / "report.json").read_text())) == USUAL
    for name, value in {"digest": "other code", "_card": "another card"}.items():
        monkeypatch.setattr(command, name, lambda value=value: value)
        machine.run()
        assert list(machine.limits) == USUAL, name
    monkeypatch.setattr(torch, "__version__", "9.9")
    machine.run("--step", "block")
    assert list(json.loads((machine.out / "report.json").read_text())) == ["block"]


def test_kernels_that_are_built_are_not_built(machine: Machine):
    assert machine.run("--first", "--built").exit_code == 0
    assert list(machine.limits) == [step.name for step in STEPS.values() if step.first and step.name != "build"]


def test_a_rehearsal_is_no_visit(machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    machine.run("--dry-run")
    assert list(machine.limits) == list(STEPS)
    machine.run()
    assert list(machine.limits) == USUAL
    monkeypatch.chdir(tmp_path)
    machine.out = command.REHEARSED
    assert CliRunner().invoke(command.main, ["run", "--dry-run", "--step", "bits"]).exit_code == 0
    assert command.REHEARSED.is_dir()
    assert not command.OUT.exists()


def test_code_counts_whether_it_is_committed_or_not(tmp_path: Path):
    (tmp_path / "csrc" / "gate").mkdir(parents=True)
    found = [digest(tmp_path)]
    kernel = tmp_path / "csrc" / "gate" / "kernel.cuh"
    for content in ("one", "two"):
        kernel.write_text(content)
        found.append(digest(tmp_path))
    kernel.rename(kernel.with_name("other.cuh"))
    found.append(digest(tmp_path))
    (tmp_path / "csrc" / "notes.txt").write_text("no code")
    assert len({*found, digest(tmp_path)}) == 4
    assert digest() == digest()


def test_without_kernels_nothing_passes(machine: Machine):
    machine.ends |= {"build": "failed", "tests": f"crashed ({command.REFUSED})"}
    assert machine.run("--first").exit_code == 1
    assert list(machine.limits) == ["environment", "build", "tests"]
    found = json.loads((machine.out / "report.json").read_text())
    refused = {name for name, done in found.items() if done["status"] == "refused"}
    assert refused == {step.name for step in STEPS.values() if step.first} - {"environment", "build"}


def test_what_would_run_references_is_refused(monkeypatch: pytest.MonkeyPatch):
    device = SimpleNamespace(rehearsal=False)
    monkeypatch.setattr(command, "cuda_library", lambda: Library(None))
    assert "the library for CUDA is not built; expected" in command.obstacle(STEPS["bits"], device)
    assert command.obstacle(STEPS["build"], device) is None
    assert command.obstacle(STEPS["bits"], Device("cpu")) is None
    monkeypatch.setattr(command, "cuda_library", lambda: Library(Path("x.so"), "undefined symbol"))
    assert "x.so cannot be used: undefined symbol" in command.obstacle(STEPS["block"], device)
    monkeypatch.setattr(command, "chosen", lambda dry_run: device)
    assert CliRunner().invoke(command.main, ["perform", "bits"]).exit_code == command.REFUSED
    monkeypatch.setattr(command, "cuda_library", lambda: Library(Path("x.so")))
    assert command.obstacle(STEPS["bits"], device) is None
    assert [step.name for step in STEPS.values() if not step.kernels] == ALWAYS


def test_a_first_visit_ends_in_time_and_the_next_goes_on(machine: Machine):
    machine.seconds = 110
    began = machine.now
    result = machine.run("--first")
    assert machine.now - began <= 540
    assert list(machine.limits) == ["environment", "build", "tests", "errors", "bits", "memcheck"]
    assert machine.limits["tests"] == 180
    assert machine.limits["memcheck"] == 540 - 60 - 4 * 110
    assert "no time was left for: racecheck, operators, block; the same command goes on with them" in result.stdout
    assert "| racecheck | not run yet |  |" in (machine.out / "report.md").read_text()
    assert "failed: environment, memcheck" in result.stderr
    machine.run("--first")
    assert list(machine.limits) == [*ALWAYS, "memcheck", "racecheck", "operators", "block"]
    machine.seconds = 1
    assert machine.run("--first", "--budget", "20").exit_code == 0
    assert not machine.limits


def test_a_step_by_itself():
    """Through all processes, once."""
    words = [sys.executable, str(TOOL), "perform", "environment", "--dry-run"]
    done = subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.removeprefix("found: "))["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("said", "code", "failures"),
    [
        ("========= ERROR SUMMARY: 0 errors", 0, 0),
        ("========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)", 0, 0),
        ("========= ERROR SUMMARY: 3 errors", 9, 2),
        ("========= ERROR SUMMARY: 10 errors", 0, 1),
        ("", 0, 1),
    ],
)
def test_a_sanitizer_has_to_say_that_it_found_nothing(
    said: str, code: int, failures: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    program = tmp_path / "compute-sanitizer"
    program.write_text(f"#!/bin/sh\necho '{said}'\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = sanitize(SimpleNamespace(rehearsal=False), "memcheck")
    assert len(found["failures"]) == failures
    assert found["output"] == [said]
    assert "--tool memcheck" in found["command"]
    assert found["command"].endswith("gpu_check.py perform tiny")


def test_every_test_for_a_device_runs():
    marked = {
        path for path in (ROOT / "tests").rglob("*.py") if re.search(r"^@pytest\.mark\.gpu$", path.read_text(), re.M)
    }
    assert {ROOT / path for path in marked_files()} == marked
    assert len(marked) >= 3
