"""Protocols are data: one JSON file each, in the folder ``protocols/``."""

from __future__ import annotations

from importlib import resources

from adair_core import Choice, Condition, Protocol


def load_protocol(name: str) -> Protocol:
    """Read a built-in protocol.

    Args:
        name: the file's name without ``.json``.
    """
    file = resources.files("adair_plugins.tasks") / "protocols" / f"{name}.json"
    return Protocol.model_validate_json(file.read_text(encoding="utf-8"))


def with_ground_truth_mean(protocol: Protocol, wanted: bool) -> Protocol:
    """Switch the scaling to the target's mean brightness on; the note then says what the numbers are.

    Args:
        protocol: without it.
        wanted: whether to switch it on.
    """
    if not wanted:
        return protocol
    note = (
        f"Results are scaled to the target's mean brightness, which adds several dB: comparable only with numbers that "
        f"are measured so. What follows is said of the protocol without that: {protocol.note}"
    )
    return protocol.model_copy(update={"ground_truth_mean": True, "note": note})


def within(protocol: Protocol, option: str, bounds: tuple[float, float]) -> Protocol:
    """Keep the conditions that lie in the range a task is trained for.

    If the range excludes them all, its own ends take their place, and the note says that the numbers are not the
    published protocol's.

    Args:
        protocol: each of its conditions is one degradation with one fixed `option`.
        option: field of the degradation's configuration, such as ``sigma``.
        bounds: the range, both ends included.
    """
    low, high = bounds
    trained = f"{option} {low:g}" if low == high else f"{option} {low:g} to {high:g}"
    first = protocol.conditions[0].degradation
    assert first is not None
    kept = tuple(
        condition
        for condition in protocol.conditions
        if condition.degradation is not None and low <= condition.degradation.options[option] <= high
    )
    if kept == protocol.conditions:
        return protocol
    if kept:
        note = f"Only the conditions with {trained}. {protocol.note}"
        return protocol.model_copy(update={"conditions": kept, "note": note})
    ends = tuple(
        Condition(
            label=f"{option} {end:g}",
            degradation=Choice(name=first.name, options={**first.options, option: end}),
        )
        for end in dict.fromkeys(bounds)
    )
    note = f"Not the published conditions, which {trained} excludes. Otherwise: {protocol.note}"
    return protocol.model_copy(update={"conditions": ends, "note": note})
