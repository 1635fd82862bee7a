"""Where weights are: zoo names and paths, and the zoo's adapter for a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from adair_core.errors import UnknownNameError, UsageError, WeightsError, expected, listing
from adair_core.plugins import parse_config, plugins
from adair_core.specs import WeightsSpec

_KIND = {"base": "a base", "adapter": "an adapter", "diagnoser": "a diagnoser"}
_WHAT = {"base": "a safetensors file", "adapter": "an adapter's folder", "diagnoser": "a safetensors file"}


@dataclass(frozen=True)
class FoundWeights:
    """Weights that exist.

    Attributes:
        path: of the file or folder.
        name: versioned zoo name, or the path as text.
        short_name: zoo name without its version, or the name of the file or folder.
    """

    path: Path
    name: str
    short_name: str


def find_weights(name_or_path: str | Path, *, kind: Literal["base", "adapter", "diagnoser"]) -> FoundWeights:
    """Find weights: an existing path, else a zoo name.

    A text without a path separator is looked up in the zoo first: a folder that happens to be called ``denoise``
    does not hide the zoo's; ``./denoise`` means the folder.

    Args:
        name_or_path: zoo name, with or without ``@version``, or a path.
        kind: what it must be.

    Raises:
        UnknownNameError: the zoo has no such name and there is no such path.
        UsageError: the zoo's weights of that name are of the other kind.
        WeightsError: there is no such path, or it is a folder where a file should be, or the reverse.
    """
    zoo = plugins().weights
    text = str(name_or_path)
    path = Path(name_or_path)
    names = {spec.name for spec in zoo.values()} | {spec.versioned_name for spec in zoo.values()}
    if isinstance(name_or_path, str) and text in names:
        spec = plugins().weights_named(text)
        if spec.kind != kind:
            raise UsageError(expected(f"weights {text!r}", expected=_KIND[kind], got=_KIND[spec.kind]))
        return FoundWeights(spec.path, spec.versioned_name, spec.name)
    if _exists(path):
        if path.is_dir() == (kind != "adapter"):
            got = "a folder" if path.is_dir() else "a file"
            raise WeightsError(expected(f"{path}: {kind}", expected=_WHAT[kind], got=got))
        return FoundWeights(path, text, path.resolve().name)
    # Something that looks like a path is not a misspelt name.
    if not isinstance(name_or_path, str) or "/" in text or "\\" in text or path.suffix == ".safetensors":
        raise WeightsError(f"{path}: there is no such file or folder; expected {_WHAT[kind]}")
    known = {spec.name for spec in zoo.values() if spec.kind == kind}
    raise UnknownNameError(kind, text, known, failed_plugins=len(plugins().failures))


def adapter_for(task: str, options: Mapping[str, Any] | None = None) -> WeightsSpec | None:
    """The zoo's adapter for a task: the newest whose options agree with the task's.

    Args:
        task: registered name.
        options: of the task; those that are not given have the task's defaults.

    Returns:
        ``None`` if the zoo has none for the task.

    Raises:
        UnknownNameError: no plugin offers the task.
        UsageError: an option is not valid, or the zoo has adapters for other options only.
    """
    config = parse_config(plugins().task(task).config, options or {}, what=f"task {task!r}").model_dump(mode="json")
    for_task = [spec for spec in plugins().weights.values() if spec.kind == "adapter" and spec.task == task]
    fitting = [spec for spec in for_task if all(config.get(name) == value for name, value in spec.options.items())]
    if fitting:
        # One that is for these options before one that is for all, and one called like the task before another's.
        return max(fitting, key=lambda spec: (len(spec.options), spec.name == task, spec.version))
    if not for_task:
        return None
    asked = {name: config.get(name) for spec in for_task for name in spec.options}
    known = listing(sorted({_options_text(spec.options) for spec in for_task}))
    raise UsageError(expected(f"the zoo's adapters for task {task!r}", expected=known, got=_options_text(asked)))


def _options_text(options: Mapping[str, Any]) -> str:
    """``scale 3``."""
    return " and ".join(f"{name} {value}" for name, value in sorted(options.items()))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    # A name that is too long, or a folder that may not be looked into.
    except OSError:
        return False
