"""``adair pretrain``: phase 1, a backbone learns to undo a mixture of synthetic degradations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import rich_click

from adair_core.cli.choices import DEFAULT_BACKBONE, backbone_group, preset_options
from adair_core.cli.command import Command, group_named
from adair_core.cli.options import Group
from adair_core.cli.recipes import (
    data_group,
    earlier_recipe,
    resolved_data,
    resolved_settings,
    run,
    run_options,
    settings_group,
)
from adair_core.errors import UsageError, expected
from adair_core.plugins import parse_config, plugins
from adair_core.specs import Choice
from adair_core.training.recipe import PretrainRecipe

MIXTURE = "one-of"


def _names(typed: Mapping[str, Any]) -> tuple[PretrainRecipe | None, str, str | None]:
    default = f"pretrain-{typed.get('backbone') or DEFAULT_BACKBONE}"
    earlier = earlier_recipe(typed, PretrainRecipe, name=default)
    backbone = typed.get("backbone") or (earlier.backbone.name if earlier else DEFAULT_BACKBONE)
    same = earlier is not None and earlier.backbone.name == backbone
    preset = typed.get("preset") or (earlier.preset if earlier and same else None)
    return earlier, backbone, preset


def _groups(typed: Mapping[str, Any]) -> list[Group]:
    earlier, backbone, preset = _names(typed)
    defaults = earlier.settings.model_dump() if earlier else {}
    return [settings_group(defaults), data_group(), backbone_group(plugins().backbones[backbone], preset)]


def _degradation(mixture: str | None, earlier: PretrainRecipe | None) -> Choice:
    if mixture is None and earlier is not None:
        return earlier.degradation
    options: dict[str, Any] = {}
    if mixture is not None:
        try:
            options["degradations"] = json.loads(mixture) if mixture.startswith("[") else mixture
        except json.JSONDecodeError as error:
            raise UsageError(expected("--mixture", expected="JSON", got=repr(mixture), hint=str(error))) from error
    config = parse_config(plugins().degradations[MIXTURE].config, options, what="mixture", label=lambda _: "--mixture")
    choice = Choice(name=MIXTURE, options=config.model_dump(mode="json"))
    plugins().degradation(choice)  # its members' names and options are checked when it is built
    return choice


@rich_click.command(
    "pretrain",
    cls=Command,
    groups=_groups,
    examples=[
        "pretrain --backbone restormer --preset tiny --data photos/ --steps 100000",
        'pretrain --data photos/ --mixture "gaussian-noise,jpeg:0.5"',
        'pretrain --data photos/ --mixture \'[{"name": "jpeg", "options": {"quality": "10,40"}}]\'',
    ],
)
@rich_click.option("--backbone", metavar="NAME", help=f"network architecture [default: {DEFAULT_BACKBONE}]")
@rich_click.option("--preset", metavar="NAME", help="named shape of the backbone")
@rich_click.option(
    "--mixture",
    metavar="NAME:WEIGHT,...|JSON",
    help="degradations to undo and their weights, or a JSON list of {name, options, weight} "
    "[default: the built-in ones but snow and mask]",
)
@run_options
def command(**parameters: Any) -> None:
    """Train a base on a mixture of synthetic degradations.

    With --backbone, --help lists its options too. Without --data, the sample photos of scikit-image are used.
    """
    from adair_core.training import pretrain

    earlier, backbone, preset = _names(parameters)
    spec = plugins().backbones[backbone]
    preset = preset or spec.default_preset
    groups = {role: group_named(role) for role in ("settings", "data", "backbone")}
    options = groups["backbone"].given(parameters)
    if earlier and earlier.backbone.name == backbone and not parameters["preset"]:
        options = {**earlier.backbone.options, **options}
    recipe = PretrainRecipe(
        data=resolved_data(groups["data"], parameters, earlier),
        settings=resolved_settings(groups["settings"], parameters, earlier, {}),
        environment=earlier.environment if earlier else {},
        backbone=groups["backbone"].choice(backbone, options, preset_options("backbone", spec, preset)),
        preset=preset,
        degradation=_degradation(parameters["mixture"], earlier),
    )
    run(pretrain, recipe, parameters, name=f"pretrain-{backbone}")
