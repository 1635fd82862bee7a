"""docs/commands.md is what the commands say."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from adair_core.cli.commands import COMMANDS
from adair_core.plugins import plugins
from adair_core.testing import run_program

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


def section(command: str) -> str:
    return TEXT.partition(f"\n## adair {command}\n")[2].partition("\n## adair ")[0]


def test_the_page_is_not_stale(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
    from command_reference import main_page

    assert main_page() == TEXT, "run python tools/command_reference.py"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_the_help_is_there(command):
    outcome = run_program(command, "--help")
    # names at the beginning of a line, after a short one; long names are broken over lines, and left to the test above
    options = re.findall(r"^ +(?:-\w +)?(--[a-z][a-z-]+)(?= )", outcome.stdout, re.M)
    missing = [name for name in options if name not in section(command)]
    assert options
    assert set(missing) <= {"--debug", "--help"}  # told once, at the top


def test_everything_that_options_can_name_has_a_heading():
    headings = set(re.findall(r"^### (.+)$", TEXT, re.M))
    own = {
        "Adapter type": plugins().adapters,
        "Backbone": plugins().backbones,
        "Task": plugins().tasks,
    }
    for kind, registry in own.items():
        assert {f"{kind} {name}" for name in registry} <= headings
    assert {f"Degradation {name}" for name in plugins().degradations if name not in plugins().tasks} <= headings
