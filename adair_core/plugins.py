"""The only way in for plugins, built-in or not: entry points of the group ``adair.plugins``.

Each entry point is loaded, registered and asked on its own. All that it offers is validated first and then
added, or nothing of it. What fails is a warning and a line in ``adair plugins``, never the end of the program,
unless strict mode (``ADAIR_STRICT_PLUGINS=1``) asks for that.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pkgutil
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import pluggy
from pydantic import BaseModel

from adair_core import hookspecs
from adair_core.degradation import Degradation
from adair_core.errors import AdairError, DuplicateNameError, PluginError, UnknownNameError
from adair_core.registry import Provenance, Registry
from adair_core.specs import (
    AdapterSpec,
    BackboneSpec,
    CallbackSpec,
    Choice,
    Condition,
    DegradationSpec,
    MetricSpec,
    Protocol,
    TaskSpec,
    WeightsSpec,
)
from adair_core.validation import completed, parse_config, validate_record

__all__ = [
    "ENTRY_POINT_GROUP",
    "STRICT_VARIABLE",
    "PluginFailure",
    "PluginWarning",
    "Plugins",
    "completed",
    "load",
    "parse_config",
    "plugins",
    "task_of",
]

ENTRY_POINT_GROUP = "adair.plugins"
STRICT_VARIABLE = "ADAIR_STRICT_PLUGINS"


class PluginWarning(UserWarning):
    """A plugin failed; the rest of the program goes on without it."""


@dataclass(frozen=True)
class PluginFailure:
    """A plugin that could not be used.

    Attributes:
        source: who.
        reason: one line.
        details: the traceback.
    """

    source: Provenance
    reason: str
    details: str


class Plugins:
    """Everything that the loaded plugins offer.

    Build it with `load` or `Plugins.from_entry_points`; the program's own is `plugins`.

    Attributes:
        degradations, tasks, adapters, backbones, metrics, weights, commands, callbacks: the registries.
        failures: the plugins that could not be used.
    """

    def __init__(self) -> None:
        self.degradations: Registry[DegradationSpec] = Registry("degradation")
        self.tasks: Registry[TaskSpec] = Registry("task")
        self.adapters: Registry[AdapterSpec] = Registry("adapter type")
        self.backbones: Registry[BackboneSpec] = Registry("backbone")
        self.metrics: Registry[MetricSpec] = Registry("metric")
        self.weights: Registry[WeightsSpec] = Registry("weights", key=lambda spec: spec.versioned_name)
        self.commands: Registry[click.Command] = Registry("command")
        self.commands.reserve(_built_in_commands(), "adair itself")
        self.callbacks: Registry[CallbackSpec] = Registry("callback")
        self.failures: list[PluginFailure] = []
        self._hooks = pluggy.PluginManager(hookspecs.PROJECT)
        self._hooks.add_hookspecs(hookspecs)

    @classmethod
    def from_entry_points(cls, entry_points: Iterable[metadata.EntryPoint], *, strict: bool = False) -> Plugins:
        """Load plugins, each on its own.

        Args:
            entry_points: where they are.
            strict: raise at the first failure instead of recording it.

        Raises:
            PluginError: only if `strict`.
        """
        plugins = cls()
        for entry_point in entry_points:
            plugins._load(entry_point, strict=strict)
        return plugins

    @property
    def registries(self) -> dict[str, Registry[Any]]:
        """Hook name -> the registry that it fills."""
        return {
            "adair_degradations": self.degradations,
            "adair_tasks": self.tasks,
            "adair_adapters": self.adapters,
            "adair_backbones": self.backbones,
            "adair_metrics": self.metrics,
            "adair_weights": self.weights,
            "adair_commands": self.commands,
            "adair_callbacks": self.callbacks,
        }

    def task(self, name: str) -> TaskSpec:
        """A task, or the task that every degradation is.

        Raises:
            UnknownNameError: neither a task nor a degradation has the name.
        """
        if name in self.tasks:
            return self.tasks[name]
        if name in self.degradations:
            return task_of(self.degradations[name])
        known = {*self.tasks, *self.degradations}
        raise UnknownNameError("task", name, known, failed_plugins=len(self.failures))

    def weights_named(self, name: str) -> WeightsSpec:
        """Weights by ``name@version``, or the newest version of a bare name.

        Raises:
            UnknownNameError: there are none.
        """
        versions = [spec for spec in self.weights.values() if spec.name == name]
        return max(versions, key=lambda spec: spec.version) if versions else self.weights[name]

    def degradation(self, choice: Choice) -> Degradation:
        """Build a degradation.

        Raises:
            UnknownNameError: no plugin offers it.
            UsageError: its options are not valid.
            PluginError: its plugin builds something else.
        """
        from adair_core.degradation import Degradation  # which needs torch

        spec, what = self.degradations[choice.name], f"degradation {choice.name!r}"
        made: object = spec.build(parse_config(spec.config, choice.options, what=what))
        if not isinstance(made, Degradation):
            raise PluginError(f"{what}: build: expected a Degradation, got {made!r}")
        return made

    def _load(self, entry_point: metadata.EntryPoint, *, strict: bool) -> None:
        source = _provenance(entry_point)
        try:
            # What a plugin prints is a message, not a part of the program's output, which may be JSON.
            with contextlib.redirect_stdout(sys.stderr):
                plugin = entry_point.load()
                source = _provenance(entry_point, plugin)
                batches = self._ask(plugin, source)
            self._check(batches, source)
        except KeyboardInterrupt:
            raise
        # A plugin is code that we do not know: whatever it raises must not take the program down, SystemExit included.
        except BaseException as error:
            reason = str(error) if isinstance(error, AdairError) else f"{type(error).__name__}: {error}"
            reason = " ".join(reason.split())
            if strict:
                raise PluginError(f"plugin {source}: {reason}") from error
            self.failures.append(PluginFailure(source, reason, traceback.format_exc()))
            for registry in self.registries.values():
                registry.failed_plugins = len(self.failures)
            warnings.warn(f"plugin {source} is left out: {reason}", PluginWarning, stacklevel=4)
            return
        for hook, batch in batches.items():
            self.registries[hook].add(batch, source)

    def _ask(self, plugin: object, source: Provenance) -> dict[str, list[Any]]:
        # The same entry-point name in two packages is not a conflict: pluggy would drop the second one silently.
        name = f"{source.package}:{source.entry_point}"
        if self._hooks.is_registered(plugin):
            raise PluginError(f"{source.module} is already loaded, as {self._hooks.get_name(plugin)}")
        try:
            self._hooks.register(plugin, name)
            self._hooks.check_pending()
            implemented = {caller.name for caller in self._hooks.get_hookcallers(plugin) or ()}
            if not implemented:
                raise PluginError(
                    f"{source.module} implements no hook; expected at least one function marked with "
                    f"adair_core.hookimpl and named one of {', '.join(self.registries)}"
                )
            others = [other for other in self._hooks.get_plugins() if other is not plugin]
            answers: dict[str, list[Any]] = {}
            for hook in self.registries:
                if hook not in implemented:
                    continue
                answers[hook] = _answer(hook, self._hooks.subset_hook_caller(hook, remove_plugins=others))
                for record in answers[hook]:
                    validate_record(hook, record)
        except BaseException:
            # What stays of a half-registered plugin would make check_pending fail for every plugin after it.
            if self._hooks.is_registered(plugin):
                self._hooks.unregister(plugin)
            raise
        return answers

    def _check(self, batches: Mapping[str, list[Any]], source: Provenance) -> None:
        for hook, batch in batches.items():
            self.registries[hook].check(batch, source)
        # A degradation is a task too: the same name from two packages would make one of them unreachable.
        for hook, registry in (("adair_degradations", self.tasks), ("adair_tasks", self.degradations)):
            for record in batches.get(hook, ()):
                if record.name in registry and registry.provenance(record.name).package != source.package:
                    first = str(registry.provenance(record.name))
                    raise DuplicateNameError("task", record.name, first=first, second=str(source))
        # A bare name is its newest version: a version from another package would silently take the name over.
        owners = {spec.name: self.weights.provenance(spec.versioned_name) for spec in self.weights.values()}
        for record in batches.get("adair_weights", ()):
            owner = owners.get(record.name, source)
            if owner.package != source.package:
                raise DuplicateNameError("weights", record.name, first=str(owner), second=str(source))


def _answer(hook: str, ask: Callable[[], list[Any]]) -> list[Any]:
    """Call one plugin's hook and collect its records; what it raises is told with the hook's name."""
    try:
        batches = ask()
        if not batches:  # pluggy drops None
            raise PluginError(f"{hook} returned None; expected an iterable of records; is a return missing?")
        return [record for batch in batches for record in batch]
    except (AdairError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise PluginError(f"{hook} raised {type(error).__name__}: {error}") from error


def task_of(degradation: DegradationSpec) -> TaskSpec:
    """The task of undoing a degradation."""

    def options(config: BaseModel) -> Choice:
        return Choice(name=degradation.name, options=config.model_dump(mode="json", exclude_unset=True))

    def protocol(config: BaseModel) -> Protocol:
        condition = Condition(label=degradation.name, degradation=options(config))
        return Protocol(name=degradation.name, conditions=(condition,), note="the degradation's own parameters")

    return TaskSpec(
        name=degradation.name,
        summary=f"undo: {degradation.summary}",
        config=degradation.config,
        degradation=options,
        protocol=protocol,
    )


def _provenance(entry_point: metadata.EntryPoint, plugin: object = None) -> Provenance:
    package, version = _distribution(entry_point.dist)
    file = getattr(plugin, "__file__", None)
    if plugin is not None and file is None:  # an object inside a module
        file = getattr(sys.modules.get(entry_point.value.partition(":")[0]), "__file__", None)
    return Provenance(package, version, entry_point.name, entry_point.value, str(file or ""))


def _distribution(distribution: metadata.Distribution | None) -> tuple[str, str]:
    try:
        return (str(distribution.name), str(distribution.version)) if distribution else ("unknown", "unknown")
    except Exception:  # broken metadata raise differently in every Python version
        return "unknown", "unknown"


@functools.cache
def plugins() -> Plugins:
    """The program's plugins, loaded at the first call from all installed packages."""
    strict = os.environ.get(STRICT_VARIABLE, "") not in ("", "0")
    return load(strict=strict)


def load(*, strict: bool = False) -> Plugins:
    """Load the plugins of all installed packages, the built-ins first, then by package and name.

    Raises:
        PluginError: only if `strict`.
    """

    def order(entry_point: metadata.EntryPoint) -> tuple[bool, str, str]:
        package, _ = _distribution(entry_point.dist)
        return package != "adair", package, entry_point.name

    return Plugins.from_entry_points(sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=order), strict=strict)


def _built_in_commands() -> list[str]:
    # A file in cli/commands is a command; its name is taken before any plugin is asked, without importing it.
    folder = Path(__file__).parent / "cli" / "commands"
    return [module.name.replace("_", "-") for module in pkgutil.iter_modules([str(folder)])]
