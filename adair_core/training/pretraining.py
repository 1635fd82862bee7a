"""Phase 1: a whole backbone learns to undo a mixture of synthetic degradations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from adair_core.data.seeds import seed_of
from adair_core.errors import UsageError, expected
from adair_core.model.backbone import build_resolved, resolve_backbone
from adair_core.model.files import save_base
from adair_core.model.load import load
from adair_core.model.restoration_model import RestorationModel
from adair_core.plugins import parse_config, plugins
from adair_core.specs import Condition, Protocol
from adair_core.training.callbacks import Callback, RunResult, ValidationRecord
from adair_core.training.examples import gather, with_absolute_paths
from adair_core.training.loop import Job
from adair_core.training.recipe import PretrainRecipe, Recipe, Settings, default_settings
from adair_core.training.run_folder import RunFolder
from adair_core.training.running import Say, conduct
from adair_core.training.starts import described, resolved_base
from adair_core.training.validation import Validation


def pretrain(
    recipe: PretrainRecipe,
    out: Path | str,
    *,
    resume: bool = False,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Train a backbone, from scratch or from a base's weights, and write it as a base.

    Args:
        recipe: what to train, how and on what; options that it leaves out are resolved and recorded.
        out: the run folder; the base is ``<backbone>-<preset>.safetensors`` in it.
        resume: go on where the folder's last checkpoint stands.
        progress: show progress on standard error.
        callbacks: watch the run, besides those that the recipe names.

    Raises:
        UsageError: a name or an option is wrong.
        BaseMismatchError: the base to start from is not the one of the recipe's fingerprint.
        WeightsError: the base to start from cannot be used.
        DataError: the images cannot be used.
        RunFolderError: the folder is in use, holds another run, or cannot be written.
        TrainingError: the loss or the gradient is not finite.
        Interrupted: the user stopped the run; its checkpoint is written.
    """
    start = None if recipe.base is None else load(recipe.base)
    recipe = resolved(recipe, start)

    def prepare(recipe: PretrainRecipe, folder: RunFolder, say: Say) -> Job:
        return _prepare(recipe, folder, say, start)

    title = f"pretrain {recipe.backbone.name}"
    return conduct(recipe, Path(out), prepare, title=title, resume=resume, progress=progress, callbacks=callbacks)


def resolved(recipe: PretrainRecipe, start: RestorationModel | None) -> PretrainRecipe:
    """Fill in every setting and option of the backbone and of the degradation, and make paths absolute.

    Args:
        recipe: as it came.
        start: its base, if it has one. Options of the backbone that the recipe leaves out are those of the base.

    Raises:
        UsageError: a name or an option is wrong, or the base is of another backbone.
        BaseMismatchError: the base is not the one of the recipe's fingerprint.
    """
    base: dict[str, str] = {}
    options = recipe.backbone.options
    if start is None:
        preset = recipe.preset or plugins().backbones[recipe.backbone.name].default_preset
    else:
        if recipe.backbone.name != start.info.backbone.name:
            wanted, got = described(start.info.backbone), repr(recipe.backbone.name)
            raise UsageError(expected(f"backbone to start from {recipe.base}", expected=wanted, got=got))
        preset = recipe.preset or (start.info.recipe or {}).get("preset")
        base = resolved_base(str(recipe.base), recipe.base_fingerprint, start.info)
        options = {**({} if recipe.preset else start.info.backbone.options), **options}
    backbone = resolve_backbone(recipe.backbone.name, preset=preset, **options)
    if start is not None and backbone != start.info.backbone:
        raise UsageError(
            expected(
                f"backbone to start from {recipe.base}",
                expected=described(start.info.backbone),
                got=described(backbone),
                hint="leave the backbone's options out, or leave the base out",
            )
        )
    recipe = recipe.model_copy(update={"backbone": backbone}).with_every_option()
    settings = {**default_settings(plugins().backbones[backbone.name]), **recipe.settings.given}
    return recipe.model_copy(
        update={
            **base,
            "preset": preset,
            "settings": parse_config(Settings, settings, what=f"settings of backbone {backbone.name!r}"),
            "data": with_absolute_paths(recipe.data),
        }
    )


def protocol(recipe: PretrainRecipe) -> Protocol:
    """Judge on the mixture itself: each validation image has its own degradation, the same at every validation."""
    condition = Condition(label=recipe.degradation.name, degradation=recipe.degradation)
    return Protocol(name="pretrain", conditions=(condition,), metrics=("psnr",), note="the training mixture")


def _prepare(recipe: PretrainRecipe, folder: RunFolder, say: Say, start: RestorationModel | None) -> Job:
    examples = gather(recipe.data, recipe.settings, plugins().degradation(recipe.degradation), say=say)
    backbone = _random(recipe) if start is None else start.backbone.requires_grad_(True)
    weights = folder.path / f"{'-'.join(filter(None, (recipe.backbone.name, recipe.preset)))}.safetensors"

    def export(final: Recipe, _: ValidationRecord | None) -> Path:
        save_base(weights, backbone, backbone=recipe.backbone, recipe=final.model_dump(mode="json"))
        return weights

    return Job(
        recipe=recipe,
        network=backbone,
        parameters=dict(backbone.named_parameters()),
        buffers=lambda: dict(backbone.named_buffers()),
        dataset=examples.training,
        validation=Validation(protocol(recipe), examples.validation),
        identity=examples.identity,
        export=export,
    )


def _random(recipe: PretrainRecipe) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("backbone", recipe.settings.seed))
        return build_resolved(recipe.backbone)
