"""What tools/gpu_check.py measures and compares on a device, and the report of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses import FakeTensorMode

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from gpu_checks import operators, report, targets, tiny
from gpu_checks.device import Device, chosen
from gpu_checks.steps import STEPS


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
