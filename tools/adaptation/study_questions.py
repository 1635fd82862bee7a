"""The study's page: what is asked beside the comparison of methods."""

from __future__ import annotations

from adaptation.results import Outcome, Outcomes, difference, mean
from adaptation.study_plan import ADAPTER, BLENDED, BLURRED_NOISY, FEW, IMAGES, MIXTURES, STRENGTHS
from adaptation.study_tables import METHODS, gap, interval, quality, table
from adaptation.study_trainings import Scale
from adaptation.tasks import TASKS


def pretraining(outcomes: Outcomes) -> str:
    """What the base was pre-trained on."""
    found = outcomes.where(part="pretraining")
    tasks = list(dict.fromkeys(outcome.labels["task"] for outcome in found))
    methods = [method for method in METHODS if any(outcome.labels["method"] == method for outcome in found)]
    rows = []
    for title in ("none", *MIXTURES):
        full = [_learned_on(outcomes, title, task, "full") for task in tasks]
        for method in methods:
            own = [_learned_on(outcomes, title, task, method) for task in tasks]
            cells = [_on_a_base(*each, method) for each in zip(own, full, strict=True)]
            if any(cells):
                rows.append([title, METHODS[method], *cells])
    if not rows:
        return ""
    text = (
        "Each base is trained with the same number of steps on another mixture, then each task is learned on it, with "
        "the rates that were chosen on the study's own base. PSNR in dB, and for LoRA its distance to full fine-tuning "
        "on the same base, with the paired interval; full fine-tuning of none is the comparison's *from scratch*. "
        f"These bases had {Scale.pretraining:,} steps, one seed each: far less than the study's own. Of these steps "
        "all, a third and about a fifth undo Gaussian noise, so the column of denoising shows the dose as well as the "
        "company. Rain and low light are in the whole mixture alone; small, noisy JPEG photos have faults of the last "
        "two mixtures, one after the other; snow is in none."
    )
    names = [TASKS[task].title if task in TASKS else task for task in tasks]
    return "\n\n".join(["## What pre-training makes that true", text, table(["pre-trained on", "", *names], rows)])


def _learned_on(outcomes: Outcomes, title: str, task: str, method: str) -> Outcome | None:
    """What a method came to on a base of the ablation; all weights of none are the comparison's from scratch."""
    if (title, method) == ("none", "full"):
        return outcomes.compared(task, "scratch")
    return outcomes.one(part="pretraining", pretraining=title, task=task, method=method)


def _on_a_base(own: Outcome | None, full: Outcome | None, method: str) -> str:
    if own is None:
        return ""
    psnr = f"{mean(own.images('psnr')).mean:.2f}"
    return f"{psnr}, {gap(own, full, 'psnr', 2)}" if method == ADAPTER and full is not None else psnr


def amounts(outcomes: Outcomes) -> str:
    """Few images."""
    rows = []
    names = (ADAPTER, "full")
    found: dict[str, list[Outcome | None]] = {
        str(count): [outcomes.one(part="amounts", images=count, method=name) for name in names] for count in IMAGES
    }
    if not any(any(own) for own in found.values()):
        return ""
    found["all"] = [outcomes.compared(FEW, name) for name in names]
    for count, own in found.items():
        if any(own):
            cells = ["" if each is None else f"{mean(each.images('psnr')).mean:.2f}" for each in own]
            adapter, full = own
            rows.append([count, *cells, "" if adapter is None else gap(adapter, full, "psnr", 2)])
    frozen = outcomes.compared(FEW, "frozen base")
    alone = "" if frozen is None else f" The base alone has {mean(frozen.images('psnr')).mean:.2f} dB."
    text = (
        f"{TASKS[FEW].title.capitalize()}: {TASKS[FEW].tests[0].name}, PSNR in dB.{alone} One in twenty of the images, "
        "at least one and at most eight, validates and teaches nothing. The base has seen all of the images, without "
        "snow. One choice of the images and one seed each; the rates are those for all images."
    )
    head = ["images", *(METHODS[name] for name in names), "LoRA minus full"]
    return "\n\n".join(["## Few images", text, table(head, rows)])


def union(outcomes: Outcomes) -> str:
    """One network for all, or an adapter for each."""
    whole = outcomes.one(part="union", method="all in one")
    if whole is None:
        return ""
    rows = []
    singles = {method: _singles(outcomes, method) for method in (ADAPTER, "full")}
    for name in whole.document["measurements"]:
        all_in_one = whole.images("psnr", measurement=name)
        means, gained = [], []
        for found in singles.values():
            single = next((each for each in found if name in each.document["measurements"]), None)
            own = None if single is None else single.images("psnr", measurement=name)
            means.append("" if own is None else f"{mean(own).mean:.2f}")
            gained.append("" if own is None else interval(difference(own, all_in_one), signed=True))
        if any(means):
            rows.append([name, *means, f"{mean(all_in_one).mean:.2f}", *gained])
    adapters = [found.training for found in singles[ADAPTER] if found.training]
    stored = sum(training["bytes"] for training in adapters) / max(len(adapters), 1)
    base = (whole.training or {}).get("bytes", 0)
    storage = (
        f"For ten tasks: the base and ten adapters take {(base + 10 * stored) / 1e6:.1f} MB, ten fully fine-tuned "
        f"networks {10 * base / 1e6:.1f} MB, one all-in-one network {base / 1e6:.1f} MB, all in float32; the package "
        "stores float16, half of that."
    )
    text = (
        "All parameters trained on the union of four tasks, with the steps of all four, against an adapter (LoRA, 8 %) "
        "for each, and against all parameters for each. PSNR in dB; differences are to the one for all."
    )
    head = ["task and images", "an adapter each", "a network each", "one for all", "adapters, gain", "networks, gain"]
    cells = table(head, rows)
    return "\n\n".join(["## An adapter for each task, or one network for all", text, cells, storage])


def _singles(outcomes: Outcomes, method: str) -> list[Outcome]:
    """What learned one task by a method."""
    compared = [found for task in TASKS if (found := outcomes.compared(task, method)) is not None]
    return [*outcomes.where(part="union", method=method), *compared]


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
