"""What a plugin's records and a user's options must satisfy before anything uses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args

import click
from pydantic import BaseModel, ValidationError

from adair_core.errors import PluginError, UsageError
from adair_core.specs import (
    SITE_KINDS,
    AdapterSpec,
    BackboneSpec,
    CallbackSpec,
    Choice,
    DegradationSpec,
    MetricSpec,
    TaskSpec,
    WeightsKind,
    WeightsSpec,
)

RECORD_TYPES: Mapping[str, type[Any]] = {
    "adair_degradations": DegradationSpec,
    "adair_tasks": TaskSpec,
    "adair_adapters": AdapterSpec,
    "adair_backbones": BackboneSpec,
    "adair_metrics": MetricSpec,
    "adair_weights": WeightsSpec,
    "adair_commands": click.Command,
    "adair_callbacks": CallbackSpec,
}
"""Hook name -> the type of the records that it returns."""

ConfigT = TypeVar("ConfigT", bound=BaseModel)


def parse_config(
    config: type[ConfigT], options: Mapping[str, Any], *, what: str, label: Callable[[str], str] = str
) -> ConfigT:
    """Validate options.

    Args:
        config: their model.
        options: field name -> value; text is converted.
        what: whose options they are, for the message.
        label: field name -> how the user wrote it, such as ``--adapter.rank``.

    Raises:
        UsageError: with every field that is wrong, what was expected and what came.
    """
    try:
        return config.model_validate(dict(options))
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            field, *inner = (str(part) for part in problem["loc"] or ("options",))
            where = ".".join([label(field), *inner])
            if problem["type"] == "extra_forbidden":
                known = ", ".join(label(name) for name in config.model_fields) or "none"
                problems.append(f"{where}: there is no such option; known: {known}")
            elif problem["type"] == "missing":
                problems.append(f"{where}: required")
            else:
                message = problem["msg"].removeprefix("Value error, ")
                got = "" if ", got " in message else f", got {problem['input']!r}"
                problems.append(f"{where}: {message}{got}")
        raise UsageError(f"{what}: {'; '.join(problems)}") from error


def completed(choice: Choice, config: type[BaseModel], *, what: str) -> Choice:
    """Fill in what a choice leaves out, as one that was written before its thing had an option does.

    Args:
        choice: name and some of the options.
        config: their model.
        what: whose options they are, for the message.

    Returns:
        The choice with every option, as JSON holds them.

    Raises:
        UsageError: an option is wrong.
    """
    values = parse_config(config, choice.options, what=f"{what} {choice.name!r}")
    return Choice(name=choice.name, options=values.model_dump(mode="json"))


def validate_record(hook: str, record: Any) -> None:
    """Refuse a record that something would trip over later.

    Args:
        hook: the hook that returned it.
        record: what came.

    Raises:
        PluginError: it is of the wrong type, or a part of it is not what its type says.
        UsageError: a preset does not fit the configuration.
    """
    wanted = RECORD_TYPES[hook]
    if isinstance(record, type) or not isinstance(record, wanted):
        got = f"the class {record.__name__}" if isinstance(record, type) else type(record).__name__
        raise PluginError(f"{hook}: expected {wanted.__name__} records, got {got}")
    if isinstance(record, click.Command):
        if not record.name:
            raise PluginError(f"{hook}: a command needs a name")
        return
    for role in ("build", "sites", "degradation", "protocol"):
        part = getattr(record, role, None)
        if hasattr(record, role) and not callable(part):
            raise PluginError(f"{hook}: {record.name}: {role}: expected a callable, got {part!r}")
    config = getattr(record, "config", BaseModel)
    if not (isinstance(config, type) and issubclass(config, BaseModel)):
        raise PluginError(f"{hook}: {record.name}: config: expected a pydantic model, got {config!r}")
    aliased = next((name for name, info in config.model_fields.items() if info.alias or info.validation_alias), None)
    if aliased is not None:
        raise PluginError(f"{hook}: {record.name}: config: {aliased}: expected a field without an alias")
    presets = getattr(record, "presets", {})
    if not (isinstance(presets, Mapping) and all(isinstance(options, Mapping) for options in presets.values())):
        raise PluginError(f"{hook}: {record.name}: presets: expected a mapping name -> options, got {presets!r}")
    for name, options in presets.items():
        parse_config(config, options, what=f"{hook}: {record.name}: preset {name!r}")
    if isinstance(record, AdapterSpec):
        _validate_kinds(hook, record)
    if isinstance(record, BackboneSpec) and record.default_preset not in (None, *record.presets):
        raise PluginError(f"{hook}: {record.name}: default_preset: there is no preset {record.default_preset!r}")
    if isinstance(record, WeightsSpec):
        _validate_weights(hook, record)


def _validate_weights(hook: str, record: WeightsSpec) -> None:
    what = f"{hook}: {record.versioned_name}"
    if not record.path.exists():
        raise PluginError(f"{what}: there is no {record.path}")
    kinds = get_args(WeightsKind)
    if record.kind not in kinds:
        raise PluginError(f"{what}: kind: expected one of {', '.join(kinds)}, got {record.kind!r}")
    version: object = record.version
    if not isinstance(version, int) or version < 1:
        raise PluginError(f"{what}: version: expected a whole number from 1, got {version!r}")
    options: object = record.options
    if not isinstance(options, Mapping):
        raise PluginError(f"{what}: options: expected a mapping option of the task -> value, got {options!r}")
    if options and record.task is None:
        raise PluginError(f"{what}: options: expected a task whose options they are, got none")


def _validate_kinds(hook: str, record: AdapterSpec) -> None:
    kinds: object = record.kinds
    if not isinstance(kinds, (set, frozenset)) or not kinds or not kinds <= set(SITE_KINDS):
        wanted = f"a frozenset of some of {', '.join(SITE_KINDS)}"
        raise PluginError(f"{hook}: {record.name}: kinds: expected {wanted}, got {kinds!r}")
