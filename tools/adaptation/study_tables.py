"""What the tables of the study's page are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from adair_core.evaluation.statistics import Statistic
from adaptation.methods import BUDGETS, SIZE_OPTION
from adaptation.results import Outcome, difference, mean

TITLES = {
    "lora": "LoRA",
    "bottleneck": "bottleneck",
    "prompt": "prompt",
    "full": "full fine-tuning",
    "scratch": "from scratch",
}
"""Names of kinds of methods."""
METHODS = {
    "frozen base": "base alone",
    **{
        f"{adapter}-{budget:.0%}": f"{TITLES[adapter]}, {100 * budget:.0f} %"
        for adapter in SIZE_OPTION
        for budget in BUDGETS
    },
    "full": TITLES["full"],
    "scratch": TITLES["scratch"],
}
"""Names of methods in tables; a budget is in parameters of the base."""


def quality(outcome: Outcome, conditions: Sequence[str] = ()) -> list[str]:
    """PSNR, PSNR under each condition, SSIM."""
    each = [f"{mean(outcome.images('psnr', condition=condition)).mean:.2f}" for condition in conditions]
    return [interval(mean(outcome.images("psnr"))), *each, f"{mean(outcome.images('ssim')).mean:.4f}"]


def gap(own: Outcome, other: Outcome | None, metric: str, decimals: int) -> str:
    """A metric of one minus that of another, with its interval; empty where there is no other."""
    if other is None or own is other:
        return ""
    return interval(difference(own.images(metric), other.images(metric)), signed=True, decimals=decimals)


def interval(statistic: Statistic, *, signed: bool = False, decimals: int = 2) -> str:
    """A mean with its 95 % interval."""
    form = f"{'+' if signed else ''}.{decimals}f"
    if not math.isfinite(statistic.low):
        return f"{statistic.mean:{form}}"
    return f"{statistic.mean:{form}} [{statistic.low:{form}}, {statistic.high:{form}}]"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
