"""The frame of tools/gpu_check.py: what becomes of steps that fail, crash or hang, and the report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from adair_core.bench.run import commit

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from gpu_checks import operators, report, setting_up
from gpu_checks.apart import apart
from gpu_checks.device import Device, chosen
from gpu_checks.steps import STEPS

TOOL = Path(__file__).parents[2] / "tools" / "gpu_check.py"


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
def test_every_end_is_a_result(code: str, status: str, found: object):
    result = apart(python(code), limit=60)
    assert result["status"] == status
    assert result.get("found") == found
    if "wrong name" in code:
        assert result["output"][-1] == "ValueError: wrong name"


def test_all_tests_that_are_marked_are_run():
    run = [setting_up.ROOT / place for place in setting_up.MARKED]
    marked = [
        file for file in (setting_up.ROOT / "tests").rglob("test_*.py") if "pytest.mark.gpu\n" in file.read_text()
    ]
    assert len(marked) >= 5
    assert not [file for file in marked if not any(file.is_relative_to(place) for place in run)]


def test_a_step_that_hangs_is_ended_with_its_children():
    child = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); p.wait()"
    begun = time.monotonic()
    result = apart(python(child), limit=3)
    assert result["status"] == "ended after 3 s"
    assert time.monotonic() - begun < 30
    process = int(result["output"][0])
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


def test_unequal_bits_are_noticed(monkeypatch: pytest.MonkeyPatch):
    operator = operators.OPERATORS["layer_norm2d"]
    calls = iter(range(1000))

    def moody(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return operator.ours(x, weight, bias) * (1 + 1e-6 * (next(calls) % 2))

    monkeypatch.setattr(
        operators, "OPERATORS", {"layer_norm2d": operators.Operator(moody, operator.plain, operator.shapes)}
    )
    failures = operators.equal_bits(Device("cpu"))["failures"]
    assert "layer_norm2d 16x3x33, 1 heads, float32" in failures


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


def test_what_passed_is_not_run_again(tmp_path: Path):
    done = {"status": "passed", "seconds": 1.0, "commit": commit(), "found": {"failures": []}}
    (tmp_path / "steps").mkdir()
    for name in STEPS:
        (tmp_path / "steps" / f"{name.replace(' ', '-')}.json").write_text(json.dumps(done))

    def run(*arguments: str) -> str:
        words = [sys.executable, str(TOOL), "run", "--dry-run", "--out", str(tmp_path), *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    assert run().splitlines() == [f"wrote {tmp_path / 'report.md'}"]
    file = tmp_path / "steps" / "environment.json"
    file.write_text(json.dumps({**done, "commit": "another"}))
    assert "environment: what this machine is" in run()
    assert json.loads(file.read_text())["found"]["torch"] == torch.__version__
    assert "environment: what this machine is" in run("--step", "environment")
