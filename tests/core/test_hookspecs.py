"""Every hook is documented with a runnable-looking example, typed, and loaded by the loader."""

from __future__ import annotations

import ast
import inspect
import textwrap
import typing
from pathlib import Path

import pytest

from adair_core import hookspecs
from adair_core.plugins import Plugins
from adair_core.validation import RECORD_TYPES

HOOKS = [name for name in vars(hookspecs) if name.startswith("adair_")]


def example(hook: str) -> str:
    doc = inspect.getdoc(getattr(hookspecs, hook))
    return textwrap.dedent(doc.split("Example::\n", 1)[1])


def test_loader_and_validation_know_every_hook():
    assert sorted(HOOKS) == sorted(Plugins().registries) == sorted(RECORD_TYPES)


@pytest.mark.parametrize("hook", HOOKS)
def test_docstring_shows_an_implementation(hook):
    function = ast.parse(example(hook)).body[0]
    assert isinstance(function, ast.FunctionDef)
    assert function.name == hook
    assert [decorator.id for decorator in function.decorator_list] == ["hookimpl"]
    assert not function.args.args
    assert isinstance(function.body[-1], ast.Return), "the example must return its records"


@pytest.mark.parametrize("hook", HOOKS)
def test_example_returns_the_records_of_the_hook(hook):
    record = RECORD_TYPES[hook].__name__
    assert record in example(hook) or hook == "adair_commands"


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_is_typed(hook):
    hints = typing.get_type_hints(getattr(hookspecs, hook))
    assert list(hints) == ["return"]
    assert typing.get_args(hints["return"]) == (RECORD_TYPES[hook],)


def test_architecture_lists_every_hook():
    text = Path(__file__).parents[2].joinpath("docs", "architecture.md").read_text(encoding="utf-8")
    assert "adair_core/hookspecs.py" in text
