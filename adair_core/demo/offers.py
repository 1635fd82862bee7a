"""What people can choose to have restored: the zoo's adapters, and those that the command line names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from adair_core.errors import UnknownNameError, UsageError
from adair_core.model.adapter_files import AdapterFile, read_adapter
from adair_core.model.backbone import BaseInfo
from adair_core.model.zoo import adapter_for, find_weights
from adair_core.plugins import plugins

AUTO = "auto"
"""The choice that is left to a diagnosis."""


@dataclass(frozen=True)
class Offer:
    """An adapter that can be chosen.

    Attributes:
        label: for people.
        adapter: zoo name with its version, or folder.
        task: that it was trained for, if it says so.
        scale: by which images are enlarged before.
        base: name of the base that it was trained on, if it says so.
        base_fingerprint: of that base.
    """

    label: str
    adapter: str
    task: str | None = None
    scale: int = 1
    base: str | None = None
    base_fingerprint: str | None = None

    def fits(self, info: BaseInfo) -> bool:
        """Whether it was trained on this base, as far as it says."""
        return self.base_fingerprint in (None, info.fingerprint)


def offer_of(name: str) -> Offer:
    """Describe a trained adapter.

    Args:
        name: of the zoo, or a folder.

    Raises:
        AdairError: there is none, or its files are damaged.
    """
    found = find_weights(name, kind="adapter")
    file = read_adapter(found.path)
    spec = next((spec for spec in plugins().weights.values() if spec.versioned_name == found.name), None)
    task = spec.task if spec is not None else file.card.task
    trained = {**file.card.task_options, **(spec.options if spec is not None else {})}
    told = {} if spec is None else spec.options
    return Offer(
        label=_label(task, told) if task else found.short_name,
        adapter=found.name,
        task=task,
        scale=_scale(task, trained, file),
        base=file.base,
        base_fingerprint=file.base_fingerprint,
    )


def zoo_offers() -> list[Offer]:
    """List the zoo's adapters, the newest for each task and its options, those of a task side by side."""
    names: dict[str, None] = {}
    for spec in plugins().weights.values():
        best = adapter_for(spec.task, spec.options) if spec.kind == "adapter" and spec.task is not None else None
        if best is not None:
            names[best.versioned_name] = None
    return sorted(map(offer_of, names), key=lambda offer: offer.label)


def told_apart(offers: Iterable[Offer]) -> list[Offer]:
    """Leave out what is there twice, and add the adapter's name to labels that several choices share."""
    unique = list({offer.adapter: offer for offer in offers}.values())
    labels = [offer.label for offer in unique]
    return [
        replace(offer, label=f"{offer.label} ({offer.adapter})") if labels.count(offer.label) > 1 else offer
        for offer in unique
    ]


def _label(task: str, options: Mapping[str, Any]) -> str:
    """``super-resolve, scale 3``; words, as in ``deblur, motion``, say by themselves what they are."""
    told = (value if isinstance(value, str) else f"{name} {value}" for name, value in sorted(options.items()))
    return ", ".join([task, *told])


def _scale(task: str | None, trained: Mapping[str, Any], file: AdapterFile) -> int:
    """The scale of the adapter's own training, or of its task."""
    try:
        field = None if task is None else plugins().task(task).config.model_fields.get("scale")
    except UnknownNameError:  # of a plugin that is not installed; the adapter itself does not need it
        field = None
    if field is None:
        return 1
    scale = trained.get("scale", field.default)
    if not isinstance(scale, int) or scale < 1:
        raise UsageError(f"{file.folder}: expected a scale from 1 in what it was trained for, got {scale!r}")
    return scale
