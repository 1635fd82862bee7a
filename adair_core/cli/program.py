"""The program: its commands, what becomes of errors and warnings, and the exit code."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, TextIO

import click
from rich_click import RichGroup

import adair_core
from adair_core.cli.command import debug_option
from adair_core.cli.commands import COMMANDS
from adair_core.cli.output import color_system
from adair_core.errors import AdairError, UnknownNameError, is_out_of_memory
from adair_core.plugins import PluginWarning, plugins

INTERRUPTED = 130

# Plain text with aligned columns: the same on a terminal, in a pipe and under NO_COLOR, apart from the colours.
_HELP_STYLE = {
    "color_system": color_system(),
    "theme": "default-slim",
    "text_paragraph_linebreaks": "\n\n",
    "padding_helptext_first_line": (0, 0, 1, 0),
}


class Program(RichGroup):
    """The group ``adair``; a command's file is imported when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """The built-in commands, then those of plugins."""
        return [*COMMANDS, *plugins().commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a built-in command, or ask the plugins."""
        if cmd_name in COMMANDS:
            module = importlib.import_module(f"adair_core.cli.commands.{cmd_name.replace('-', '_')}")
            command: click.Command = module.command
            return command
        commands = plugins().commands
        return commands[cmd_name] if cmd_name in commands else None  # noqa: SIM401 (a registry has no get)

    def invoke(self, ctx: click.Context) -> None:
        """Run the command; what it returns is not the exit code (``ctx.exit(1)`` sets that)."""
        super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was typed.

        Raises:
            UnknownNameError: there is none of that name.
        """
        name = args[0] if args else ""
        if name and not name.startswith("-") and self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            raise UnknownNameError("command", name, self.list_commands(ctx), failed_plugins=len(plugins().failures))
        return super().resolve_command(ctx, args)


program = Program(
    name="adair",
    help="Image restoration with one frozen network and a small adapter for every task."
    "\n\n'adair COMMAND --help' tells all about a command, with examples."
    "\n\nExample:\n    adair train --adapter lora --task denoise"
    "\n    adair restore photo.jpg --adapter runs/denoise-lora/denoise",
    params=[debug_option()],
    context_settings={"rich_help_config": _HELP_STYLE, "help_option_names": ["--help", "-h"]},
)
click.version_option(adair_core.__version__, package_name="adair", message="%(prog)s %(version)s")(program)


def run(arguments: Sequence[str]) -> int:
    """Run the program.

    Args:
        arguments: without the program's name.

    Returns:
        The exit code: 0; 1, the work failed; 2, the request was wrong; 130, interrupted.
    """
    arguments = list(arguments)
    # Read here and not from click: errors while options are parsed obey it too.
    debug = "--debug" in arguments[: arguments.index("--") if "--" in arguments else None]
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        warnings.simplefilter("always", PluginWarning)
        try:
            code = program.main(arguments, prog_name="adair", standalone_mode=False)
            sys.stdout.flush()
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except BrokenPipeError:
            # The reader has gone, as in `adair plugins | head`; nobody is there to be told.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except BaseException as error:
            if debug:
                traceback.print_exc()
            return _report(error, arguments, debug=debug)
    return code if isinstance(code, int) else 0


def _report(error: BaseException, arguments: Sequence[str], *, debug: bool) -> int:
    if isinstance(error, AdairError):
        return _say(str(error), code=error.exit_code)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message())
        return error.exit_code
    if isinstance(error, click.ClickException):
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        hint = f"; try '{path} --help'" if path else ""
        if isinstance(error, click.NoSuchOption):
            hint = _hint_of_file(arguments) or hint
        return _say(error.format_message().rstrip(".") + hint, code=error.exit_code)
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return _say("interrupted", code=INTERRUPTED)
    if isinstance(error, OSError) and error.strerror:
        return _say(f"{error.filename}: {error.strerror}" if error.filename else error.strerror, code=1)
    if is_out_of_memory(error):
        return _say(
            "out of memory; try a smaller --batch-size, --patch-size or model, or restore with a smaller --tile", code=1
        )
    name, summary = type(error).__name__, " ".join(str(error).split())
    report = "please report it with the output of 'adair doctor'"
    more = report if debug else f"--debug shows where; {report} and of this command with --debug"
    return _say(f"unexpected {name}: {summary}; this is a defect of adair or of a plugin; {more}", code=1)


def _hint_of_file(arguments: Sequence[str]) -> str:
    """Say how to write the name of a file that was taken for an option."""
    named = next((name for name in arguments if name.startswith("-") and os.path.exists(name)), None)  # noqa: PTH110
    return "" if named is None else f"; for the file of that name, write './{named}'"


def _say(message: str, *, code: int) -> int:
    click.echo(f"error: {message}" if code != INTERRUPTED else message, err=True)
    return code


def _warn(
    message: Warning | str,
    category: type[Warning],  # noqa: ARG001 (the signature is warnings.showwarning's)
    filename: str,  # noqa: ARG001
    lineno: int,  # noqa: ARG001
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> Any:
    text = " ".join(str(message).split())
    click.echo(f"warning: {text}", err=True)
