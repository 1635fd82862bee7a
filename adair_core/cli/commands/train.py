"""``adair train``: phase 2, an adapter learns a task on a frozen base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import rich_click

from adair_core.cli.choices import (
    DEFAULT_ADAPTER,
    DEFAULT_BASE,
    PAIRS,
    adapter_group,
    adapter_type,
    base_named,
    preset_options,
    task_group,
    task_named,
    task_parameters,
)
from adair_core.cli.command import Command, group_named
from adair_core.cli.options import Group
from adair_core.cli.recipes import (
    data_group,
    earlier_recipe,
    pairs_option,
    resolved_data,
    resolved_settings,
    run,
    run_options,
    settings_group,
)
from adair_core.plugins import plugins
from adair_core.training.recipe import AdapterRecipe, default_settings


def _default_name(typed: Mapping[str, Any]) -> str | None:
    task = typed.get("task") or (PAIRS if typed.get("pairs") else None)
    return f"{task}-{typed.get('adapter') or DEFAULT_ADAPTER}" if task else None


def _names(typed: Mapping[str, Any]) -> tuple[AdapterRecipe | None, str, str | None, str | None]:
    earlier = earlier_recipe(typed, AdapterRecipe, name=_default_name(typed))
    adapter = typed.get("adapter") or (earlier.adapter.name if earlier else DEFAULT_ADAPTER)
    task = typed.get("task") or (PAIRS if typed.get("pairs") else earlier.task.name if earlier else None)
    same_type = earlier is not None and earlier.adapter.name == adapter
    preset = typed.get("preset") or (earlier.preset if earlier and same_type else None)
    return earlier, adapter, task, preset


def _groups(typed: Mapping[str, Any]) -> list[Group]:
    earlier, adapter, task, preset = _names(typed)
    groups = [data_group()]
    kind = adapter_type(adapter)
    defaults: Mapping[str, Any] = kind.defaults
    if task is not None:
        spec = plugins().task(task)
        defaults = default_settings(kind, spec)
        groups.append(task_group(task, spec))
    groups.append(adapter_group(kind, preset))
    return [settings_group(earlier.settings.model_dump() if earlier else defaults), *groups]


@rich_click.command(
    "train",
    cls=Command,
    groups=_groups,
    examples=[
        "train --adapter lora --task denoise --data photos/ --steps 2000",
        "train --task denoise --adapter.rank 4 --task.sigma 25",
        "train --pairs noisy/ clean/ --adapter bottleneck",
        "train --recipe runs/denoise-lora/recipe.json",
        "train --resume --out runs/denoise-lora",
    ],
)
@rich_click.option("--task", metavar="NAME", help="what to restore: a task, or a degradation to undo")
@rich_click.option("--adapter", metavar="TYPE", help=f"adapter type [default: {DEFAULT_ADAPTER}]")
@rich_click.option("--base", metavar="NAME|FILE", help=f"frozen base, of the zoo or a file [default: {DEFAULT_BASE}]")
@rich_click.option("--preset", metavar="NAME", help="named options of the adapter type")
@rich_click.option("--scale", metavar="N", help="the same as --task.scale")
@pairs_option
@run_options
def command(**parameters: Any) -> None:
    """Train an adapter for a task on a frozen base.

    With --task and --adapter, --help lists their options too. Without --data, the sample photos of scikit-image are
    used.
    """
    from adair_core.training import train

    earlier, adapter, task, preset = _names(parameters)
    task, task_spec = task_named(task)
    spec = adapter_type(adapter)
    groups = {role: group_named(role) for role in ("settings", "data", "task", "adapter")}
    task_options = task_parameters(groups["task"], parameters)
    if earlier and earlier.task.name == task:
        task_options = {**earlier.task.options, **task_options}
    adapter_options = groups["adapter"].given(parameters)
    if earlier and earlier.adapter.name == adapter and not parameters["preset"]:
        adapter_options = {**earlier.adapter.options, **adapter_options}
    base = parameters["base"] or (earlier.base if earlier else DEFAULT_BASE)
    recipe = AdapterRecipe(
        data=resolved_data(groups["data"], parameters, earlier),
        settings=resolved_settings(groups["settings"], parameters, earlier, default_settings(spec, task_spec)),
        environment=earlier.environment if earlier else {},
        base=base_named(base),
        base_fingerprint=earlier.base_fingerprint if earlier and not parameters["base"] else None,
        adapter=groups["adapter"].choice(adapter, adapter_options, preset_options("adapter type", spec, preset)),
        preset=preset,
        task=groups["task"].choice(task, task_options),
    )
    run(train, recipe, parameters, name=f"{task}-{adapter}")
