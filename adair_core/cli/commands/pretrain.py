"""``adair pretrain``: phase 1, a backbone learns to undo a mixture of synthetic degradations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import rich_click

from adair_core.cli.choices import DEFAULT_BACKBONE, backbone_group, base_named, preset_options
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
from adair_core.training.recipe import PretrainRecipe, default_settings

MIXTURE = "one-of"


@dataclass(frozen=True)
class _Start:
    """What the options refine: an earlier recipe, or a base whose weights the training starts from."""

    earlier: PretrainRecipe | None
    base: str | None
    backbone: str
    preset: str | None
    options: Mapping[str, Any]


def _start(typed: Mapping[str, Any]) -> _Start:
    default = f"pretrain-{typed.get('backbone') or DEFAULT_BACKBONE}"
    earlier = earlier_recipe(typed, PretrainRecipe, name=default)
    base: str | None = None
    made, preset = Choice(name=DEFAULT_BACKBONE), None
    if typed.get("base"):
        from adair_core.model import load

        base = base_named(typed["base"])
        info = load(base).info
        made, preset = info.backbone, (info.recipe or {}).get("preset")
    elif earlier:
        base, made, preset = earlier.base, earlier.backbone, earlier.preset
    backbone = typed.get("backbone") or made.name
    same = backbone == made.name
    options = made.options if same and not typed.get("preset") else {}
    preset = typed.get("preset") or (preset if same else None)
    if preset is None and not (same and base):
        preset = plugins().backbones[backbone].default_preset
    return _Start(earlier, base, backbone, preset, options)


def _groups(typed: Mapping[str, Any]) -> list[Group]:
    start = _start(typed)
    spec = plugins().backbones[start.backbone]
    defaults = start.earlier.settings.model_dump() if start.earlier else default_settings(spec)
    return [settings_group(defaults), data_group(), backbone_group(spec, start.preset)]


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
        "pretrain --base restormer-tiny --data photos/ --steps 20000",
        'pretrain --data photos/ --mixture "gaussian-noise,jpeg:0.5"',
        'pretrain --data photos/ --mixture \'[{"name": "jpeg", "options": {"quality": "10,40"}}]\'',
    ],
)
@rich_click.option("--backbone", metavar="NAME", help=f"network architecture [default: {DEFAULT_BACKBONE}]")
@rich_click.option("--preset", metavar="NAME", help="named shape of the backbone")
@rich_click.option(
    "--base",
    metavar="NAME|FILE",
    help="base whose weights to start from, of the zoo or a file [default: random weights]",
)
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

    start = _start(parameters)
    earlier, backbone, preset = start.earlier, start.backbone, start.preset
    groups = {role: group_named(role) for role in ("settings", "data", "backbone")}
    options = {**start.options, **groups["backbone"].given(parameters)}
    spec = plugins().backbones[backbone]
    recipe = PretrainRecipe(
        data=resolved_data(groups["data"], parameters, earlier),
        settings=resolved_settings(groups["settings"], parameters, earlier, default_settings(spec)),
        environment=earlier.environment if earlier else {},
        base=start.base,
        base_fingerprint=earlier.base_fingerprint if earlier and not parameters["base"] else None,
        backbone=groups["backbone"].choice(backbone, options, preset_options("backbone", spec, preset)),
        preset=preset,
        degradation=_degradation(parameters["mixture"], earlier),
    )
    run(pretrain, recipe, parameters, name=f"pretrain-{backbone}")
