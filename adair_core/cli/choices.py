"""Names of plugins' things as the command line takes them, with their options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from adair_core.cli.options import Group
from adair_core.errors import UnknownNameError, UsageError, expected
from adair_core.plugins import plugins
from adair_core.specs import AdapterSpec, BackboneSpec, TaskSpec, WeightsSpec

DEFAULT_ADAPTER = "lora"
DEFAULT_BASE = "restormer-tiny"
DEFAULT_BACKBONE = "restormer"
PAIRS = "pairs"


def weights_spec(name: str) -> WeightsSpec | None:
    """Weights of the zoo by name, with or without version; ``None`` if there are none."""
    try:
        return plugins().weights_named(name)
    except UnknownNameError:
        return None


def adapter_type(name: str) -> AdapterSpec:
    """The adapter type that was named.

    Raises:
        UsageError: it is a trained adapter.
        UnknownNameError: no plugin offers it.
    """
    if name not in plugins().adapters:
        spec = weights_spec(name)
        if (spec is not None and spec.kind == "adapter") or (Path(name) / "adapter_config.json").exists():
            known = ", ".join(plugins().adapters)
            raise UsageError(
                expected("--adapter", expected=f"an adapter type ({known})", got=f"the trained adapter {name!r}")
                + "; --start-from trains it further, --resume with the --out of its run ends a run that was stopped"
            )
    return plugins().adapters[name]


def trained_adapter(name: str, *, option: str = "--adapter") -> str:
    """The trained adapter that was named, as `RestorationModel.load_adapter` takes it.

    Args:
        name: zoo name or folder.
        option: that it was named by.

    Raises:
        UsageError: it is an adapter type, or a base.
        UnknownNameError: the zoo has none of that name.
        WeightsError: there is no such folder.
    """
    from adair_core.model.zoo import find_weights

    if name in plugins().adapters and weights_spec(name) is None and not Path(name).exists():
        wanted = "a trained adapter: a name that 'adair adapters' lists, or its folder"
        raise UsageError(expected(option, expected=wanted, got=f"the adapter type {name!r}"))
    return find_weights(name, kind="adapter").name


def base_named(name: str) -> str:
    """The base that was named: ``name@version`` for the zoo's, else the file.

    Raises:
        UsageError: it is an adapter.
        UnknownNameError: the zoo has none of that name.
        WeightsError: there is no such file.
    """
    from adair_core.model.zoo import find_weights

    if (Path(name) / "adapter_config.json").exists():
        wanted = "a base: a name that 'adair weights' lists, or a file"
        raise UsageError(expected("--base", expected=wanted, got=f"the adapter {name!r}", hint="give it as --adapter"))
    return find_weights(name, kind="base").name


def task_named(name: str | None, *, pairs: object = None) -> tuple[str, TaskSpec]:
    """The task that was named; ``pairs`` when only folders of pairs were given.

    Raises:
        UsageError: there is neither a name nor pairs.
        UnknownNameError: no plugin offers it.
    """
    if name is None:
        if not pairs:
            known = ", ".join(sorted({*plugins().tasks, *plugins().degradations}))
            raise UsageError(expected("--task", expected=f"one of {known}", got="none", hint="try --task denoise"))
        name = PAIRS
    return name, plugins().task(name)


def preset_options(kind: str, spec: AdapterSpec | BackboneSpec, preset: str | None) -> Mapping[str, Any]:
    """The options of a preset.

    Raises:
        UnknownNameError: there is no such preset.
    """
    if preset is None:
        return {}
    if preset not in spec.presets:
        raise UnknownNameError(f"preset of {kind} {spec.name}", preset, spec.presets)
    return spec.presets[preset]


def adapter_group(spec: AdapterSpec, preset: str | None) -> Group:
    """The options of an adapter type."""
    title = f"Adapter type {spec.name}"
    return Group("adapter", spec.config, title, defaults=preset_options("adapter type", spec, preset))


def backbone_group(spec: BackboneSpec, preset: str | None) -> Group:
    """The options of a backbone."""
    defaults = preset_options("backbone", spec, preset or spec.default_preset)
    return Group("backbone", spec.config, f"Backbone {spec.name}", defaults=defaults)


def task_group(name: str, spec: TaskSpec) -> Group:
    """The options of a task."""
    return Group("task", spec.config, f"Task {name}")


def adapter_choosing_group(name: str, spec: TaskSpec) -> Group:
    """The options of a task by which the zoo's adapters for it differ; one that was trained already has no others."""
    zoo = plugins().weights.values()
    choosing = {option for weights in zoo if weights.task == name for option in weights.options}
    group = task_group(name, spec)
    return replace(group, without=frozenset(spec.config.model_fields) - choosing)


def task_parameters(group: Group, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The task's options that were given, ``--scale`` among them; ``--pairs`` switches on a task's own `pairs`.

    Raises:
        UsageError: ``--scale`` for a task that has none.
    """
    given = group.given(parameters)
    if parameters.get("pairs") and "pairs" in group.model.model_fields:
        given["pairs"] = True
    scale = parameters.get("scale")
    if scale is not None:
        if "scale" not in group.model.model_fields:
            raise UsageError(
                f"--scale: {group.title[0].lower()}{group.title[1:]} has no scale; it is for --task super-resolve"
            )
        given["scale"] = scale
    return given
