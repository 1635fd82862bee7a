"""What `adair train` and `adair pretrain` share: from what was typed to one resolved recipe, and the run folder."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
import rich_click
from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from adair_core.cli.data import refuse_both
from adair_core.cli.options import Group
from adair_core.cli.output import print_json, say
from adair_core.cli.process import threads_option, tune
from adair_core.errors import Interrupted, UsageError, expected
from adair_core.training.recipe import Data, Recipe, Settings

RecipeT = TypeVar("RecipeT", bound=Recipe)


def run_options(function: Any) -> Any:
    """Decorate a training command with the options that are neither settings, data nor a plugin's."""
    options = [
        rich_click.option("--recipe", type=click.Path(path_type=Path), help="repeat the run of this recipe.json"),
        rich_click.option(
            "--out", "-o", type=click.Path(path_type=Path), help="run folder [default: a new one in runs/]"
        ),
        rich_click.option("--resume", is_flag=True, help="continue the run in --out, or the last one of this name"),
        rich_click.option("--json", "as_json", is_flag=True, help="print the result as JSON"),
    ]
    for option in reversed([*options, threads_option]):
        function = option(function)
    return function


def settings_group(defaults: Mapping[str, Any]) -> Group:
    """The options of `Settings`."""
    return Group(
        "settings",
        Settings,
        "Training",
        plain=True,
        defaults=defaults,
        names={"callbacks": "callback"},
        repeated=frozenset({"callbacks"}),
    )


def data_group() -> Group:
    """The options of `Data`; a pair of folders is one option, ``--pairs``."""
    return Group(
        "data",
        Data,
        "Data",
        plain=True,
        without=frozenset({"pairs_input", "pairs_target"}),
        names={"images": "data", "strict": "strict-data"},
        repeated=frozenset({"images"}),
    )


def read_recipe(path: Path, model: type[RecipeT]) -> RecipeT:
    """Read a recipe file.

    Raises:
        UsageError: it cannot be read, is not a recipe, or is of the other phase.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise UsageError(
            f"recipe {path}: cannot be read ({reason}); expected the recipe.json of a run folder"
        ) from error
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        phase = str(model.model_fields["phase"].default)
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()[:3])
        raise UsageError(f"recipe {path}: expected a recipe of phase {phase!r} ({problems})") from error


def earlier_recipe(typed: Mapping[str, Any], model: type[RecipeT], *, name: str | None) -> RecipeT | None:
    """The recipe that the options refine: of ``--recipe``, or of the run that ``--resume`` continues.

    Args:
        typed: the options.
        model: of the phase.
        name: of default run folders, if what was typed tells.

    Raises:
        UsageError: the file cannot be used, or it is not said which run to continue.
    """
    if typed.get("recipe"):
        return read_recipe(Path(typed["recipe"]), model)
    if typed.get("resume"):
        if not typed.get("out") and name is None:
            raise UsageError(
                expected("--resume", expected="the run to continue", got="no --out", hint="give --out DIR")
            )
        folder = Path(typed["out"]) if typed.get("out") else last_run(str(name))
        if (folder / "recipe.json").exists():
            return read_recipe(folder / "recipe.json", model)
        if name is None:
            hint = "start one without --resume"
            raise UsageError(
                expected("--resume", expected="a run to continue", got=f"no recipe.json in {folder}", hint=hint)
            )
    return None


def runs_named(name: str) -> Iterable[Path]:
    """``runs/<name>``, ``runs/<name>-2``, ``runs/<name>-3``, ..."""
    number = 1
    while True:
        yield Path("runs") / (name if number == 1 else f"{name}-{number}")
        number += 1


def new_run(name: str) -> Path:
    """The first of `runs_named` that does not exist."""
    return next(folder for folder in runs_named(name) if not folder.exists())


def last_run(name: str) -> Path:
    """The last of `runs_named` that exists, whatever has been removed before it.

    Raises:
        UsageError: there is none.
    """
    numbers = [number for folder in Path("runs").glob("*") if (number := _number(folder.name, name)) is not None]
    if not numbers:
        raise UsageError(
            expected("--resume", expected="a run to continue", got=f"no runs/{name}", hint="give --out DIR")
        )
    return next(itertools.islice(runs_named(name), max(numbers) - 1, None))


def _number(folder: str, name: str) -> int | None:
    """Which of `runs_named` a folder is, from 1; ``None`` = none of them."""
    number = folder.removeprefix(f"{name}-")
    if folder == name:
        return 1
    return int(number) if number != folder and number.isdecimal() and int(number) > 1 else None


def resolved_data(group: Group, parameters: Mapping[str, Any], earlier: Recipe | None) -> Data:
    """The data of a recipe: the earlier ones, replaced by what was given.

    Raises:
        UsageError: both clean images and pairs were given.
    """
    given = group.given(parameters)
    pairs = parameters.get("pairs")
    refuse_both(given.get("images"), pairs)
    if pairs:
        given |= {"pairs_input": pairs[0], "pairs_target": pairs[1], "images": ()}
    elif given.get("images"):
        given |= {"pairs_input": None, "pairs_target": None}
    before = earlier.data.model_dump() if earlier else {}
    return group.parse(Data, {**before, **given})


def resolved_settings(
    group: Group, parameters: Mapping[str, Any], earlier: Recipe | None, defaults: Mapping[str, Any]
) -> Settings:
    """The settings of a recipe: what was given, over the earlier recipe's or the defaults."""
    before = earlier.settings.model_dump() if earlier else dict(defaults)
    return group.parse(Settings, {**before, **group.given(parameters)})


def run(training: Callable[..., Any], recipe: Recipe, parameters: Mapping[str, Any], *, name: str) -> None:
    """Train, and print what came out.

    Args:
        training: `adair_core.training.train` or `pretrain`.
        recipe: resolved.
        parameters: what was typed.
        name: of the run folder, when none was given.

    Raises:
        Interrupted: with how to continue.
    """
    out = parameters["out"]
    if out is None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            hint = "several processes must agree on it"
            raise UsageError(expected("--out", expected="the run folder", got="none", hint=hint))
        out = last_run(name) if parameters["resume"] else new_run(name)
    say(f"run folder: {out}")
    tuning = tune(parameters["threads"], recorded=recipe.environment.get("threads"))
    if tuning is not None:
        say(f"threads: {tuning.threads} ({tuning.threads_reason})")
    command = f"adair {recipe.phase} --resume --out {shlex.quote(str(out))}"
    try:
        result = training(recipe, out, resume=parameters["resume"])
    except KeyboardInterrupt as stop:  # the second Ctrl-C, or one before the first step
        if not (Path(out) / "recipe.json").exists():
            raise Interrupted("interrupted before the training began; nothing was written") from stop
        raise Interrupted(f"interrupted; go on from the last checkpoint with: {command}") from stop
    if parameters["as_json"]:
        print_json(to_jsonable_python(result))
