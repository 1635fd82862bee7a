"""The study's page: methods against each other."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from statistics import median

from adaptation.methods import BUDGETS
from adaptation.peers import NOTES, PUBLISHED
from adaptation.results import Outcome, Outcomes, mean, over_seeds
from adaptation.study_plan import COST_ROUNDS, COST_STEPS, SIZES
from adaptation.study_rates import PAIR_TIE, RATE_TASKS, SCRATCH_TASK, TIE, best, over_tasks, unsettled
from adaptation.study_rates import validated as of_run
from adaptation.study_tables import METHODS, gap, quality, table
from adaptation.study_trainings import Scale
from adaptation.tasks import TASKS, StudiedTask


def comparison(outcomes: Outcomes) -> str:
    """The methods on every task."""
    parts = ["## Adapters and full fine-tuning, with equal data and equal steps"]
    for task in TASKS.values():
        found = outcomes.where(part="methods", task=task.name)
        frozen = outcomes.compared(task.name, "frozen base")
        if frozen is None or len(found) < 2:
            continue
        parts += [_title(task, frozen), _methods(task, outcomes, frozen)]
        on_other_sets = task.name in PUBLISHED and task.tests[0].name not in PUBLISHED[task.name]
        if task.name in NOTES and not on_other_sets:
            parts.append(NOTES[task.name])
    return "\n\n".join(parts) if len(parts) > 1 else ""


def _title(task: StudiedTask, frozen: Outcome) -> str:
    inputs = mean(frozen.images("psnr", side="input")).mean
    return f"### {task.title}: {task.tests[0].name}, degraded input {inputs:.2f} dB"


def _methods(task: StudiedTask, outcomes: Outcomes, frozen: Outcome) -> str:
    """The table of a task: classical methods, the methods, what is published."""
    full = outcomes.compared(task.name, "full")
    conditions = frozen.conditions() if len(frozen.conditions()) > 1 else []
    head = ["method", "PSNR, dB", *conditions, "SSIM", "over the base alone", "minus full", "minus full, SSIM"]
    rows = [
        [f"*{classical.labels['method']}*", *quality(classical, conditions)]
        for classical in outcomes.where(part="baselines", task=task.name)
    ]
    for method, title in METHODS.items():
        own = outcomes.compared(task.name, method)
        if own is not None:
            trained = own.training
            size = ("0", "0") if trained is None else (f"{trained['parameters']:,}", f"{trained['bytes'] / 1000:,.0f}")
            gaps = [gap(own, frozen, "psnr", 2), gap(own, full, "psnr", 2), gap(own, full, "ssim", 4)]
            rows.append([title, *quality(own, conditions), *gaps, *size])
    for title, values in PUBLISHED.get(task.name, {}).get(task.tests[0].name, {}).items():
        cells = [f"{sum(values) / len(values):.2f}", *(f"{value:.2f}" for value in values)]
        rows.append([f"*published: {title}*", *cells])
    head += ["parameters", "kB in float32"]
    return table(head, [[*row, *[""] * (len(head) - len(row))] for row in rows])


def seeds(outcomes: Outcomes) -> str:
    """What other seeds of training change."""
    found = [outcome for outcome in outcomes.where(part="methods") if outcome.labels.get("seed")]
    tasks = dict.fromkeys(outcome.labels["task"] for outcome in found)
    rows = []
    for task in tasks:
        full = _by_seed(outcomes, task, "full")
        for method, title in METHODS.items():
            own = _by_seed(outcomes, task, method)
            if len(own) > 1:
                gaps = [value - full[seed] for seed, value in own.items() if seed in full and method != "full"]
                gap_over_seeds = over_seeds(gaps, signed=True) if gaps else ""
                rows.append([TASKS[task].title, title, over_seeds(list(own.values())), gap_over_seeds])
    if not rows:
        return ""
    text = (
        "Trained again with other seeds: PSNR in dB, mean and standard deviation over the trainings. A seed draws "
        "patches, noise and new weights; the gap is between trainings with the same seed."
    )
    return "\n\n".join(["## What the seed changes", text, table(["task", "method", "PSNR, dB", "minus full"], rows)])


def _by_seed(outcomes: Outcomes, task: str, method: str) -> dict[int, float]:
    """Seed -> PSNR."""
    found = outcomes.where(part="methods", task=task, method=method)
    return {outcome.labels["seed"]: mean(outcome.images("psnr")).mean for outcome in found if "seed" in outcome.labels}


def rates(outcomes: Outcomes) -> str:
    """How the learning rates were chosen."""
    found = outcomes.where(part="rates")
    values = sorted({outcome.labels["rate"] for outcome in found})
    rows = []
    for task in dict.fromkeys(outcome.labels["task"] for outcome in found):
        for method, title in METHODS.items():
            own = outcomes.where(part="rates", task=task, method=method)
            validated = _validated(own)
            if validated:
                marked = {rate: f"{psnr:.2f}" if isfinite(psnr) else "diverged" for rate, psnr in validated.items()}
                together = RATE_TASKS if task in RATE_TASKS else (task,)
                each = {name: _validated(outcomes.where(part="rates", task=name, method=method)) for name in together}
                both = over_tasks(each)
                if both and not unsettled(both):
                    chosen = best(both, together)
                    marked[chosen] = f"**{marked[chosen]}**"
                steps = next((f"{found.training['steps']:,}" for found in own if found.training is not None), "")
                rows.append([TASKS[task].title, title, steps, *(marked.get(rate, "") for rate in values)])
    if not rows:
        return ""
    text = (
        f"PSNR in dB on training images that are held out. The lowest rate within {TIE} dB of the best is taken "
        f"(bold), of pairs within {PAIR_TIE} dB, as few are held out: by the mean of "
        f"{' and '.join(f'*{TASKS[task].title}*' for task in RATE_TASKS)} for all tasks with clean training images, by "
        "a task with pairs for that task. The rates beside the best are tried, too. Adapters of a type have one rate, "
        f"whatever their size. Training from scratch takes one rate for all, chosen on *{TASKS[SCRATCH_TASK].title}* "
        "by runs of full length, because a random network has learned too little after a short one. Everything trains "
        "with Muon, which takes all matrices; AdamW takes the rest at the same rate: 2 to 14 % of what the methods "
        "train, and all of LoRA of rank 1."
    )
    head = ["chosen on", "method", "steps", *(f"{rate:g}" for rate in values)]
    return "\n\n".join(["## Learning rates", text, table(head, rows)])


def _validated(found: Sequence[Outcome]) -> dict[float, float]:
    """Rate -> PSNR of what was held out."""
    return {each.labels["rate"]: of_run(each.document) for each in found}


def costs(outcomes: Outcomes) -> str:
    """Time and memory of training, of runs of their own."""
    rows, threads = [], set()
    for method, title in METHODS.items():
        own = [found.training for found in outcomes.where(part="costs", method=method) if found.training]
        if own:
            milliseconds = [1000 * each["step_seconds"] for each in own]
            waiting = median(1000 * each["step_waiting"] for each in own)
            peak = median(each["peak_bytes"] for each in own)
            low, middle, high = min(milliseconds), median(milliseconds), max(milliseconds)
            minutes = (middle + waiting) * Scale.steps / 60_000
            step = f"{middle:.0f} ({low:.0f}-{high:.0f})"
            rows.append([title, step, f"{waiting:.0f}", f"{minutes:.1f}", f"{peak / 1e6:,.0f}"])
            threads |= {each["environment"]["threads"] for each in own}
    if not rows:
        return ""
    cores = " or ".join(f"{count} thread{'s' if count > 1 else ''}" for count in sorted(threads))
    text = (
        f"Denoising, 8 patches of 64 x 64 a step in bfloat16, {cores}, on a machine that did nothing else: the median "
        f"step of the later half of {COST_STEPS}, the median of {COST_ROUNDS} such runs, the methods in turn, with the "
        "least and the most. Waiting for images is apart. Peak memory is that of the whole process, of which PyTorch "
        "and the training images are most."
    )
    head = ["method", "ms a step", "ms waiting", f"minutes for {Scale.steps:,} steps", "peak MB"]
    return "\n\n".join(["## What training takes", text, table(head, rows)])


def sizes(outcomes: Outcomes) -> str:
    """How far LoRA of each size stays behind full fine-tuning."""
    tasks = list(dict.fromkeys(outcome.labels["task"] for outcome in outcomes.where(part="sizes")))
    rows = []
    for size in SIZES:
        cells = [f"{size:.0%}"]
        for task in tasks:
            method = f"lora-{size:.0%}"
            apart = outcomes.one(part="sizes", task=task, method=method)
            own = outcomes.compared(task, method) if size in BUDGETS else apart
            cells.append("" if own is None else gap(own, outcomes.compared(task, "full"), "psnr", 2))
        rows.append(cells)
    if not tasks:
        return ""
    text = (
        "LoRA minus full fine-tuning, PSNR in dB, against the adapter's size in parameters of the base. The least has "
        "rank 1, whose vectors AdamW trains and not Muon."
    )
    return "\n\n".join(["## How large an adapter has to be", text, table(["size", *tasks], rows)])
