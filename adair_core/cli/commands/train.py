"""``adair train``: phase 2, an adapter learns a task on a frozen base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import rich_click
from pydantic import ValidationError

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
    trained_adapter,
)
from adair_core.cli.command import Command, group_named
from adair_core.cli.data import pairs_option
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
from adair_core.plugins import plugins
from adair_core.specs import Choice
from adair_core.training.recipe import AdapterRecipe, default_settings

if TYPE_CHECKING:
    from adair_core.model import AdapterCard


@dataclass(frozen=True)
class _Start:
    """What the options refine: an earlier recipe, or a trained adapter that the training starts from.

    Attributes:
        earlier: the recipe.
        start_from: the adapter to start from, if there is one.
        base: that is trained on.
        adapter: its type with the options that are not typed.
        task: with the options that are not typed; ``None`` if it is not said.
        preset: of the adapter type.
    """

    earlier: AdapterRecipe | None
    start_from: str | None
    base: str
    adapter: Choice
    task: Choice | None
    preset: str | None


def _start(typed: Mapping[str, Any]) -> _Start:
    start_from, base, adapter, task, preset = None, DEFAULT_BASE, Choice(name=DEFAULT_ADAPTER), None, None
    if typed.get("start_from"):
        from adair_core.training.starts import starting_adapter

        start_from = trained_adapter(typed["start_from"], option="--start-from")
        file, adapter = starting_adapter(start_from)
        base, task = str(file.base), _task_of(file.card)
    chosen = _chosen_task(typed, task)
    name = f"{chosen.name}-{typed.get('adapter') or adapter.name}" if chosen else None
    earlier = earlier_recipe(typed, AdapterRecipe, name=name)
    if earlier:
        task = earlier.task
        if start_from is None:
            start_from, base, adapter, preset = earlier.start_from, earlier.base, earlier.adapter, earlier.preset
    kind = typed.get("adapter") or adapter.name
    if typed.get("preset") or kind != adapter.name:
        adapter, preset = Choice(name=kind), typed.get("preset")
    return _Start(earlier, start_from, typed.get("base") or base, adapter, _chosen_task(typed, task), preset)


def _chosen_task(typed: Mapping[str, Any], task: Choice | None) -> Choice | None:
    """The task that the options say, where there is one already that they refine."""
    named = typed.get("task")
    if typed.get("pairs") and named is None and not (task and "pairs" in plugins().task(task.name).config.model_fields):
        named = PAIRS
    return task if named is None or (task and task.name == named) else Choice(name=named)


def _task_of(card: AdapterCard) -> Choice | None:
    """What an adapter was trained for, with the options that it was trained with, but for those that data decide."""
    try:
        task = Choice.model_validate((card.recipe or {}).get("task"))
    except ValidationError:  # whoever wrote the card
        return Choice(name=card.task) if card.task else None
    return Choice(name=task.name, options={name: value for name, value in task.options.items() if name != "pairs"})


def _fingerprint(start: _Start, parameters: Mapping[str, Any]) -> str | None:
    """That of the earlier recipe's base, if it is this base: an adapter to start from brings its own."""
    earlier = start.earlier
    return earlier.base_fingerprint if earlier and not parameters["base"] and start.base == earlier.base else None


def _groups(typed: Mapping[str, Any]) -> list[Group]:
    start = _start(typed)
    groups = [data_group()]
    kind = adapter_type(start.adapter.name)
    defaults: Mapping[str, Any] = kind.defaults
    if start.task is not None:
        spec = plugins().task(start.task.name)
        defaults = default_settings(kind, spec)
        groups.append(task_group(start.task.name, spec))
    groups.append(adapter_group(kind, start.preset))
    return [settings_group(start.earlier.settings.model_dump() if start.earlier else defaults), *groups]


@rich_click.command(
    "train",
    cls=Command,
    groups=_groups,
    examples=[
        "train --adapter lora --task denoise --data photos/ --steps 2000",
        "train --task denoise --adapter.rank 4 --task.sigma 25",
        "train --pairs noisy/ clean/ --adapter bottleneck",
        "train --start-from denoise --data photos/ --learning-rate 0.001",
        "train --recipe runs/denoise-lora/recipe.json",
        "train --resume --out runs/denoise-lora",
    ],
)
@rich_click.option("--task", metavar="NAME", help="what to restore: a task, or a degradation to undo")
@rich_click.option("--adapter", metavar="TYPE", help=f"adapter type [default: {DEFAULT_ADAPTER}]")
@rich_click.option("--base", metavar="NAME|FILE", help=f"frozen base, of the zoo or a file [default: {DEFAULT_BASE}]")
@rich_click.option(
    "--start-from",
    metavar="NAME|DIR",
    help="trained adapter to train further, of the zoo or a folder [default: a new one]",
)
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

    start = _start(parameters)
    earlier = start.earlier
    task, task_spec = task_named(start.task.name if start.task else None)
    spec = adapter_type(start.adapter.name)
    groups = {role: group_named(role) for role in ("settings", "data", "task", "adapter")}
    task_options = {**(start.task.options if start.task else {}), **task_parameters(groups["task"], parameters)}
    adapter_options = {**start.adapter.options, **groups["adapter"].given(parameters)}
    preset = preset_options("adapter type", spec, start.preset)
    recipe = AdapterRecipe(
        data=resolved_data(groups["data"], parameters, earlier),
        settings=resolved_settings(groups["settings"], parameters, earlier, default_settings(spec, task_spec)),
        environment=earlier.environment if earlier else {},
        base=base_named(start.base),
        base_fingerprint=_fingerprint(start, parameters),
        adapter=groups["adapter"].choice(spec.name, adapter_options, preset),
        preset=start.preset,
        start_from=start.start_from,
        start_fingerprint=earlier.start_fingerprint if earlier and not parameters["start_from"] else None,
        task=groups["task"].choice(task, task_options),
    )
    run(train, recipe, parameters, name=f"{task}-{spec.name}")
