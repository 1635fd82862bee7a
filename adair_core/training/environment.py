"""What a run's bits depend on besides its recipe, and how two recipes differ."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

import adair_core
from adair_core.cpu import cpu_name
from adair_core.ops.native import cuda_library, library
from adair_core.training.processes import Processes

# What may differ when a run goes on: none of it changes a bit.
_FREE = {"environment", "settings.workers", "settings.checkpoint_every", "settings.callbacks"}

EARLIER = "earlier"


class EnvironmentWarning(UserWarning):
    """A run goes on, or is repeated, in another environment or with other images: its bits may differ."""


def environment(processes: Processes) -> dict[str, Any]:
    """Describe the machine and the software."""
    device = processes.device
    on_cuda = device.type == "cuda"
    native = ("cuda" if cuda_library().loaded else None) if on_cuda else library().capability
    return {
        "adair": adair_core.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "kernels": native or "references",
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if on_cuda else device.type,
        **({"tf32": torch.backends.cudnn.allow_tf32} if on_cuda else {}),
        "processes": processes.count,
    }


def sittings_before(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What an environment says of the earlier sittings of a run, as far as theirs was another.

    Args:
        recorded: by the sitting before this one; empty if there was none.
        now: of this one.

    Returns:
        The field `EARLIER`, a list with the fields of each that the next one changed; nothing if all were alike.
    """
    changed = {name: value for name, value in recorded.items() if name != EARLIER and value != now.get(name)}
    earlier = [*recorded.get(EARLIER, []), *([changed] if changed else [])]
    return {EARLIER: earlier} if earlier else {}


def differences(before: Mapping[str, Any], now: Mapping[str, Any], *, without: Sequence[str] = ()) -> list[str]:
    """List the fields in which two nested mappings differ, as ``name: X before, Y now``; but those of these names."""
    old, new = dict(_flat(before)), dict(_flat(now))
    return [
        f"{name}: {_shown(old, name)} before, {_shown(new, name)} now"
        for name in sorted({*old, *new}.difference(without))
        if old.get(name) != new.get(name)
    ]


def recipe_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the fields of two recipes that differ and matter: those that a resumed run must share."""
    prefixes = tuple(f"{name}{end}" for name in _FREE for end in ":.")
    return [line for line in differences(before, now) if not line.startswith(prefixes)]


def _shown(values: Mapping[str, Any], name: str) -> str:
    return repr(values[name]) if name in values else "none"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
