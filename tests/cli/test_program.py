"""Errors, warnings and exit codes; help; commands of plugins."""

from __future__ import annotations

import contextlib
import os
import pty
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import click
import pytest

from adair_core.cli import program as program_module
from adair_core.cli.commands import COMMANDS
from adair_core.cli.output import color_system
from adair_core.cli.program import program
from adair_core.errors import DataError, Interrupted, UsageError
from adair_core.plugins import PluginWarning, plugins
from adair_core.testing import installed, run_program, write_package


def raising(error: BaseException):
    def work() -> None:
        raise error

    return click.Command("work", callback=work)


@pytest.fixture
def work(monkeypatch):
    """Make ``adair doctor`` raise."""

    def install(error: BaseException) -> None:
        monkeypatch.setattr("adair_core.cli.commands.doctor.command", raising(error))

    import adair_core.cli.commands.doctor  # noqa: F401

    return install


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("rank: expected 1, got 0"), 2, "error: rank: expected 1, got 0\n"),
        (DataError("no such folder"), 1, "error: no such folder\n"),
        (
            Interrupted("stopped; continue with: adair train --resume"),
            130,
            "stopped; continue with: adair train --resume\n",
        ),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (PermissionError(13, "Permission denied", "/x/y"), 1, "error: /x/y: Permission denied\n"),
        (OSError(28, "No space left on device"), 1, "error: No space left on device\n"),
        (MemoryError(), 1, "error: out of memory; try a smaller --batch-size, --patch-size or model"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
            1,
            "error: out of memory; try a smaller",
        ),
        (click.BadParameter("bad value."), 2, "error: Invalid value: bad value; try 'adair doctor --help'\n"),
    ],
)
def test_errors(work, error, code, message):
    work(error)
    outcome = run_program("doctor")
    assert outcome.exit_code == code
    assert outcome.stderr.lstrip("\n").startswith(message)
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == ""


def test_an_unexpected_error_says_how_to_report(work):
    work(ZeroDivisionError("division\nby zero"))
    outcome = run_program("doctor")
    assert outcome.exit_code == 1
    assert len(outcome.stderr.splitlines()) == 1
    assert outcome.stderr.startswith("error: unexpected ZeroDivisionError: division by zero; this is a defect")
    assert "--debug shows where" in outcome.stderr
    assert "'adair doctor'" in outcome.stderr


@pytest.mark.parametrize("arguments", [["--debug", "doctor"], ["plugins", "--debug"]])
def test_debug_shows_the_traceback(work, monkeypatch, arguments):
    work(DataError("no such folder"))
    monkeypatch.setattr("adair_core.cli.commands.plugins.plugins", lambda: 1 / 0)
    outcome = run_program(*arguments)
    assert outcome.exit_code == 1
    assert "Traceback (most recent call last)" in outcome.stderr
    assert outcome.stderr.splitlines()[-1].startswith("error: ")


def test_unknown_command():
    outcome = run_program("trian")
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("error: unknown command 'trian'; did you mean 'train'? known: adapters, ")


def test_unknown_option():
    outcome = run_program("doctor", "--jsno")
    assert outcome.exit_code == 2
    assert "No such option '--jsno'" in outcome.stderr
    assert "'--json'" in outcome.stderr
    assert outcome.stderr.endswith("try 'adair doctor --help'\n")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["restore", "", "--task", "denoise"], "IN"),
        (["restore", "x.png", "", "--task", "denoise"], "IN"),
        (["restore", "x.png", "-o", ""], "--out"),
        (["diagnose", ""], "IN"),
        (["train", "--task", "denoise", "--adapter", "lora", "--data="], "--data"),
        (["train", "--pairs", "noisy", ""], "--pairs"),
        (["evaluate", "--task", "denoise", "--data", ""], "--data"),
        (["export", ""], "OUT"),
    ],
)
def test_an_empty_value_is_not_the_current_folder(arguments, name, tmp_path, monkeypatch):
    """As of a variable that is not set: everything in the folder would be restored."""
    monkeypatch.chdir(tmp_path)
    outcome = run_program(*arguments)
    assert outcome.exit_code == 2
    assert outcome.stderr == f"error: {name}: expected a value, got an empty one; is a variable of the shell not set?\n"


def test_a_file_whose_name_looks_like_an_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-x 1.png").touch()
    outcome = run_program("restore", "-x 1.png", "--task", "denoise")
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("error: No such option '-x")
    assert outcome.stderr.endswith("; for the file of that name, write './-x 1.png'\n")
    assert "-other" not in run_program("restore", "-other.png").stderr


def test_no_arguments_show_the_help():
    outcome = run_program()
    assert outcome.exit_code == 2
    assert "Usage: adair" in outcome.stdout
    assert "error" not in outcome.stderr


def test_version():
    assert run_program("--version").stdout.strip() == "adair 0.1.0"


def test_every_file_in_commands_is_a_command():
    folder = Path(program_module.__file__).parent / "commands"
    files = {file.stem.replace("_", "-") for file in folder.glob("*.py")} - {"--init--"}
    assert files == set(COMMANDS)
    context = click.Context(program)
    assert program.list_commands(context)[: len(COMMANDS)] == list(COMMANDS)
    for name in COMMANDS:
        assert program.get_command(context, name).name == name


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command(name):
    """Complete: a summary, an example with the command's name, a text for every option."""
    outcome = run_program(name, "--help")
    assert outcome.exit_code == 0
    assert f"Usage: adair {name}" in outcome.stdout
    assert f"\nExample:{' ' * 72}\n    adair {name}" in outcome.stdout
    context = click.Context(program.get_command(click.Context(program), name), info_name=name)
    for parameter in context.command.get_params(context):
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.opts[-1] in outcome.stdout
    assert "\x1b" not in outcome.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_valid_command_lines(name):
    """What --help shows must parse: its options exist."""
    command = program.get_command(click.Context(program), name)
    assert command.examples
    for example in command.examples:
        words = shlex.split(example)
        assert words[0] == name
        outcome = run_program(*words, "--help")
        assert "No such option" not in outcome.stderr
        assert outcome.exit_code == 0 or "runs/" in example, outcome.stderr


def test_group_help_lists_all_commands():
    outcome = run_program("--help")
    for name in COMMANDS:
        assert f"  {name} " in outcome.stdout
    assert "    adair train --adapter lora --task denoise" in outcome.stdout


COMMAND_PLUGIN = """
    import click
    from adair_core import hookimpl

    @click.command("histogram")
    @click.option("--bins", default=8, help="bins")
    def histogram(bins):
        '''Count pixels.'''
        click.echo(f"{bins} bins")
        return 7

    @hookimpl
    def adair_commands():
        return [histogram]
"""


def test_commands_of_plugins(tmp_path):
    write_package(tmp_path / "site", "adair-plugin-histogram", {"histogram_plugin": COMMAND_PLUGIN})
    with installed(tmp_path / "site"):
        outcome = run_program("histogram", "--bins", 3)
        assert (outcome.exit_code, outcome.stdout) == (0, "3 bins\n")
        assert "histogram   Count pixels." in run_program("--help").stdout
    assert run_program("histogram").exit_code == 2


def test_plugin_warnings_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAIR_STRICT_PLUGINS", "0")
    write_package(tmp_path / "site", "adair-plugin-bad", {"bad_plugin": "raise RuntimeError('first\\nsecond')"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        with installed(tmp_path / "site"):
            plugins.cache_clear()  # so that the program loads it, and warns, again
            outcome = run_program("adapters", "--json")
    assert outcome.exit_code == 0
    assert outcome.json["types"]
    first = outcome.stderr.splitlines()[0]
    assert first == "warning: plugin adair-plugin-bad 1.0 (bad_plugin) is left out: RuntimeError: first second"


def test_warnings_are_left_as_they_were(work):
    before = warnings.showwarning, list(warnings.filters)
    run_program("weights")
    assert (warnings.showwarning, warnings.filters) == before


def test_light_help_no_color_and_broken_pipe():
    """In a process of its own: what importing and ``--help`` load, plain output on a terminal, a reader that goes."""
    code = """
import os
import sys
import adair_core
print([m for m in sys.modules if m.split(".")[0] == "adair_plugins"])
from adair_core.cli.program import run
assert run(["train", "--help"]) == 0 and run(["--help"]) == 0 and run(["plugins"]) == 0
heavy = {"accelerate", "torchmetrics", "lpips", "torchvision", "matplotlib", "tensorboard", "skimage", "peft"}
print(sorted(heavy & set(sys.modules)), sys.stdout.isatty(), flush=True)
reader, writer = os.pipe()
os.close(reader)
os.dup2(writer, 1)
os._exit(100 + run(["plugins"]))
"""
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "xterm-256color"}
    terminal, inside = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=inside, stderr=subprocess.PIPE, env=environment)
    os.close(inside)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while part := os.read(terminal, 65536):
            shown += part
    os.close(terminal)
    assert process.communicate()[1] == b""
    assert process.returncode == 101
    lines = shown.decode().splitlines()
    assert lines[0] == "[]"
    assert lines[-1] == "[] True"
    assert b"\x1b" not in shown


@pytest.mark.parametrize("closed", [">&-", "<&- >&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_may_be_closed(closed):
    """As services close them; what is opened next must not get their numbers."""
    code = """
import os, sys
from adair_core.cli import main
sys.argv = ["adair", "plugins"]
try:
    main()
except SystemExit as stop:
    file = os.open(os.devnull, os.O_RDONLY)
    os._exit(100 * (file < 3) + stop.code)
"""
    command = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("lora" in done.stdout) == (closed == "2>&-")


def test_colors_unless_told(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert color_system() == "auto"
    monkeypatch.setenv("NO_COLOR", "1")
    assert color_system() is None
