"""The class of all built-in commands."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from rich_click import RichCommand, RichGroup, RichOption

from adair_core.cli.options import Group, refuse_empty
from adair_core.errors import AdairError

Groups = Callable[[Mapping[str, Any]], Sequence[Group]]
"""What was typed so far -> the groups of options that belong to it."""


class Command(RichCommand):
    """A command with ``--debug``, and with options that may depend on other options.

    With ``groups``, ``adair train --adapter lora --task denoise --help`` lists the options of the adapter type
    ``lora`` and of the task ``denoise``: the names are read first, then the options that they bring are added, then
    everything is parsed.

    Args:
        examples: command lines for ``--help``, without ``adair``.
        groups: from the parameters that need no group (names, files) to the groups.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), groups: Groups | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.groups = groups
        _complete(self, examples)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Add the options that the names bring, then parse.

        Raises:
            UsageError: a value is empty.
        """
        parser = self.make_parser(ctx)
        parser.ignore_unknown_options = True
        typed, _, _ = parser.parse_args(list(args))
        if not ctx.resilient_parsing:  # shell completion
            self._refuse_empty(typed)
        if self.groups is not None:
            try:
                ctx.meta[_GROUPS] = list(self.groups(typed))
            except AdairError:
                if not ctx.resilient_parsing:
                    raise
        return super().parse_args(ctx, args)

    def _refuse_empty(self, typed: Mapping[str, Any]) -> None:
        for parameter in self.params:
            is_option = isinstance(parameter, click.Option)
            name = max(parameter.opts, key=len) if is_option else parameter.human_readable_name.strip("[].")
            refuse_empty(name, typed.get(str(parameter.name)))

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own parameters and those of its groups."""
        own = super().get_params(ctx)
        return [*own[:-1], *(option for group in _groups_of(ctx) for option in group.options()), *own[-1:]]


class CommandGroup(RichGroup):
    """A command that does something itself, and has commands below it: ``adair adapters``, ``adair adapters pull``.

    Args:
        examples: as of `Command`.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **{"invoke_without_command": True, **kwargs})
        self.examples = tuple(examples)
        _complete(self, examples)


def _complete(command: RichCommand, examples: Sequence[str]) -> None:
    """Add what all commands have: examples in the help, a heading over the options, ``--debug``."""
    # rich-click keeps lines apart that begin with four spaces.
    command.help = "\n".join(
        [inspect.cleandoc(str(command.help)), "", "Example:", *(f"    adair {example}" for example in examples)]
    )
    for parameter in command.params:
        if isinstance(parameter, RichOption):
            parameter.panel = str(command.name).capitalize()
    command.params.append(debug_option())


_GROUPS = "adair_core.cli.groups"
_DEBUG = "adair_core.cli.debug"


def debug_option() -> RichOption:
    """``--debug``."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        ctx.meta[_DEBUG] = value or bool(ctx.meta.get(_DEBUG))

    return RichOption(
        ["--debug"], is_flag=True, expose_value=False, callback=remember, help="show the traceback of an error"
    )


def is_debug() -> bool:
    """Whether ``--debug`` was given, to the program or to the running command."""
    return bool(click.get_current_context().meta.get(_DEBUG))


def _groups_of(ctx: click.Context) -> list[Group]:
    """The groups of options that the command line brought."""
    groups: list[Group] = ctx.meta.get(_GROUPS, [])
    return groups


def group_named(role: str) -> Group:
    """The running command's group of options for a role."""
    return next(group for group in _groups_of(click.get_current_context()) if group.role == role)
