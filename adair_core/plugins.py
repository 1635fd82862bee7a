"""The only way in for plugins, built-in or not: entry points of the group ``adair.plugins``.

Each entry point is loaded, registered and asked on its own. All that it offers is validated first and then
added, or nothing of it. What fails is a warning and a line in ``adair plugins``, never the end of the program,
unless strict mode (``ADAIR_STRICT_PLUGINS=1``) asks for that.
"""

from __future__ import annotations

import functools
import os
import traceback
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import Any, TypeVar

import click
import pluggy
from pydantic import BaseModel, ValidationError

from adair_core import hookspecs
from adair_core.degradation import Degradation
from adair_core.errors import AdairError, PluginError, UnknownNameError, UsageError
from adair_core.registry import Provenance, Registry
from adair_core.specs import (
    SITE_KINDS,
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
        """
        spec = self.degradations[choice.name]
        return spec.build(parse_config(spec.config, choice.options, what=f"degradation {choice.name!r}"))

    def _load(self, entry_point: metadata.EntryPoint, *, strict: bool) -> None:
        source = _provenance(entry_point)
        try:
            plugin = entry_point.load()
            source = _provenance(entry_point, plugin)
            batches = self._ask(plugin, source)
            for hook, batch in batches.items():
                self.registries[hook].check(batch, source)
        # A plugin is code that we do not know: whatever it raises must not take the program down, SystemExit included.
        except (Exception, SystemExit) as error:
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
        self._hooks.register(plugin, name)
        try:
            self._hooks.check_pending()
            if not self._hooks.get_hookcallers(plugin):
                raise PluginError(
                    f"{source.module} implements no hook; expected at least one function marked with "
                    f"adair_core.hookimpl and named one of {', '.join(self.registries)}"
                )
            others = [other for other in self._hooks.get_plugins() if other is not plugin]
            answers: dict[str, list[Any]] = {}
            for hook in self.registries:
                caller = self._hooks.subset_hook_caller(hook, remove_plugins=others)
                answers[hook] = [record for batch in caller() for record in batch]
                for record in answers[hook]:
                    _validate(hook, record)
        except BaseException:
            self._hooks.unregister(plugin)
            raise
        return answers


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


ConfigT = TypeVar("ConfigT", bound=BaseModel)


def parse_config(config: type[ConfigT], options: dict[str, Any], *, what: str) -> ConfigT:
    """Validate options.

    Args:
        config: their model.
        options: field name -> value; text is converted.
        what: whose options they are, for the message.

    Raises:
        UsageError: with every field that is wrong, what was expected and what came.
    """
    try:
        return config.model_validate(options)
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"]) or "options"
            if problem["type"] == "extra_forbidden":
                known = ", ".join(config.model_fields) or "none"
                problems.append(f"{where}: there is no such option; known: {known}")
            else:
                message = problem["msg"].removeprefix("Value error, ")
                problems.append(f"{where}: {message}, got {problem['input']!r}")
        raise UsageError(f"{what}: {'; '.join(problems)}") from error


def _provenance(entry_point: metadata.EntryPoint, plugin: object = None) -> Provenance:
    distribution = entry_point.dist
    file = getattr(plugin, "__file__", None) or ""
    return Provenance(
        package=distribution.name if distribution else "unknown",
        version=distribution.version if distribution else "unknown",
        entry_point=entry_point.name,
        module=entry_point.value,
        file=str(file),
    )


_RECORD_TYPES: dict[str, type[Any]] = {
    "adair_degradations": DegradationSpec,
    "adair_tasks": TaskSpec,
    "adair_adapters": AdapterSpec,
    "adair_backbones": BackboneSpec,
    "adair_metrics": MetricSpec,
    "adair_weights": WeightsSpec,
    "adair_commands": click.Command,
    "adair_callbacks": CallbackSpec,
}


def _validate(hook: str, record: object) -> None:
    wanted = _RECORD_TYPES[hook]
    if not isinstance(record, wanted):
        raise PluginError(f"{hook}: expected {wanted.__name__} records, got {type(record).__name__}")
    if isinstance(record, click.Command) and not record.name:
        raise PluginError(f"{hook}: a command needs a name")
    for role in ("build", "sites", "degradation", "protocol"):
        part = getattr(record, role, None)
        if hasattr(record, role) and not callable(part):
            raise PluginError(f"{hook}: {record.name}: {role}: expected a callable, got {part!r}")
    config = getattr(record, "config", BaseModel)
    if not (isinstance(config, type) and issubclass(config, BaseModel)):
        raise PluginError(f"{hook}: {record.name}: config: expected a pydantic model, got {config!r}")
    for name, options in getattr(record, "presets", {}).items():
        parse_config(config, dict(options), what=f"{record.name}: preset {name!r}")
    if isinstance(record, AdapterSpec) and not record.kinds <= set(SITE_KINDS):
        raise PluginError(f"{hook}: {record.name}: kinds: expected some of {', '.join(SITE_KINDS)}")
    if isinstance(record, BackboneSpec) and record.default_preset not in (None, *record.presets):
        raise PluginError(f"{hook}: {record.name}: default_preset: there is no preset {record.default_preset!r}")
    if isinstance(record, WeightsSpec) and not record.path.exists():
        raise PluginError(f"{hook}: {record.versioned_name}: there is no {record.path}")


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
        package = entry_point.dist.name if entry_point.dist else ""
        return package != "adair", package, entry_point.name

    return Plugins.from_entry_points(sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=order), strict=strict)
