"""What the CUDA kernels are meant to reach, beside what a visit found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Results = Mapping[str, Mapping[str, Any]]

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Target:
    """Something to reach on an H100.

    Attributes:
        what: in words, with the figure.
        step: which measures it; ``None`` is none.
        value: from what the step found to a figure, or whether it holds; a `KeyError` where it is not there.
        reached: whether a figure does.
    """

    what: str
    step: str | None
    value: Callable[[Mapping[str, Any]], float | bool] = bool
    reached: Callable[[float | bool], bool] = bool


TARGETS = (
    Target(
        "bottleneck adapter alone, level 1, bfloat16: at least 80 % of the copy's rate",
        "operators",
        lambda found: float(found["rows"]["bottleneck 48x256x256, 1 heads, bfloat16"]["of the copy's rate"]["ours"]),
        lambda share: share >= 0.8,
    ),
    Target(
        "block of level 1, bfloat16, in a CUDA graph: at most 70 us",
        "block",
        lambda found: float(found["us"]["ours, in a graph"]),
        lambda time: time <= 70,
    ),
    Target("adapter as the epilogue of the feed-forward: no further traffic", None),
    Target("the same bits from run to run", "bits", lambda found: found["kernels"] > 0 and not found["failures"]),
    Target(
        "errors at most twice PyTorch's, against float64",
        "errors",
        lambda found: bool(found["rows"]) and not found["failures"],
    ),
)


def rows(results: Results) -> list[list[str]]:
    """Each target, what was found, and whether it is reached."""
    return [[target.what, *_verdict(target, results)] for target in TARGETS]


def _verdict(target: Target, results: Results) -> tuple[str, str]:
    result = results.get(target.step or "", {})
    found = result.get("found")
    # A rehearsal measures nothing.
    if found is None or result.get("key", {}).get("dry_run", True):
        return "", NOT_MEASURED
    try:
        value = target.value(found)
    except KeyError:
        return "", NOT_MEASURED
    shown = "" if isinstance(value, bool) else f"{value:.3g}"
    return shown, "reached" if target.reached(value) else "not reached"
