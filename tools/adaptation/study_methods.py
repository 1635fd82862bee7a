"""The study's page: methods against each other."""

from __future__ import annotations

import math
from statistics import median

from adaptation.methods import BUDGETS
from adaptation.peers import NOTES, PUBLISHED
from adaptation.results import Outcome, Outcomes, difference, mean
from adaptation.study_plan import COST_ROUNDS, COST_STEPS, RATE_TASK, SIZES, Scale
from adaptation.study_tables import METHODS, gap, interval, quality, table
from adaptation.tasks import TASKS, StudiedTask


def comparison(outcomes: Outcomes) -> str:
    """The methods on every task."""
    parts = ["## Adapters and full fine-tuning, with equal data and equal steps"]
    for task in TASKS.values():
        found = outcomes.where(part="methods", task=task.name)
        frozen = outcomes.one(part="methods", task=task.name, method="frozen base")
        if frozen is None or len(found) < 2:
            continue
        parts += [_title(task, frozen), _methods(task.name, outcomes, frozen)]
        if task.name in NOTES:
            parts.append(NOTES[task.name])
    return "\n\n".join(parts) if len(parts) > 1 else ""


def _title(task: StudiedTask, frozen: Outcome) -> str:
    inputs = mean(frozen.images("psnr", side="input")).mean
    return f"### {task.title}: {task.tests[0].name}, degraded input {inputs:.2f} dB"


def _methods(task: str, outcomes: Outcomes, frozen: Outcome) -> str:
    """The table of a task: classical methods, the methods, what is published."""
    full = outcomes.one(part="methods", task=task, method="full", seed=0)
    conditions = frozen.conditions() if len(frozen.conditions()) > 1 else []
    head = ["method", "PSNR, dB", *conditions, "SSIM", "over the base alone", "minus full", "minus full, SSIM"]
    rows = []
    for classical in outcomes.where(part="baselines", task=task):
        rows.append([f"*{classical.labels['method']}*", *quality([classical], conditions)])
    for method, title in METHODS.items():
        own = outcomes.where(part="methods", task=task, method=method)
        if own:
            first = next((outcome for outcome in own if outcome.labels.get("seed", 0) == 0), own[0])
            trained = first.training
            size = ("0", "0") if trained is None else (f"{trained['parameters']:,}", f"{trained['bytes'] / 1000:,.0f}")
            gaps = [
                gap(first, frozen, "psnr", 2),
                gap(first, full, "psnr", 2),
                gap(first, full, "ssim", 4),
            ]
            rows.append(
                [title, *quality([first, *(each for each in own if each is not first)], conditions), *gaps, *size]
            )
    for title, values in PUBLISHED.get(task, {}).items():
        cells = [f"{sum(values) / len(values):.2f}", *(f"{value:.2f}" for value in values)]
        rows.append([f"*published: {title}*", *cells])
    head += ["parameters", "kB"]
    return table(head, [[*row, *[""] * (len(head) - len(row))] for row in rows])


def rates(outcomes: Outcomes) -> str:
    """How the learning rates were chosen."""
    found = outcomes.where(part="rates")
    values = sorted({outcome.labels["rate"] for outcome in found})
    rows = []
    for method, title in METHODS.items():
        validated = {
            outcome.labels["rate"]: outcome.training["validation"]
            for outcome in found
            if outcome.labels["method"] == method and outcome.training is not None
        }
        if validated:
            best = max(validated, key=lambda rate: validated[rate])
            marks = {rate: "**" if rate == best else "" for rate in values}
            rows.append([title, *(f"{marks[rate]}{validated.get(rate, math.nan):.2f}{marks[rate]}" for rate in values)])
    if not rows:
        return ""
    text = (
        f"{TASKS[RATE_TASK].title.capitalize()}, {Scale.rates:,} steps: PSNR in dB on held-out training images. Each "
        "method has its best rate here in all that it trains. One short run chooses, so some may be a little off."
    )
    return "\n\n".join(["## Learning rates", text, table(["method", *(f"{rate:g}" for rate in values)], rows)])


def costs(outcomes: Outcomes) -> str:
    """Time and memory of training, of runs of their own."""
    rows = []
    for method, title in METHODS.items():
        own = [found.training for found in outcomes.where(part="costs", method=method) if found.training]
        if own:
            milliseconds = [1000 * each["seconds"] / each["steps"] for each in own]
            peak = median(each["peak_bytes"] for each in own)
            low, middle, high = min(milliseconds), median(milliseconds), max(milliseconds)
            minutes = middle * Scale.steps / 60_000
            rows.append([title, f"{middle:.0f} ({low:.0f}-{high:.0f})", f"{minutes:.1f}", f"{peak / 1e6:,.0f}"])
    if not rows:
        return ""
    text = (
        "Denoising, 8 patches of 64 x 64 a step in bfloat16, on one core of a machine that did nothing else: median of "
        f"{COST_ROUNDS} runs of {COST_STEPS} steps, the methods in turn, with the least and the most. Peak memory is "
        "that of the whole process, of which PyTorch and the training images are most."
    )
    head = ["method", "ms a step", f"minutes for {Scale.steps:,} steps", "peak MB"]
    return "\n\n".join(["## What training takes", text, table(head, rows)])


def sizes(outcomes: Outcomes) -> str:
    """How far LoRA of each size stays behind full fine-tuning."""
    tasks = list(dict.fromkeys(outcome.labels["task"] for outcome in outcomes.where(part="sizes")))
    rows = []
    for size in SIZES:
        cells = [f"{size:.0%}"]
        for task in tasks:
            full = outcomes.one(part="methods", task=task, method="full", seed=0)
            part = {"part": "methods", "seed": 0} if size in BUDGETS else {"part": "sizes"}
            own = outcomes.one(task=task, method=f"lora-{size:.0%}", **part)
            gap = "" if own is None or full is None else interval(difference(own.images("psnr"), full.images("psnr")))
            cells.append(gap)
        rows.append(cells)
    if not tasks:
        return ""
    text = "LoRA minus full fine-tuning, PSNR in dB, against the adapter's size in parameters of the base."
    return "\n\n".join(["## How large an adapter has to be", text, table(["size", *tasks], rows)])
