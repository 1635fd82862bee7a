"""docs/study.md: the study's tables, each with what it shows and what it cannot be compared with."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from adair_core.atomic_file import write_atomically
from adair_core.evaluation.statistics import Statistic
from adaptation import published, study_figures
from adaptation.methods import BUDGETS
from adaptation.results import Outcome, Outcomes, difference, mean, over_seeds
from adaptation.study_plan import (
    BLENDED,
    BLURRED_NOISY,
    COST_ROUNDS,
    COST_STEPS,
    IMAGES,
    MIXTURES,
    SIZES,
    STRENGTHS,
    Scale,
)
from adaptation.tasks import TASKS

INTRODUCTION = """# The study

What an adapter reaches against full fine-tuning, and what pre-training has to do with it: made by `tools/study.py` on
CPU cores, with small networks and short trainings. Numbers of methods compare with each other, because data, steps and
seeds are equal; they are not what any of them reaches in the end. Intervals are 95 % bootstrap intervals over
images, differences paired image by image; they leave out the variance of training, for which denoising is repeated with
three seeds. Learning rates were chosen for each method on held-out training images.

"""
MARKER = "<!-- Everything below is written by tools/study.py report. -->\n"
METHODS = (
    *("frozen base", "lora-2%", "lora-8%", "bottleneck-2%", "bottleneck-8%", "prompt-2%", "prompt-8%"),
    *("full", "scratch"),
)

# PSNR in dB as published, cited in the tables' notes; none of them was measured here.
PUBLISHED = {
    "denoise": "Published for CBSD68 at sigma 15/25/50: CBM3D 33.52/30.71/27.38; DnCNN (0.67 M, one model a sigma) "
    "33.90/31.24/27.95; FFDNet (0.85 M, told the sigma) 33.87/31.21/27.96; DRUNet (32 M) 34.30/31.69/28.51; Restormer "
    "(26 M, one model a sigma) 34.35/31.75/28.56. Same images and kind of noise, other draws of it.",
    "derain": "Published for Rain100L (Restormer trained on it, in RGB: 36.74) is not comparable: those models "
    "learn from 200 other pairs and are tested on all 100, of which ours learns from 35 and is tested on the other 65.",
    "low-light": "Published for LOL eval15: the same 15 pictures, but models that learned from all 485 pairs, "
    "ours from 60.",
    "hybrid": "The conditions are our own; nothing published compares.",
}


def results_of(page: Path) -> Path:
    """The folder of the raw numbers of a page."""
    return page.with_suffix("")


def write(out: Path, page: Path) -> None:
    """Write the page, its figures and the raw numbers beside it, of these runs and of those that it had before.

    Args:
        out: folder of the runs.
        page: docs/study.md; what stands before the marker is kept, if it exists.
    """
    folder = results_of(page)
    for file in sorted(out.rglob("result.json")):
        published.write(folder, json.loads(file.read_text(encoding="utf-8")))
    outcomes = Outcomes(published.read_all(folder))
    figures = study_figures.draw(outcomes, folder)
    sections = [
        comparison(outcomes),
        costs(outcomes),
        sizes(outcomes),
        pretraining(outcomes),
        amounts(outcomes),
        union(outcomes),
        strengths(outcomes),
        blends(outcomes),
    ]
    pictures = [f"![{title}](study/{file.name})" for title, file in figures.items()]
    old = page.read_text(encoding="utf-8") if page.exists() else INTRODUCTION + MARKER
    before, marker, _ = old.partition(MARKER)
    if not marker:
        raise SystemExit(f"{page}: expected the line {MARKER.strip()!r}")
    text = "\n\n".join([*pictures, *filter(None, sections)])
    write_atomically(page, f"{before}{MARKER}\n{text}\n".encode())


def comparison(outcomes: Outcomes) -> str:
    """The methods on every task."""
    parts = ["## Adapters and full fine-tuning, with equal data and equal steps"]
    for task in TASKS.values():
        found = outcomes.where(part="methods", task=task.name)
        frozen = outcomes.one(part="methods", task=task.name, method="frozen base")
        if frozen is None or len(found) < 2:
            continue
        full = outcomes.one(part="methods", task=task.name, method="full", seed=0)
        rows = []
        for name, value in _baselines(outcomes, task.name):
            rows.append([name, *_quality(value), "", "", ""])
        for method in METHODS:
            own = [outcome for outcome in found if outcome.labels["method"] == method]
            if own:
                rows.append(_method_row(method, own, full))
        test = task.tests[0]
        inputs = mean(frozen.images("psnr", side="input")).mean
        title = f"### {task.title}: {test.name}, degraded input {inputs:.2f} dB"
        head = ["method", "PSNR, dB", "SSIM", "minus full", "parameters", "kB"]
        parts += [title, _table(head, rows)]
        if task.name in PUBLISHED:
            parts.append(PUBLISHED[task.name])
    return "\n\n".join(parts) if len(parts) > 1 else ""


def _baselines(outcomes: Outcomes, task: str) -> list[tuple[str, Outcome]]:
    return [(outcome.labels["method"], outcome) for outcome in outcomes.where(part="baselines", task=task)]


def _quality(outcome: Outcome) -> tuple[str, str]:
    return _interval(mean(outcome.images("psnr"))), f"{mean(outcome.images('ssim')).mean:.4f}"


def _method_row(method: str, own: list[Outcome], full: Outcome | None) -> list[str]:
    first = next((outcome for outcome in own if outcome.labels.get("seed", 0) == 0), own[0])
    psnr, ssim = _quality(first)
    if len(own) > 1:
        psnr += f"; {over_seeds(own, lambda outcome: mean(outcome.images('psnr')).mean)}"
    gap = (
        "" if full is None or first is full else _interval(difference(first.images("psnr"), full.images("psnr")), True)
    )
    training = first.training
    if training is None:
        return [method, psnr, ssim, gap, "0", "0"]
    return [method, psnr, ssim, gap, f"{training['parameters']:,}", f"{training['bytes'] / 1000:,.0f}"]


def costs(outcomes: Outcomes) -> str:
    """Time and memory of training, of runs of their own."""
    rows = []
    for method in METHODS:
        own = [found.training for found in outcomes.where(part="costs", method=method) if found.training]
        if own:
            milliseconds = [1000 * each["seconds"] / each["steps"] for each in own]
            peak = median(each["peak_bytes"] for each in own)
            low, middle, high = min(milliseconds), median(milliseconds), max(milliseconds)
            minutes = middle * Scale.steps / 60_000
            rows.append([method, f"{middle:.0f} ({low:.0f}-{high:.0f})", f"{minutes:.1f}", f"{peak / 1e6:,.0f}"])
    if not rows:
        return ""
    text = (
        "Denoising, 8 patches of 64 x 64 a step in bfloat16, on one core of a machine that did nothing else: median of "
        f"{COST_ROUNDS} runs of {COST_STEPS} steps, the methods in turn, with the least and the most. Peak memory is "
        "that of the whole process, of which PyTorch and the training images are most."
    )
    head = ["method", "ms a step", f"minutes for {Scale.steps:,} steps", "peak MB"]
    return "\n\n".join(["## What training takes", text, _table(head, rows)])


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
            gap = "" if own is None or full is None else _interval(difference(own.images("psnr"), full.images("psnr")))
            cells.append(gap)
        rows.append(cells)
    if not tasks:
        return ""
    text = "LoRA minus full fine-tuning, PSNR in dB, against the adapter's size in parameters of the base."
    return "\n\n".join(["## How large an adapter has to be", text, _table(["size", *tasks], rows)])


def blends(outcomes: Outcomes) -> str:
    """Two adapters at once."""
    found = outcomes.where(part="blends")
    if not found:
        return ""

    def name(outcome: Outcome) -> str:
        blend = outcome.labels.get("blend")
        if blend is None:
            return str(outcome.labels["method"])
        return " + ".join(f"{value:g} {task}" for task, value in zip(BLENDED, blend, strict=True) if value)

    ordered = sorted(found, key=lambda outcome: mean(outcome.images("psnr")).mean)
    rows = [[name(outcome), *_quality(outcome)] for outcome in ordered]
    inputs = mean(found[0].images("psnr", side="input")).mean
    text = (
        f"{BLURRED_NOISY.title}: {BLURRED_NOISY.tests[0].name}, degraded input {inputs:.2f} dB. The adapters are those "
        "of the comparison above (LoRA, 8 %), which know one of the two; *an adapter for both* learned just this."
    )
    return "\n\n".join(["## Two faults at once", text, _table(["adapters", "PSNR, dB", "SSIM"], rows)])


def pretraining(outcomes: Outcomes) -> str:
    """What the base was pre-trained on."""
    titles = ["none", *MIXTURES]
    tasks = list(dict.fromkeys(outcome.labels["task"] for outcome in outcomes.where(part="pretraining")))
    rows = []
    for title in titles:
        cells = [title]
        for task in tasks:
            own = outcomes.where(part="pretraining", pretraining=title, task=task)
            by_method = {outcome.labels["method"]: mean(outcome.images("psnr")).mean for outcome in own}
            adapter = next((value for name, value in by_method.items() if name != "frozen base"), math.nan)
            cells.append(f"{by_method.get('frozen base', math.nan):.2f} / {adapter:.2f}")
        rows.append(cells)
    if not tasks:
        return ""
    text = (
        "Each base is trained with the same number of steps on another mixture, then an adapter (LoRA, 8 %) learns "
        "each task on it. PSNR in dB: frozen base / base + adapter. Snow is in none of the mixtures."
    )
    return "\n\n".join(["## What pre-training makes that true", text, _table(["pre-trained on", *tasks], rows)])


def amounts(outcomes: Outcomes) -> str:
    """Few images."""
    rows = []
    for count in IMAGES:
        own = {outcome.labels["method"]: outcome for outcome in outcomes.where(part="amounts", images=count)}
        if own:
            rows.append(
                [str(count), *(_interval(mean(own[name].images("psnr"))) for name in sorted(own, reverse=True))]
            )
    names = sorted({outcome.labels["method"] for outcome in outcomes.where(part="amounts")}, reverse=True)
    if not rows:
        return ""
    return "\n\n".join(["## Few images", "Denoising, CBSD68, PSNR in dB.", _table(["images", *names], rows)])


def union(outcomes: Outcomes) -> str:
    """One network for all, or an adapter for each."""
    whole = outcomes.one(part="union", method="all in one")
    if whole is None:
        return ""
    rows = []
    for name in whole.document["measurements"]:
        single = next(
            (
                found
                for found in outcomes.where(part="union")
                if name in found.document["measurements"] and found is not whole
            ),
            None,
        )
        if single is not None:
            own, all_in_one = single.images("psnr", measurement=name), whole.images("psnr", measurement=name)
            rows.append(
                [name, _interval(mean(own)), _interval(mean(all_in_one)), _interval(difference(own, all_in_one), True)]
            )
    adapters = [found.training for found in outcomes.where(part="union") if found is not whole and found.training]
    stored = sum(training["bytes"] for training in adapters) / max(len(adapters), 1)
    base = (whole.training or {}).get("bytes", 0)
    storage = (
        f"For ten tasks: the base and ten adapters take {(base + 10 * stored) / 1e6:.1f} MB, ten fully fine-tuned "
        f"networks {10 * base / 1e6:.1f} MB, one all-in-one network {base / 1e6:.1f} MB."
    )
    text = "All parameters trained on the union of four tasks, with the steps of all four, against an adapter for each."
    table = _table(["task and images", "adapters", "all in one", "difference"], rows)
    return "\n\n".join(["## An adapter for each task, or one network for all", text, table, storage])


def strengths(outcomes: Outcomes) -> str:
    """PSNR against the adapter's strength."""
    found = {strength: outcomes.one(part="strengths", strength=strength) for strength in STRENGTHS}
    there = {strength: outcome for strength, outcome in found.items() if outcome is not None}
    if not there:
        return ""
    conditions = next(iter(there.values())).conditions()
    rows = [
        [f"{strength:g}", *(f"{mean(outcome.images('psnr', condition=label)).mean:.2f}" for label in conditions)]
        for strength, outcome in there.items()
    ]
    text = "The denoising adapter (LoRA, 8 %) scaled before it is added to the base. CBSD68, PSNR in dB."
    return "\n\n".join(["## Strength", text, _table(["strength", *conditions], rows)])


def _interval(statistic: Statistic, signed: bool = False) -> str:
    sign = "+" if signed else ""
    if not math.isfinite(statistic.low):
        return f"{statistic.mean:{sign}.2f}"
    return f"{statistic.mean:{sign}.2f} [{statistic.low:{sign}.2f}, {statistic.high:{sign}.2f}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
