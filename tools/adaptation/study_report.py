"""docs/study.md: the study's tables, each with what it shows and what it cannot be compared with."""

from __future__ import annotations

import json
from pathlib import Path

from adair_core.atomic_file import write_atomically
from adair_core.errors import UsageError, expected, listing
from adaptation import published, study_figures
from adaptation.results import Outcomes
from adaptation.study_methods import comparison, costs, rates, seeds, sizes
from adaptation.study_plan import ADAPTER, SEEDED, SEEDS
from adaptation.study_questions import amounts, blends, pretraining, strengths, union
from adaptation.study_tables import METHODS
from adaptation.tasks import MAIN, TASKS

INTRODUCTION = """# The study

What an adapter reaches against full fine-tuning, and what pre-training has to do with it: made by `tools/study.py` on
CPU cores, with a small network and short trainings. Numbers of methods compare with each other, because data, steps and
seeds are equal; they are not what any of them reaches in the end, and what starts from the base starts from its
pre-training, too, which training from scratch does without. Intervals are 95 % bootstrap intervals over images,
differences paired image by image: how a mean would move with other images (of SOTS, which has two images of each room,
with other rooms). Where images are few or akin (5 in Set5, 15 in LOL, 10 rooms in SOTS, 15 of five cameras' settings in
CC15, and four scenes of Rain100L are there twice) they are too narrow; and of many intervals of 95 % some miss. They
leave out the variance of training: *What the seed changes* has it. Classical methods (in italics) are told the strength
of the noise or the kernel of the blur, which the networks are not.

`python tools/study.py repeat NAME --data IMAGES` trains and measures a row again, by the name of its file in
`docs/study/` without the ending, and with `/` for `--`; each file has the recipe, the environment and every number.

"""
MARKER = "<!-- Everything below is written by tools/study.py report. -->\n"
PARTS = {
    "methods": "methods on each task",
    "rates": "learning rates",
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
    made = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(out.rglob("result.json"))]
    found = {document["run"]: document for document in (*published.read_all(folder), *made)}
    base = base_of(Outcomes(found.values()), folder)
    for document in made:
        published.write(folder, document)
    outcomes = Outcomes(published.read_all(folder))
    figures = study_figures.draw(outcomes, folder)
    sections = [
        f"The base is `{base}`.{trained(outcomes)} {missing(outcomes)}",
        comparison(outcomes),
        seeds(outcomes),
        rates(outcomes),
        costs(outcomes),
        sizes(outcomes),
        pretraining(outcomes),
        amounts(outcomes),
        union(outcomes),
        strengths(outcomes),
        blends(outcomes),
    ]
    pictures = [f"![{title}]({folder.name}/{file.name})" for title, file in figures.items()]
    old = page.read_text(encoding="utf-8") if page.exists() else INTRODUCTION + MARKER
    before, marker, _ = old.partition(MARKER)
    if not marker:
        raise SystemExit(f"{page}: expected the line {MARKER.strip()!r}")
    text = "\n\n".join([*pictures, *filter(None, sections)])
    write_atomically(page, f"{before}{MARKER}\n{text}\n".encode())


def base_of(outcomes: Outcomes, folder: Path) -> str:
    """The base that all results are on, but those on random weights or on the ablation's bases.

    Raises:
        UsageError: they are on several, which do not compare, or on none.
    """
    found = {str(outcome.document["plan"]["base"]) for outcome in outcomes.all if outcome.document["plan"]["base"]}
    bases = sorted(base for base in found if not base.startswith("RUNS/"))
    if len(bases) != 1:
        hint = "remove what is of another base"
        raise UsageError(expected(str(folder), expected="results on one base", got=listing(bases) or "none", hint=hint))
    weights: dict[str, str] = {}
    for outcome in outcomes.where(part="pretraining"):
        title, own = outcome.labels["pretraining"], outcome.document.get("base_fingerprint")
        if own is not None and weights.setdefault(title, own) != own:
            hint = "a base that is trained on another machine has other bits; make what is on it on one machine"
            what = f"{folder}: results on the base of {title!r}"
            raise UsageError(expected(what, expected="one base", got="two with other weights", hint=hint))
    return bases[0]


def trained(outcomes: Outcomes) -> str:
    """How long the comparison trains."""
    first = next((found for found in outcomes.where(part="methods") if found.training is not None), None)
    recipe = None if first is None else first.document["plan"].get("recipe")
    if not recipe:
        return ""
    settings = recipe["settings"]
    side, steps, batch = settings["patch_size"], settings["steps"], settings["batch_size"]
    return f" Everything trains for {steps:,} steps of {batch} patches of {side} x {side}, unless a table says more."


def missing(outcomes: Outcomes) -> str:
    """What the plan has and the page does not yet have."""
    parts = [title for part, title in PARTS.items() if not outcomes.where(part=part)]
    lines = [f"Not measured yet: {', '.join(parts)}."] if parts else []
    if not outcomes.where(part="methods"):
        return " ".join(lines)  # which has them all
    for task in TASKS.values():
        wanted = METHODS if task.name in MAIN else ("frozen base", ADAPTER, "full")
        lacking = [METHODS[name] for name in wanted if not outcomes.where(part="methods", task=task.name, method=name)]
        if lacking:
            everything = len(lacking) == len(wanted)
            lines.append(f"Not measured yet of {task.title}: {'anything' if everything else ', '.join(lacking)}.")
    counts = {len(outcomes.where(part="methods", task=task, method=name)) for task in MAIN for name in SEEDED}
    if min(counts) < len(SEEDS):
        lines.append(f"Not all of the {len(SEEDS)} seeds are trained yet.")
    return " ".join(lines)
