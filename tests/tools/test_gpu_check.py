"""The frame of tools/gpu_check.py: what becomes of steps that fail, crash or hang, and the report."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner, Result
from packaging.requirements import Requirement
from torch._subclasses import FakeTensorMode

from adair_core.ops.native import Library

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from gpu_checks import command, operators, prerequisites, report, targets, tiny
from gpu_checks.apart import apart
from gpu_checks.device import Device, chosen
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


def test_no_card_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="--dry-run"):
        chosen(dry_run=False)


def test_a_wrong_kernel_is_noticed(monkeypatch: pytest.MonkeyPatch):
    operator = operators.OPERATORS["layer_norm2d"]

    def wrong(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return operator.ours(x, weight, bias) * 1.01

    broken = operators.Operator(wrong, operator.plain, operator.shapes)
    monkeypatch.setattr(operators, "OPERATORS", {"layer_norm2d": operator})
    assert operators.errors(Device("cpu"))["failures"] == []
    monkeypatch.setattr(operators, "OPERATORS", {"layer_norm2d": broken})
    failures = operators.errors(Device("cpu"))["failures"]
    assert "layer_norm2d 8x5x7, 2 heads, float32" in failures
    assert len(failures) >= 4


def test_errors_are_compared_without_tf32(monkeypatch: pytest.MonkeyPatch):
    seen = []

    def plain(*tensors: torch.Tensor) -> torch.Tensor:
        seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        return operator.plain(*tensors)

    operator = operators.OPERATORS["depthwise"]
    watched = operators.Operator(operator.ours, plain, operator.shapes)
    monkeypatch.setattr(operators, "OPERATORS", {"depthwise": watched})
    before = torch.backends.cudnn.allow_tf32
    assert before, "PyTorch's default has changed"
    found = operators.errors(Device("cpu"))
    assert set(seen) == {(False, False)}
    assert found["PyTorch's TF32 in"] == {"convolutions": False, "products": False}
    assert torch.backends.cudnn.allow_tf32 == before
    assert operators.times(Device("cpu"))["eager's TF32 in"] == {"convolutions": True, "products": False}


def test_a_peak_is_what_a_run_adds(monkeypatch: pytest.MonkeyPatch):
    held = {"now": 1000, "most": 5000}

    def allocate() -> None:
        held["most"] = held["now"] + 300

    monkeypatch.setattr(
        torch,
        "cuda",
        SimpleNamespace(
            synchronize=lambda: None,
            empty_cache=lambda: None,
            reset_peak_memory_stats=lambda: held.update(most=held["now"]),
            memory_allocated=lambda: held["now"],
            max_memory_allocated=lambda: held["most"],
        ),
    )
    assert Device("cuda").peak(allocate) == 300


BASICS = {"status": "passed", "seconds": 1.0}


@dataclass(frozen=True)
class Timed(Device):
    """Each competitor takes twice as long as the one before it, the first 32 us."""

    obstacle: str = ""
    rehearsal = False

    def captured_calls(self, calls: Sequence[Callable[[], object]]) -> Callable[[], object]:
        if self.obstacle:
            raise RuntimeError(f"{self.obstacle}\nand more lines")
        return lambda: [call() for call in calls]

    def seconds(self, competitors: Mapping[str, Callable[[], object]], *, rounds: int = 0) -> dict[str, float]:
        for run in competitors.values():
            run()
        return {name: 32e-6 * 2**place for place, name in enumerate(competitors)}


def test_times_are_those_of_one_call(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(operators, "LARGE", ((8, 5, 7, 2),))
    monkeypatch.setattr(operators, "copy_rate", lambda device: 1e9)
    chosen = {name: operators.OPERATORS[name] for name in ("layer_norm2d", "low_rank_convolution")}
    monkeypatch.setattr(operators, "OPERATORS", chosen)
    row = operators.times(Timed("cpu"))["rows"]["layer_norm2d 8x5x7, 2 heads, bfloat16"]
    assert row["forward, us"] == {"ours": pytest.approx(2.0), "eager": pytest.approx(4.0)}  # of 16 calls
    moved = 2 * (8 * 5 * 7 + 8 + 8 + 8 * 5 * 7)
    assert row["copy of the same bytes, us"] == pytest.approx(moved / 1e3)
    assert row["of the copy's rate"] == {"ours": pytest.approx(moved / 2e3), "eager": pytest.approx(moved / 4e3)}
    rows = operators.times(Timed("cpu", obstacle="not permitted"))["rows"]
    for name, how in {"layer_norm2d 8": "Python, as: not permitted", "low_rank_convolution 8": "Python"}.items():
        row = next(row for key, row in rows.items() if key.startswith(name))
        assert row["forward and backward, us"]["ours, called from"] == how
        assert row["forward, us"]["eager"] == pytest.approx(4.0)


def test_as_many_calls_as_fit():
    counts = [operators.calls_of(Timed("cpu"), moved) for moved in (1000, 2**25, 2**26, 2**30)]
    assert counts == [16, 8, 4, 2]


def test_targets():
    def verdicts(results: dict[str, object]) -> list[str]:
        return [" ".join(row[1:]).strip() for row in targets.rows(results)]

    assert verdicts({}) == ["not measured"] * 5
    row = {"of the copy's rate": {"ours": 0.85, "eager": 0.2}}
    found = {
        "operators": {"rows": {"bottleneck 48x256x256, 1 heads, bfloat16": row}},
        "block": {"us": {"ours": 200.0, "ours, in a graph": 71.2}},
        "bits": {"kernels": 3, "failures": []},
        "errors": {"rows": {"gate": {}}, "failures": ["gate"]},
    }
    real = {name: {"key": {"dry_run": False}, "found": value} for name, value in found.items()}
    expected = ["0.85 reached", "71.2 not reached", "not measured", "reached", "not reached"]
    assert verdicts(real) == expected
    assert verdicts({name: {**value, "key": {"dry_run": True}} for name, value in real.items()}) == ["not measured"] * 5
    real["block"] = {"key": {"dry_run": False}, "status": "refused"}
    real["operators"]["found"]["rows"].clear()
    assert verdicts(real)[:2] == ["not measured"] * 2
    assert f"| {targets.TARGETS[3].what} |  | reached |" in report.text({k: v | BASICS for k, v in real.items()})


def test_targets_are_measured_under_these_names():
    """In a rehearsal, with its own sizes."""
    (target,) = (target for target in targets.TARGETS if target.step == "block")
    assert target.value(STEPS["block"].run(Device("cpu"))) > 0
    shapes = [shape for shape in operators.LARGE if shape[:3] == (48, 256, 256)]
    with FakeTensorMode():
        names = {problem.name for problem in operators.problems(Device("cpu"), tuple(shapes), operators.TIMED)}
    (target,) = (target for target in targets.TARGETS if target.step == "operators")
    rows = {name: {"of the copy's rate": {"ours": 0.9}} for name in names}
    assert target.value({"rows": rows}) == 0.9


def test_unequal_bits_are_noticed(monkeypatch: pytest.MonkeyPatch):
    operator = operators.OPERATORS["layer_norm2d"]
    calls = iter(range(1000))

    def moody(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return operator.ours(x, weight, bias) * (1 + 1e-6 * (next(calls) % 2))

    monkeypatch.setattr(
        tiny, "OPERATORS", tiny.OPERATORS | {"layer_norm2d": operators.Operator(moody, operator.plain, operator.shapes)}
    )
    found = tiny.equal_bits(Device("cpu"))
    assert "layer_norm2d 16x3x33, 1 heads, float32, last, rank 8" in found["failures"]
    assert all(name.startswith("layer_norm2d ") for name in found["failures"])
    assert found["kernels"] > 100


def test_the_report(tmp_path: Path):
    rows = {"norm": {"forward, us": {"ours": 1.5, "eager": 3.0}, "copy": 1.0}, "gate": {"forward, us": {"ours": 2.0}}}
    results = {
        "environment": {
            "status": "passed",
            "seconds": 1.2,
            "found": {"card": "NVIDIA X", "commit": "abc", "failures": []},
        },
        "bits": {"status": "failed", "seconds": 3.0, "found": {"failures": ["gate"]}},
        "tests": {"status": "crashed (-6)", "seconds": 4.0, "output": ["Aborted"]},
        "operators": {"status": "passed", "seconds": 5.0, "found": {"rows": rows, "failures": []}},
    }
    report.write(tmp_path, results)
    assert json.loads((tmp_path / "report.json").read_text()) == results
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("# GPU check: NVIDIA X, commit abc\n")
    assert "| bits | failed | 3 |" in text
    assert "```text\ngate\n```" in text
    assert "```text\nAborted\n```" in text
    assert "|  | forward, us: ours | forward, us: eager | copy |" in text
    assert "| norm | 1.5 | 3 | 1 |" in text
    assert "| gate | 2 |  |  |" in text


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


def test_a_bare_machine_is_told_what_to_do():
    done = subprocess.run([sys.executable, "-S", str(TOOL), "run"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "\n  adair itself: adair_core is not installed\n" in done.stderr
    for requirement in (*prerequisites.RUNNING.values(), *prerequisites.BUILDING.values()):
        assert f"\n  {requirement}\n" in done.stderr
    assert f"\n  {prerequisites.INSTALL}" in done.stderr


@pytest.mark.parametrize(
    ("version", "told"), [("65.5.0", True), ("76.1", True), ("77", False), ("77.0.1", False), ("101.2.dev3", False)]
)
def test_what_is_too_old_is_missing(version: str, told: bool, monkeypatch: pytest.MonkeyPatch):
    usual = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: version if name == "setuptools" else usual(name))
    advice = prerequisites.advice(building=True) or ""
    assert ("\n  setuptools>=77\n" in advice) == told
    monkeypatch.setattr(metadata, "version", lambda name: "2.10.9+cu130" if name == "torch" else usual(name))
    assert "\n  torch>=2.11\n" in prerequisites.advice(building=False)


def test_another_copy_of_adair_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert prerequisites.advice(building=False) is None
    monkeypatch.setattr(prerequisites, "ROOT", tmp_path)
    assert f"expected {tmp_path / 'adair_core'}" in prerequisites.advice(building=False)
    monkeypatch.undo()
    monkeypatch.setattr(metadata, "entry_points", lambda group: [])
    assert "is not installed, so its built-in plugins are not known" in prerequisites.advice(building=False)


def test_what_is_asked_of_a_machine_is_what_adair_requires():
    text = (ROOT / "pyproject.toml").read_text()
    required = set(re.findall(r'"([A-Za-z][A-Za-z_0-9]*(?:>=[\d.]+)?)"', text))
    assert {*prerequisites.RUNNING.values(), *prerequisites.BUILDING.values()} <= required


BLOCKED = """
import importlib.machinery, os, sys
blocked = set(sys.argv[1].split(","))
class Blocker:
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name.partition(".")[0] in blocked else None
    def create_module(self, spec):
        raise ModuleNotFoundError(spec.name)
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, Blocker())
sys.path.insert(0, "tools")
from gpu_checks import command, networks
from gpu_checks.device import Device
assert networks.mixed_batch(Device("cpu"))["failures"] == []
import pytest
sys.exit(pytest.main(["-q", "--collect-only", "-m", "gpu", "-p", "no:cacheprovider", *sys.argv[2:]]))
"""


def test_what_is_asked_of_a_machine_is_enough():
    """With every other package of this environment out of reach."""
    needed, queue = set(), [Requirement(text).name for text in prerequisites.RUNNING.values()]
    while queue:
        name = queue.pop().lower().replace("_", "-")
        if name not in needed:
            needed.add(name)
            requirements = map(Requirement, metadata.requires(name) or [])
            queue += [each.name for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
    blocked = {
        module
        for module, names in metadata.packages_distributions().items()
        if not needed & {name.lower().replace("_", "-") for name in names} and "adair" not in {*names, module}
    }
    assert {"rich", "pyvips", "accelerate", "hypothesis"} <= blocked
    words = [sys.executable, "-c", BLOCKED, ",".join(sorted(blocked)), *marked_files()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
