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
from adaptation.peers import NOTES, PUBLISHED
from adaptation.results import Outcome, Outcomes, difference, mean, over_seeds
from adaptation.study_plan import (
    BLENDED,
    BLURRED_NOISY,
    COST_ROUNDS,
    COST_STEPS,
    IMAGES,
    MIXTURES,
    RATE_TASK,
    SIZES,
    STRENGTHS,
    Scale,
)
from adaptation.tasks import TASKS, StudiedTask

INTRODUCTION = """# The study

What an adapter reaches against full fine-tuning, and what pre-training has to do with it: made by `tools/study.py` on
CPU cores, with small networks and short trainings. Numbers of methods compare with each other, because data, steps and
seeds are equal; they are not what any of them reaches in the end. Intervals are 95 % bootstrap intervals over
images, differences paired image by image; they leave out the variance of training, for which denoising is repeated with
three seeds. Learning rates were chosen for each method on held-out training images.

"""
MARKER = "<!-- Everything below is written by tools/study.py report. -->\n"
METHODS = {
    "frozen base": "base alone",
    "lora-2%": "LoRA, 2 %",
    "lora-8%": "LoRA, 8 %",
    "bottleneck-2%": "bottleneck, 2 %",
    "bottleneck-8%": "bottleneck, 8 %",
    "prompt-2%": "prompt, 2 %",
    "prompt-8%": "prompt, 8 %",
    "full": "full fine-tuning",
    "scratch": "from scratch",
}
"""Names of methods in tables; a budget is in parameters of the base."""

PARTS = {
    "methods": "methods on each task",
    "costs": "what training takes",
    "sizes": "sizes of adapters",
    "pretraining": "kinds of pre-training",
    "amounts": "few images",
    "union": "one network for all tasks",
    "strengths": "strength",
    "blends": "two faults at once",
    "baselines": "classical methods",
}
"""What the page has, by the label of its results."""


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
        missing(outcomes),
        comparison(outcomes),
        rates(outcomes),
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


def missing(outcomes: Outcomes) -> str:
    """What the plan has and the page does not yet have."""
    parts = [title for part, title in PARTS.items() if not outcomes.where(part=part)]
    measured = {outcome.labels["task"] for outcome in outcomes.where(part="methods", method="full")}
    tasks = [task.title for task in TASKS.values() if task.name not in measured]
    lines = [
        f"{what} not measured yet: {', '.join(names)}."
        for what, names in (("Parts", parts), ("Tasks", tasks if "methods on each task" not in parts else []))
        if names
    ]
    return "\n".join(lines)


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
        rows.append([f"*{classical.labels['method']}*", *_quality([classical], conditions)])
    for method, title in METHODS.items():
        own = outcomes.where(part="methods", task=task, method=method)
        if own:
            first = next((outcome for outcome in own if outcome.labels.get("seed", 0) == 0), own[0])
            trained = first.training
            size = ("0", "0") if trained is None else (f"{trained['parameters']:,}", f"{trained['bytes'] / 1000:,.0f}")
            gaps = [
                _gap(first, frozen, "psnr", 2),
                _gap(first, full, "psnr", 2),
                _gap(first, full, "ssim", 4),
            ]
            rows.append(
                [title, *_quality([first, *(each for each in own if each is not first)], conditions), *gaps, *size]
            )
    for title, values in PUBLISHED.get(task, {}).items():
        cells = [f"{sum(values) / len(values):.2f}", *(f"{value:.2f}" for value in values)]
        rows.append([f"*published: {title}*", *cells])
    head += ["parameters", "kB"]
    return _table(head, [[*row, *[""] * (len(head) - len(row))] for row in rows])


def _quality(outcomes: list[Outcome], conditions: Sequence[str] = ()) -> list[str]:
    """PSNR of the first, with its spread over the others; PSNR under each condition; SSIM."""
    first = outcomes[0]
    psnr = _interval(mean(first.images("psnr")))
    if len(outcomes) > 1:
        psnr += f"; {over_seeds(outcomes, lambda outcome: mean(outcome.images('psnr')).mean)}"
    each = [f"{mean(first.images('psnr', condition=condition)).mean:.2f}" for condition in conditions]
    return [psnr, *each, f"{mean(first.images('ssim')).mean:.4f}"]


def _gap(own: Outcome, other: Outcome | None, metric: str, decimals: int) -> str:
    if other is None or own is other:
        return ""
    return _interval(difference(own.images(metric), other.images(metric)), signed=True, decimals=decimals)


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
    return "\n\n".join(["## Learning rates", text, _table(["method", *(f"{rate:g}" for rate in values)], rows)])


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
    rows = [[name(outcome), *_quality([outcome])] for outcome in ordered]
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
                [
                    name,
                    _interval(mean(own)),
                    _interval(mean(all_in_one)),
                    _interval(difference(own, all_in_one), signed=True),
                ]
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


def _interval(statistic: Statistic, *, signed: bool = False, decimals: int = 2) -> str:
    form = f"{'+' if signed else ''}.{decimals}f"
    if not math.isfinite(statistic.low):
        return f"{statistic.mean:{form}}"
    return f"{statistic.mean:{form}} [{statistic.low:{form}}, {statistic.high:{form}}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
