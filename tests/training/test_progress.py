from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from tiny_runs import run_toy

from adair_core.training import progress
from adair_core.training.progress import ProgressReport

pytestmark = pytest.mark.usefixtures("without_pictures")


def test_piped_output_is_plain_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LINE_SECONDS", 0.0)
    text = io.StringIO()
    run_toy(tmp_path, callbacks=[ProgressReport("toy", Console(file=text))], steps=2)
    lines = text.getvalue().splitlines()
    assert lines[0] == "toy, 2 steps"
    assert lines[1].startswith("step 1/2 loss 0.")
    assert "lr 5.00e-04" in lines[1]
    assert lines[1].endswith("left 0:00:00")
    assert lines[3].startswith("validation at step 2: psnr ")
    assert lines[3].endswith(", the best so far")
    assert lines[4].startswith("trained 2 steps in 0:00:")
    assert "% of the time was spent waiting for data; wrote nowhere" in lines[4]
    assert "\x1b" not in text.getvalue()


def test_a_terminal_gets_a_bar_with_the_numbers(tmp_path: Path) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=80, height=20)
    run_toy(tmp_path, callbacks=[ProgressReport("toy", console)], steps=3, validate_every=1)
    shown = text.getvalue()
    assert "toy" in shown
    assert "3/3" in shown
    assert "left loss 0." in shown
    assert "…" not in shown
    assert "psnr " in shown
    assert shown.count("validation at step") == 3
