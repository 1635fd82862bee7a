"""Options from pydantic models, and back."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import pytest
from pydantic import Field, field_validator

from adair_core import Choice, Config, Range
from adair_core.cli.options import Group, shown
from adair_core.degradation import in_bounds
from adair_core.errors import UsageError
from adair_core.training.recipe import Settings


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Everything(Config):
    whole_number: int = Field(8, ge=1, description="a count")
    number: float = Field(0.5, description="a number")
    flag: bool = Field(False, description="on or off")
    word: str = Field("x", description="text")
    mode: Literal["a", "b"] = Field("a", description="a choice")
    scale: Literal[2, 3, 4] = Field(2, description="numbers to choose from")
    colour: Colour = Field(Colour.RED, description="an enumeration")
    sigma: Annotated[Range, in_bounds(0, 255)] = Field((5, 55), description="a range")
    maybe: float | None = Field(1.0, gt=0, description="none = off")
    blocks: tuple[int, ...] = Field((1, 2), description="a list")
    pair: tuple[int, str] = Field((1, "x"), description="two of different kinds")
    kinds: tuple[Literal["conv", "branch"], ...] | None = Field(("conv",), description="a list of choices")
    names: frozenset[str] = Field(frozenset({"n"}), description="a set")
    folder: Path = Field(Path("here"), description="a path")
    inner: Choice = Field(Choice(name="jpeg"), description="a choice with options")
    chain: tuple[Choice, ...] = Field((Choice(name="jpeg"),), description="several")
    table: dict[str, int] = Field({"a": 1}, description="a mapping")
    split: tuple[Choice, ...] = Field((), description="reads its own text")

    @field_validator("split", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [{"name": name} for name in value.split("+")] if isinstance(value, str) else value


GROUP = Group("role", Everything, "The options")


def typed(*arguments: str, group: Group = GROUP) -> dict[str, Any]:
    """Parse a command line with a group's options alone."""
    command = click.Command("x", params=list(group.options()))
    return group.given(command.make_context("x", list(arguments)).params)


def parsed(*arguments: str) -> Everything:
    return GROUP.parse(Everything, typed(*arguments))


def test_nothing_given():
    assert typed() == {}
    assert parsed() == Everything()


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["--role.whole-number", "3"], "whole_number", 3),
        (["--role.whole-number=3"], "whole_number", 3),
        (["--role.number", "-1e-3"], "number", -1e-3),
        (["--role.flag"], "flag", True),
        (["--role.no-flag"], "flag", False),
        (["--role.word", "none"], "word", "none"),
        (["--role.word", "a,b"], "word", "a,b"),
        (["--role.mode", "b"], "mode", "b"),
        (["--role.scale", "4"], "scale", 4),
        (["--role.colour", "blue"], "colour", Colour.BLUE),
        (["--role.sigma", "25"], "sigma", (25.0, 25.0)),
        (["--role.sigma", "10,20"], "sigma", (10.0, 20.0)),
        (["--role.maybe", "none"], "maybe", None),
        (["--role.maybe", "2"], "maybe", 2.0),
        (["--role.blocks", "4,6,6,8"], "blocks", (4, 6, 6, 8)),
        (["--role.blocks", " 4, 6"], "blocks", (4, 6)),
        (["--role.blocks", "[4, 6]"], "blocks", (4, 6)),
        (["--role.blocks", "7"], "blocks", (7,)),
        (["--role.blocks", ""], "blocks", ()),
        (["--role.pair", "2,y"], "pair", (2, "y")),
        (["--role.kinds", "conv,branch"], "kinds", ("conv", "branch")),
        (["--role.kinds", "none"], "kinds", None),
        (["--role.names", "a,b"], "names", frozenset({"a", "b"})),
        (["--role.folder", "a/b"], "folder", Path("a/b")),
        (["--role.inner", "rain"], "inner", Choice(name="rain")),
        (["--role.inner", '{"name": "rain", "options": {"x": 1}}'], "inner", Choice(name="rain", options={"x": 1})),
        (["--role.chain", '[{"name": "rain"}]'], "chain", (Choice(name="rain"),)),
        (["--role.table", '{"b": 2}'], "table", {"b": 2}),
        (["--role.split", "a+b"], "split", (Choice(name="a"), Choice(name="b"))),
    ],
)
def test_values(arguments, field, value):
    assert getattr(parsed(*arguments), field) == value
    assert list(typed(*arguments)) == [field]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--role.whole-number", "many"], r"The options: --role\.whole-number: .*valid integer.*, got 'many'"),
        (["--role.whole-number", "0"], r"--role\.whole-number: .*greater than or equal to 1, got '0'"),
        (["--role.sigma", "300"], r"--role\.sigma: expected values in \[0, 255\]"),
        (["--role.sigma", "30,10"], r"--role\.sigma: expected low <= high, got '30,10'"),
        (["--role.blocks", "1,x"], r"--role\.blocks\.1: .*got 'x'"),
        (["--role.kinds", "conv,stage"], r"--role\.kinds\.1: Input should be 'conv' or 'branch', got 'stage'"),
        (["--role.table", "{"], r"--role\.table: expected JSON, got '\{'"),
    ],
)
def test_wrong_values_name_the_option(arguments, message):
    with pytest.raises(UsageError, match=message):
        parsed(*arguments)


@pytest.mark.parametrize("arguments", [["--role.mode", "c"], ["--role.scale", "5"], ["--role.nope", "1"]])
def test_wrong_choices_and_options_are_usage_errors(arguments):
    with pytest.raises(click.UsageError):
        parsed(*arguments)


def test_help_shows_description_default_and_metavar():
    options = {option.name: option for option in GROUP.options()}
    assert options["role__whole_number"].help == "a count [default: 8]"
    assert options["role__flag"].help == "on or off [default: off]"
    assert options["role__sigma"].help == "a range [default: 5,55]"
    assert options["role__maybe"].help == "none = off [default: 1]"
    assert options["role__sigma"].metavar == "LOW,HIGH"
    assert options["role__blocks"].metavar == "A,B,..."
    assert options["role__inner"].metavar == "JSON"
    assert options["role__split"].metavar == "TEXT"
    assert {option.panel for option in options.values()} == {"The options"}


def test_other_defaults_are_shown():
    group = Group("role", Everything, "x", defaults={"blocks": (4, 6), "flag": True})
    options = {option.name: option for option in group.options()}
    assert options["role__blocks"].help == "a list [default: 4,6]"
    assert options["role__flag"].help == "on or off [default: on]"


def test_a_required_field():
    class Required(Config):
        width: int = Field(description="channels")

    group = Group("role", Required, "x")
    assert group.options()[0].help == "channels [required]"
    with pytest.raises(UsageError, match=r"--role\.width: required"):
        group.parse(Required, typed(group=group))


def test_plain_repeated_and_renamed_options():
    group = Group("settings", Settings, "x", plain=True, names={"callbacks": "callback"}, repeated={"callbacks"})
    given = typed("--learning-rate", "2e-4", "--callback", "a", "--callback", "b", "--no-compile", group=group)
    assert given == {"learning_rate": "2e-4", "callbacks": ("a", "b"), "compile": False}
    settings = group.parse(Settings, given)
    assert settings == Settings(learning_rate=2e-4, callbacks=("a", "b"))
    stages = group.parse(Settings, typed("--stages", "0:64:16,0.5:96:8", group=group)).stages
    assert [(stage.start, stage.patch_size, stage.batch_size) for stage in stages] == [(0, 64, 16), (0.5, 96, 8)]


def test_a_choice_resolves_everything():
    class Small(Config):
        rank: int = 8
        alpha: float | None = None

    choice = Group("adapter", Small, "x").choice("lora", {"rank": "4"}, {"rank": 2, "alpha": 1})
    assert choice == Choice(name="lora", options={"rank": 4, "alpha": 1.0})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (8, "8"),
        (1e-6, "1e-06"),
        ((5.0, 55.0), "5,55"),
        (Colour.RED, "red"),
        (Path("a"), "a"),
        ((Choice(name="j"),), '[{"name": "j", "options": {}}]'),
        ({"a": 1}, '{"a": 1}'),
    ],
)
def test_shown(value, text):
    assert shown(value) == text
