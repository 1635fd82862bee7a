"""The study's page: what is asked beside the comparison of methods."""

from __future__ import annotations

from adaptation.results import Outcome, Outcomes, difference, mean
from adaptation.study_plan import BLENDED, BLURRED_NOISY, IMAGES, MIXTURES, STRENGTHS
from adaptation.study_tables import interval, quality, table


def pretraining(outcomes: Outcomes) -> str:
    """What the base was pre-trained on."""
    titles = ["none", *MIXTURES]
    tasks = list(dict.fromkeys(outcome.labels["task"] for outcome in outcomes.where(part="pretraining")))
    rows = []
    for title in titles:
        cells = [title]
        for task in tasks:
            own = outcomes.where(part="pretraining", pretraining=title, task=task)
            by_method = {outcome.labels["method"]: f"{mean(outcome.images('psnr')).mean:.2f}" for outcome in own}
            adapter = next((value for name, value in by_method.items() if name != "frozen base"), "not yet")
            cells.append(f"{by_method['frozen base']} / {adapter}" if "frozen base" in by_method else "not yet")
        rows.append(cells)
    if not tasks:
        return ""
    text = (
        "Each base is trained with the same number of steps on another mixture, then an adapter (LoRA, 8 %) learns "
        "each task on it. PSNR in dB: frozen base / base + adapter. Snow is in none of the mixtures."
    )
    return "\n\n".join(["## What pre-training makes that true", text, table(["pre-trained on", *tasks], rows)])


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
    return "\n\n".join(["## Few images", "Denoising, CBSD68, PSNR in dB.", table(["images", *names], rows)])


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
                    interval(mean(own)),
                    interval(mean(all_in_one)),
                    interval(difference(own, all_in_one), signed=True),
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
    rows = [[name(outcome), *quality([outcome])] for outcome in ordered]
    inputs = mean(found[0].images("psnr", side="input")).mean
    text = (
        f"{BLURRED_NOISY.title}: {BLURRED_NOISY.tests[0].name}, degraded input {inputs:.2f} dB. The adapters are those "
        "of the comparison above (LoRA, 8 %), which know one of the two; *an adapter for both* learned just this."
    )
    return "\n\n".join(["## Two faults at once", text, table(["adapters", "PSNR, dB", "SSIM"], rows)])
