"""Phase 2: an adapter learns a task on a frozen base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from adair_core.data.seeds import seed_of
from adair_core.evaluation import EvaluationImages
from adair_core.model.adapter_card import AdapterCard
from adair_core.model.installed_adapter import preset_options
from adair_core.model.load import load
from adair_core.model.restoration_model import RestorationModel
from adair_core.plugins import parse_config, plugins
from adair_core.specs import Choice, Protocol
from adair_core.training.callbacks import Callback, RunResult, ValidationRecord
from adair_core.training.examples import HELD_OUT_SIDE, Examples, gather, with_absolute_paths
from adair_core.training.loop import Job
from adair_core.training.recipe import AdapterRecipe, Recipe, Settings, default_settings
from adair_core.training.run_folder import RunFolder
from adair_core.training.running import Say, conduct
from adair_core.training.starts import resolved_base, resolved_start
from adair_core.training.validation import Validation


def train(
    recipe: AdapterRecipe,
    out: Path | str,
    *,
    resume: bool = False,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Train an adapter on a frozen base and write its folder.

    Settings that the recipe does not set are the task's defaults, then the adapter type's, then the usual ones.

    Args:
        recipe: what to train, how and on what; options that it leaves out are resolved and recorded.
        out: the run folder; the adapter is a folder in it that has the task's name.
        resume: go on where the folder's last checkpoint stands.
        progress: show progress on standard error.
        callbacks: watch the run, besides those that the recipe names.

    Raises:
        UsageError: a name or an option is wrong, or the adapter to start from has others.
        BaseMismatchError: the base is not the one of the recipe's fingerprint, or of the adapter to start from.
        WeightsError: the base, or the adapter to start from, cannot be used.
        DataError: the images cannot be used.
        RunFolderError: the folder is in use, holds another run, or cannot be written.
        TrainingError: the loss or the gradient is not finite.
        Interrupted: the user stopped the run; its checkpoint is written.
    """
    model = load(recipe.base)
    recipe = resolved(recipe, model)
    model.info = replace(model.info, name=recipe.base)  # which the adapter's file names, for any folder to find

    def prepare(recipe: AdapterRecipe, folder: RunFolder, say: Say) -> Job:
        return _prepare(recipe, folder, say, model)

    title = f"train {recipe.adapter.name} for {recipe.task.name}"
    return conduct(recipe, Path(out), prepare, title=title, resume=resume, progress=progress, callbacks=callbacks)


def resolved(recipe: AdapterRecipe, model: RestorationModel) -> AdapterRecipe:
    """Fill in the base's version and fingerprint, every option and setting, and make paths absolute.

    Args:
        recipe: as it came.
        model: its base.

    Raises:
        UsageError: a name or an option is wrong, or the adapter to start from has others.
        BaseMismatchError: the base is not the one of the recipe's fingerprint.
        WeightsError: the adapter to start from cannot be used.
    """
    task = plugins().task(recipe.task.name)
    adapter = plugins().adapters[recipe.adapter.name]
    options = preset_options(adapter, recipe.adapter.options, recipe.preset)
    settings = {**default_settings(adapter, task), **recipe.settings.given}
    chosen = Choice(name=recipe.adapter.name, options=options)
    recipe = recipe.model_copy(update={"adapter": chosen}).with_every_option()
    start: dict[str, str] = {}
    if recipe.start_from is not None:
        start = resolved_start(recipe.start_from, recipe.start_fingerprint, recipe.adapter)
    return recipe.model_copy(
        update={
            **resolved_base(recipe.base, recipe.base_fingerprint, model.info),
            **start,
            "settings": parse_config(Settings, settings, what=f"settings of task {recipe.task.name!r}"),
            "data": with_absolute_paths(recipe.data),
        }
    )


def _prepare(recipe: AdapterRecipe, folder: RunFolder, say: Say, model: RestorationModel) -> Job:
    examples, protocol = _examples(recipe, say)
    name = recipe.task.name
    if recipe.start_from is None:
        seed = seed_of("adapter", recipe.settings.seed)
        model.add_adapter(name, recipe.adapter.name, recipe.adapter.options, seed=seed)
    else:
        model.load_adapter(recipe.start_from, name=name)
    adapter, parameters = model.adapter(name), model.adapter_parameters(name)
    if adapter.tile is not None:
        start = f"{recipe.start_from} restores best in tiles of {adapter.tile} pixels"
        say(f"{start}; 'adair adapters tile' finds what suits what is trained now")
    count = sum(parameter.numel() for parameter in parameters.values())
    origin = "" if recipe.start_from is None else f", from those of {recipe.start_from}"
    say(f"{count:,} adapter parameters on the frozen base {recipe.base}{origin}")

    def export(final: Recipe, validation: ValidationRecord | None) -> Path:
        images = "1 image" if len(examples.validation) == 1 else f"{len(examples.validation)} images"
        step = recipe.settings.steps if validation is None else validation.step
        notes = f"The numbers are those of the validation after step {step} of the training, on {images}."
        card = AdapterCard(
            task=name,
            metrics=_rows(validation) if validation is not None else [],
            protocol=protocol.name,
            recipe=final.model_dump(mode="json"),
            notes=notes,
        )
        model.save_adapter(name, folder.path / name, card=card)
        return folder.path / name

    return Job(
        recipe=recipe,
        network=model,
        parameters=parameters,
        buffers=lambda: {key: tensor for key, tensor in adapter.tensors().items() if key not in parameters},
        dataset=examples.training,
        validation=Validation(protocol, examples.validation),
        identity=examples.identity,
        export=export,
    )


def held_out(recipe: AdapterRecipe, *, side: int) -> tuple[Protocol, EvaluationImages]:
    """Give what a training was validated with: the protocol, and the images that it held out or was given.

    Args:
        recipe: of the training.
        side: images that it held out are cut to their middle of this size, in pixels.

    Raises:
        DataError: the images are not there any more.
    """
    examples, protocol = _examples(recipe, lambda _: None, side=side)
    return protocol, examples.validation


def _examples(recipe: AdapterRecipe, say: Say, *, side: int = HELD_OUT_SIDE) -> tuple[Examples, Protocol]:
    task = plugins().task(recipe.task.name)
    config = parse_config(task.config, recipe.task.options, what=f"task {recipe.task.name!r}")
    choice = task.degradation(config)
    degradation = None if choice is None else plugins().degradation(choice)
    return gather(recipe.data, recipe.settings, degradation, say=say, side=side), task.protocol(config)


def _rows(validation: ValidationRecord) -> list[dict[str, str | int | float | None]]:
    return [
        {
            "condition": label,
            f"{validation.metric} of input": validation.inputs[label],
            f"{validation.metric} restored": value,
        }
        for label, value in validation.conditions.items()
    ]
