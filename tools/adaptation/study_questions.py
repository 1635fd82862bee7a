"""The study's page: what is asked beside the comparison of methods."""

from __future__ import annotations

from adaptation.results import Outcome, Outcomes, difference, mean
from adaptation.study_plan import ADAPTER, BLENDED, BLURRED_NOISY, IMAGES, MIXTURES, STRENGTHS
from adaptation.study_tables import METHODS, interval, quality, table
from adaptation.study_trainings import Scale
from adaptation.tasks import TASKS


def pretraining(outcomes: Outcomes) -> str:
    """What the base was pre-trained on."""
    found = outcomes.where(part="pretraining")
    tasks = list(dict.fromkeys(outcome.labels["task"] for outcome in found))
    methods = [method for method in METHODS if any(outcome.labels["method"] == method for outcome in found)]
    rows = []
    for title in ("none", *MIXTURES):
        for method in methods:
            own = {
                task: outcomes.one(part="pretraining", pretraining=title, task=task, method=method) for task in tasks
            }
            cells = ["" if outcome is None else interval(mean(outcome.images("psnr"))) for outcome in own.values()]
            if any(cells):
                rows.append([title, METHODS[method], *cells])
    if not rows:
        return ""
    text = (
        "Each base is trained with the same number of steps on another mixture, then each task is learned on it. PSNR "
        f"in dB. These bases had {Scale.pretraining:,} steps: far less than the study's own. Noise is in all mixtures; "
        "rain and low light only in the whole one; small, noisy JPEG photos have faults of the last two, one after the "
        "other; snow is in none."
    )
    names = [TASKS[task].title if task in TASKS else task for task in tasks]
    return "\n\n".join(["## What pre-training makes that true", text, table(["pre-trained on", "", *names], rows)])


def amounts(outcomes: Outcomes) -> str:
    """Few images."""
    rows = []
    for count in IMAGES:
        own = {outcome.labels["method"]: outcome for outcome in outcomes.where(part="amounts", images=count)}
        if own:
            rows.append([str(count), *(interval(mean(own[name].images("psnr"))) for name in sorted(own, reverse=True))])
    names = sorted({outcome.labels["method"] for outcome in outcomes.where(part="amounts")}, reverse=True)
    if not rows:
        return ""
    text = "Denoising, CBSD68, PSNR in dB. One in twenty of the images, at least one, validates and teaches nothing."
    return "\n\n".join(["## Few images", text, table(["images", *names], rows)])


def union(outcomes: Outcomes) -> str:
    """One network for all, or an adapter for each."""
    whole = outcomes.one(part="union", method="all in one")
    if whole is None:
        return ""
    rows = []
    compared = [found for task in TASKS if (found := outcomes.compared(task, ADAPTER)) is not None]
    singles = [*outcomes.where(part="union", method=ADAPTER), *compared]
    for name in whole.document["measurements"]:
        single = next((found for found in singles if name in found.document["measurements"]), None)
        if single is not None:
            own, all_in_one = single.images("psnr", measurement=name), whole.images("psnr", measurement=name)
            gained = interval(difference(own, all_in_one), signed=True)
            rows.append([name, interval(mean(own)), interval(mean(all_in_one)), gained])
    adapters = [found.training for found in singles if found.training]
    stored = sum(training["bytes"] for training in adapters) / max(len(adapters), 1)
    base = (whole.training or {}).get("bytes", 0)
    storage = (
        f"For ten tasks: the base and ten adapters take {(base + 10 * stored) / 1e6:.1f} MB, ten fully fine-tuned "
        f"networks {10 * base / 1e6:.1f} MB, one all-in-one network {base / 1e6:.1f} MB, all in float32; the package "
        "stores float16, half of that."
    )
    text = (
        "All parameters trained on the union of four tasks, with the steps of all four, against an adapter (LoRA, 8 %) "
        "for each: so the difference is one of tasks apart and together, and of what is trained."
    )
    cells = table(["task and images", "adapters", "all in one", "difference"], rows)
    return "\n\n".join(["## An adapter for each task, or one network for all", text, cells, storage])


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
    return "\n\n".join(["## Strength", text, table(["strength", *conditions], rows)])


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
    rows = [[name(outcome), *quality(outcome)] for outcome in ordered]
    inputs = mean(found[0].images("psnr", side="input")).mean
    text = (
        f"{BLURRED_NOISY.title}: {BLURRED_NOISY.tests[0].name}, degraded input {inputs:.2f} dB. The adapters are those "
        "of the comparison above (LoRA, 8 %), which know one of the two; *an adapter for both* learned just this."
    )
    return "\n\n".join(["## Two faults at once", text, table(["adapters", "PSNR, dB", "SSIM"], rows)])
