"""docs/study.md: the study's tables, each with what it shows and what it cannot be compared with."""

from __future__ import annotations

import json
from pathlib import Path

from adair_core.atomic_file import write_atomically
from adaptation import published, study_figures
from adaptation.results import Outcomes
from adaptation.study_methods import comparison, costs, rates, sizes
from adaptation.study_questions import amounts, blends, pretraining, strengths, union
from adaptation.tasks import TASKS

INTRODUCTION = """# The study

What an adapter reaches against full fine-tuning, and what pre-training has to do with it: made by `tools/study.py` on
CPU cores, with small networks and short trainings. Numbers of methods compare with each other, because data, steps and
seeds are equal; they are not what any of them reaches in the end. Intervals are 95 % bootstrap intervals over
images, differences paired image by image; they leave out the variance of training, for which denoising is repeated with
three seeds. Learning rates were chosen for each method on held-out training images.

"""
MARKER = "<!-- Everything below is written by tools/study.py report. -->\n"
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
