"""Write docs/commands.md from the commands themselves: their options, and those that tasks, types and backbones bring.

::

    python tools/command_reference.py            # writes the page
    python tools/command_reference.py --check    # fails if the page is not what the commands say

Only what comes with adair is on the page, whatever else is installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from adair_core.cli.commands import COMMANDS
from adair_core.cli.options import shown
from adair_core.cli.program import program
from adair_core.plugins import plugins

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"

INTRODUCTION = """\
# Commands

<!-- Written by tools/command_reference.py from the commands; edit their help texts instead. -->

`adair COMMAND --help` shows what stands here. With the names of a task, an adapter type or a backbone, it shows their
options too: `adair train --task denoise --adapter lora --help`. Everywhere:

- `--help`, `-h`: explain the command.
- `--debug`: show the traceback of an error.
- Two numbers, `LOW,HIGH`, are a range from which each image draws its own; one number is a fixed value. `none` stands
  for no value, and `A,B,...` is a list.
- Results go to standard output, messages to standard error. Exit codes: 0; 1, the work failed; 2, the request was
  wrong; 130, interrupted.
- `ADAIR_TUNE=0`, `OMP_NUM_THREADS` and other variables: [building.md](building.md).
"""


def main_page() -> str:
    """The whole page, as Markdown."""
    parts = [INTRODUCTION, *(_command(name) for name in COMMANDS)]
    return "\n".join(part.strip() + "\n" for part in parts)


def _command(name: str) -> str:
    context = _context(name)
    command = context.command
    text, _, _ = str(command.help).partition("\nExample:")
    usage = command.get_usage(context).partition("Usage:")[2]
    examples = [f"adair {example}" for example in getattr(command, "examples", ())]
    lines = [f"## adair {name}", "", *_prose(text), "", *_code([" ".join(usage.split())]), "", "For example:", ""]
    lines += [*_code(examples), ""]
    own = name.capitalize()
    panels = {title for title in _panels(context) if title != own and not title.startswith(("Task ", "Adapter type "))}
    for title in [own, *sorted(panels - {own}, key=list(_panels(context)).index)]:
        if title.startswith("Backbone "):
            continue
        lines += [*([] if title == own else [f"### {title}", ""]), *_options(context, title), ""]
    lines += {"train": _of_training, "pretrain": _of_pretraining}.get(name, list)()
    if isinstance(command, click.Group):
        lines += [line for inner in command.list_commands(context) for line in _inner(context, inner)]
    return "\n".join(lines)


def _inner(outer: click.Context, name: str) -> list[str]:
    """A command below a command."""
    assert isinstance(outer.command, click.Group)
    command = outer.command.commands[name]
    path = f"{outer.info_name} {name}"
    context = command.make_context(path, [], resilient_parsing=True)
    text, _, _ = str(command.help).partition("\nExample:")
    usage = command.get_usage(context).partition("Usage:")[2]
    examples = [f"adair {example}" for example in getattr(command, "examples", ())]
    lines = [f"### {path}", "", *_prose(text), "", *_code([" ".join(usage.split())]), "", "For example:", ""]
    return [*lines, *_code(examples), "", *_options(context, name.capitalize()), ""]


def _of_training() -> list[str]:
    lines: list[str] = []
    for name in _own(plugins().adapters):
        spec = plugins().adapters[name]
        heading = [f"### Adapter type {name}", "", f"`--adapter {name}`: {_escaped(spec.summary)}.", ""]
        lines += [*heading, *_defaults(spec.defaults), *_presets(spec.presets, "adapter")]
        lines += [*_options(_context("train", "--task", "denoise", "--adapter", name), f"Adapter type {name}"), ""]
    tasks = list(_own(plugins().tasks))
    degradations = [name for name in _own(plugins().degradations) if name not in tasks]
    for name in [*tasks, *degradations]:
        task = plugins().task(name)
        kind = "Task" if name in tasks else "Degradation"
        lines += [f"### {kind} {name}", "", f"`--task {name}`: {_escaped(task.summary)}.", ""]
        lines += _defaults(task.defaults)
        lines += [*_options(_context("train", "--task", name), f"Task {name}"), ""]
    return lines


def _defaults(settings: Mapping[str, Any]) -> list[str]:
    if not settings:
        return []
    given = " ".join(f"--{field.replace('_', '-')} {shown(value)}" for field, value in settings.items())
    return [f"It trains with `{given}` unless told otherwise.", ""]


def _of_pretraining() -> list[str]:
    lines: list[str] = []
    for name in _own(plugins().backbones):
        spec = plugins().backbones[name]
        heading = [f"### Backbone {name}", "", f"`--backbone {name}`: {_escaped(spec.summary)}.", ""]
        lines += [*heading, *_defaults(spec.defaults), *_presets(spec.presets, "backbone", spec.default_preset)]
        lines += [*_options(_context("pretrain", "--backbone", name), f"Backbone {name}"), ""]
    return lines


def _presets(presets: Any, role: str, default: str | None = None) -> list[str]:
    """A line for each named set of options."""
    lines = []
    for preset, options in presets.items():
        words = [
            (f"--{role}.{'' if value else 'no-'}{field.replace('_', '-')}")
            if isinstance(value, bool)
            else f"--{role}.{field.replace('_', '-')} {shown(value)}"
            for field, value in options.items()
        ]
        usual = " (unless told otherwise)" if preset == default else ""
        meaning = f"`{' '.join(words)}`" if words else "the defaults"
        lines.append(f"- `--preset {preset}`{usual}: {meaning}")
    return lines


def _own(registry: Any) -> Iterator[str]:
    """The names that come with adair."""
    return (name for name in registry if registry.provenance(name).package == "adair")


def _context(name: str, *arguments: str) -> click.Context:
    """The command as if these arguments had been typed; what is missing is not told."""
    command = program.get_command(click.Context(program), name)
    assert command is not None
    return command.make_context(f"adair {name}", list(arguments), resilient_parsing=True)


def _panels(context: click.Context) -> list[str]:
    """The headings of the options, in order."""
    panels = (getattr(parameter, "panel", None) for parameter in context.command.get_params(context))
    return [str(panel) for panel, _ in groupby(panel for panel in panels if panel)]


def _options(context: click.Context, panel: str) -> list[str]:
    """A list item for each option below a heading."""
    found = [one for one in context.command.get_params(context) if getattr(one, "panel", None) == panel]
    records = [one.get_help_record(context) for one in found]
    return [f"- `{names}`: {_escaped(text)}" for names, text in filter(None, records)] or ["No options."]


def _prose(text: str) -> list[str]:
    return [_escaped(line) for line in text.strip().splitlines()]


def _code(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _escaped(text: str) -> str:
    """Plain text as Markdown: no character means anything."""
    return re.sub(r"([\\*_<`])", r"\\\1", " ".join(text.split()))


@click.command(help=__doc__)
@click.option("--check", is_flag=True, help="write nothing; fail if the page is stale")
def main(check: bool) -> None:
    """Write the page, or compare it."""
    page = main_page()
    if not check:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
        raise click.ClickException(f"{PAGE} is not what the commands say; run python tools/command_reference.py")


if __name__ == "__main__":
    main()
