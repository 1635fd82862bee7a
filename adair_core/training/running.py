"""From a resolved recipe to a finished run folder: the frame around the loop that both phases share."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from adair_core.errors import AdairError, Interrupted, PluginError, RunFolderError, listing
from adair_core.plugins import plugins
from adair_core.training.callbacks import Callback, RunResult
from adair_core.training.environment import (
    EARLIER,
    EnvironmentWarning,
    differences,
    environment,
    recipe_differences,
    sittings_before,
)
from adair_core.training.figures import Curves
from adair_core.training.loop import Job, Loop
from adair_core.training.metrics_log import MetricsLog, TensorBoard
from adair_core.training.processes import Processes
from adair_core.training.progress import ProgressReport
from adair_core.training.recipe import Recipe
from adair_core.training.run_folder import RunFolder, write_json

Say = Callable[[str], None]
RecipeT = TypeVar("RecipeT", bound=Recipe)
Prepare = Callable[[RecipeT, RunFolder, Say], Job]


def conduct(
    recipe: RecipeT,
    out: Path,
    prepare: Prepare[RecipeT],
    *,
    title: str,
    resume: bool,
    progress: bool,
    callbacks: Sequence[Callback],
) -> RunResult:
    """Run a recipe in a folder.

    Args:
        recipe: resolved; its environment, if it has one, is the one that it was made in.
        out: the run folder.
        prepare: builds the job; called when the folder is ours and nothing has been written yet.
        title: what is being trained, in a few words.
        resume: go on where the folder's checkpoint stands, or start if there is none.
        progress: show progress on standard error.
        callbacks: more of them, after the built-in ones and those that the settings name.

    Raises:
        RunFolderError: the folder is in use, holds another run, or cannot be written.
        AdairError: what `prepare` and the loop raise.
    """
    processes = Processes(recipe.settings.device)
    named = [_callback(name) for name in recipe.settings.callbacks]
    report = ProgressReport(title)
    say: Say = report.say if progress and processes.is_main else _say_nothing
    asked, recipe = recipe.environment, recipe.model_copy(update={"environment": environment(processes)})
    folder = RunFolder(out)
    try:
        if not processes.is_main:
            processes.wait()
            return _start(recipe, asked, folder, prepare, processes, say, ())
        with folder.claim(resume=resume):
            _refuse_another(folder.read_recipe(), recipe, folder)
            processes.wait()
            watching = [MetricsLog(folder), TensorBoard(folder), Curves(folder), *named, *callbacks]
            return _start(recipe, asked, folder, prepare, processes, say, [report, *watching] if progress else watching)
    except Interrupted:  # all of them stop after the same step
        raise
    except BaseException:
        processes.exit_alone()
        raise


def _start(
    recipe: RecipeT,
    asked: dict[str, Any],
    folder: RunFolder,
    prepare: Prepare[RecipeT],
    processes: Processes,
    say: Say,
    callbacks: Sequence[Callback],
) -> RunResult:
    job = prepare(recipe, folder, say)
    now = {**recipe.environment, "images": job.identity}
    recorded = (folder.read_recipe() or {}).get("environment", {})
    now |= sittings_before(recorded, now)
    job = replace(job, recipe=recipe.model_copy(update={"environment": now}))
    loop = Loop(job, folder, processes, callbacks)
    if processes.is_main:
        warn_of_changes(recorded or asked, now, stacklevel=5)
        write_json(folder.recipe, job.recipe.model_dump(mode="json"))
        if loop.run_view.start:
            say(f"going on after step {loop.run_view.start} of {recipe.settings.steps}")
    return loop.run()


def _callback(name: str) -> Callback:
    made: object = plugins().callbacks[name].build()
    if not isinstance(made, Callback):
        raise PluginError(f"callback {name!r}: build: expected a Callback, got {made!r}")
    return made


def _refuse_another(before: dict[str, Any] | None, recipe: Recipe, folder: RunFolder) -> None:
    changed = [] if before is None else recipe_differences(_today(before, type(recipe)), recipe.model_dump(mode="json"))
    if changed:
        raise RunFolderError(
            f"run folder {folder.path} holds a run of another recipe: {listing(changed, limit=10)}; resume with the "
            f"options that it was started with, or choose another --out"
        )


def _today(before: dict[str, Any], kind: type[Recipe]) -> dict[str, Any]:
    """A recorded recipe with all settings and options that there are now: a run that had none had their defaults."""
    try:
        return kind.model_validate(before).with_every_option().model_dump(mode="json")
    except (ValidationError, AdairError):
        return before  # such as one of the other phase


def warn_of_changes(before: dict[str, Any], now: dict[str, Any], *, stacklevel: int) -> None:
    """Warn if the images are others, or the environment, in which the same recipe may give other bits."""
    if not before:
        return
    images = [each.get("images") for each in (before, now)]
    if None not in images and images[0] != images[1]:
        warnings.warn(
            f"the training images are not those of the recipe (hash {images[0]} before, {images[1]} now): the run "
            f"learns from others from here on, and those that are held out for validation may be others, too",
            EnvironmentWarning,
            stacklevel=stacklevel,
        )
    changed = differences(before, now, without=("images", EARLIER))
    if changed:
        warnings.warn(
            f"the environment is not the one of the recipe, so the result may differ in its last bits: "
            f"{listing(changed, limit=10)}",
            EnvironmentWarning,
            stacklevel=stacklevel,
        )


def _say_nothing(text: str) -> None:
    del text
