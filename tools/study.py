"""The study: what adapters reach against full fine-tuning, and what pre-training has to do with it.

    python tools/study.py run --data IMAGES       train and measure everything; run it again to go on where it stopped
    python tools/study.py costs --data IMAGES     time a step of each method; on a machine that does nothing else
    python tools/study.py report                  docs/study.md, its figures, and the raw numbers as JSON beside it
    python tools/study.py plan --data IMAGES      list the runs and which are done
    python tools/study.py repeat NAME --data IMAGES    train and measure a published run anew, and compare

IMAGES holds the sets that tools/adaptation/tasks.py names. Everything that a run makes is in its folder below --out.
What docs/study has is not made again, unless --anew asks for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from adaptation import baselines, published, study_report
from adaptation.results import Outcome, mean
from adaptation.runs import Measurement, Place, Run, alone, at_once, perform, plan_of, trained
from adaptation.study_plan import BASE, BLENDED, BLURRED_NOISY, Plan
from adaptation.study_trainings import Scale
from adaptation.tasks import TASKS, StudiedTask

import adair_core as adair
from adair_core.atomic_file import write_atomically
from adair_core.errors import expected

DOCS = Path(__file__).parents[1] / "docs" / "study.md"
OUT = Path("runs/study")
PARTS = tuple(part for part in study_report.PARTS if part not in ("rates", "costs"))
"""Of the command `run`: rates are always chosen, and costs have a command of their own."""


@click.group(help=__doc__)
def main() -> None:
    """See the module."""


def plan_options(function: Any) -> Any:
    """The options that say what the plan is."""
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    options = [
        click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True),
        click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True),
        click.option("--base", default=BASE, show_default=True),
        click.option("--task", "tasks", multiple=True, type=click.Choice(sorted(TASKS)), help="only these tasks"),
        click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="only these parts"),
        click.option("--steps", default=Scale.steps, show_default=True),
        click.option("--pretraining-steps", default=Scale.pretraining, show_default=True),
        click.option("--rate-steps", default=Scale.rates, show_default=True),
        click.option("--threads", default=threads, show_default=True, help="of each training and measurement"),
        click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="of them at a time"),
        click.option("--anew", is_flag=True, help="make what docs/study has too"),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _plan(options: dict[str, Any]) -> tuple[Plan, Place]:
    kept = None if options["anew"] else study_report.results_of(DOCS)
    place = Place(options["data"].absolute(), options["out"].absolute(), options["threads"], kept)
    scale = Scale(steps=options["steps"], pretraining=options["pretraining_steps"], rates=options["rate_steps"])
    info = adair.load(options["base"]).info
    return Plan(place, info.name, scale, options["tasks"] or tuple(TASKS)), place


def _wanted(part: str, options: dict[str, Any]) -> bool:
    return not options["parts"] or ("pretraining" if part == "bases" else part) in options["parts"]


@main.command("run")
@plan_options
def run_all(**options: Any) -> None:
    """Train and measure what is not done yet."""
    torch.set_num_threads(options["threads"])  # of what is computed in this process: classical methods, and in-turn
    plan, place = _plan(options)
    while pending := [run for run in plan.rates() if place.outcome(run) is None]:
        at_once((partial(perform, run, place) for run in pending), options["jobs"])
    runs = [run for run in plan.runs() if _wanted(run.labels["part"], options)]
    work: list[Callable[[], object]] = [partial(perform, run, place) for run in runs]
    if _wanted("blends", options):
        work.append(partial(_in_turn, plan, place))
    if _wanted("baselines", options):
        for task in plan.tasks:
            for name, method in baselines.METHODS.get(task.name, {}).items():
                work.append(partial(_baseline, name, method, task, place))
    at_once(work, options["jobs"])
    click.echo("done; python tools/study.py report writes the page")


@main.command("costs")
@plan_options
def costs(**options: Any) -> None:
    """Measure what a step of each method takes, in a few minutes in which the machine does nothing else."""
    plan, place = _plan(options)
    for run in plan.costs():
        perform(run, place)


@main.command("repeat")
@click.argument("name")
@plan_options
def repeat(name: str, **options: Any) -> None:
    """Train and measure a published run anew, in a folder of its own, and compare."""
    before = published.read(study_report.results_of(DOCS), name)
    if before is None:
        hint = f"the files of {study_report.results_of(DOCS)} have the names, with -- for /"
        raise click.BadParameter(expected("run", expected="a published one", got=name, hint=hint), param_hint="NAME")
    task = before["labels"].get("task")
    options = {**options, "tasks": (task,) if task in TASKS else options["tasks"], "anew": False}
    options["out"] = options["out"].with_name(f"{options['out'].name}-repeated")
    plan, place = _plan(options)
    run = next((run for run in plan.runs() if run.name == name), None)
    if run is None:
        raise click.BadParameter(
            expected("run", expected="a part of the comparison or of the questions beside it", got=name),
            param_hint="NAME",
        )
    both = [Outcome(before), Outcome(perform(run, replace(place, published=None)))]
    for test in before["measurements"]:
        for condition in both[0].conditions(test):
            was, now = (mean(each.images("psnr", measurement=test, condition=condition)).mean for each in both)
            click.echo(f"{test} {condition}: published {was:.2f} dB, repeated {now:.2f} dB")


def _baseline(name: str, method: baselines.Method, task: StudiedTask, place: Place) -> None:
    reason = baselines.missing(name)
    if reason is not None:
        click.echo(reason)
        return
    labels = {"part": "baselines", "task": task.name, "method": name}
    tests = tuple(Measurement(task, test) for test in task.tests)
    run = Run(f"baselines/{task.name}/{name.replace(' ', '-').replace(',', '')}", None, None, tests, labels)
    _measured(run, method, place)


def _in_turn(plan: Plan, place: Place) -> None:
    """The adapters of the blends, one after the other: restored by the first, and the result by the second."""
    sources = plan.blended()
    if not sources:
        return
    labels = {"part": "blends", "task": BLURRED_NOISY.name, "method": ", then ".join(BLENDED)}
    tests = tuple(Measurement(BLURRED_NOISY, test) for test in BLURRED_NOISY.tests)
    run = Run("blends/in-turn", None, plan.base, tests, labels, after=sources)
    if place.outcome(run) is not None:
        return
    model = adair.load(plan.base)
    names = [model.load_adapter(trained(source, place), name=str(source.labels["task"])) for source in sources]

    def restore(image: baselines.Pixels, options: Mapping[str, Any]) -> baselines.Pixels:  # noqa: ARG001
        for name in names:
            model.set_adapters(name)
            image = model.restore(image)
        return image

    _measured(run, restore, place)


def _measured(run: Run, method: baselines.Method, place: Place) -> None:
    """Measure a function of pixels, unless that is done."""
    folder = place.folder(run)
    with alone(folder):
        if place.outcome(run) is None:
            click.echo(run.name)
            measured = {each.name: baselines.measure(method, each.task, each.test, place) for each in run.measurements}
            plan = plan_of(run, place)
            document = {"run": run.name, "labels": run.labels, "plan": plan, "training": None, "measurements": measured}
            write_atomically(folder / "result.json", json.dumps(document).encode())


@main.command()
@plan_options
def plan(**options: Any) -> None:
    """List the runs. Those after the choice of learning rates are known when that is done."""
    found, place = _plan(options)
    rates = found.rates()
    known = all(place.outcome(run) for run in rates)
    runs = [*rates, *(run for run in (found.runs() if known else ()) if _wanted(run.labels["part"], options))]
    for run in [*runs, *found.costs()]:
        click.echo(f"{'done' if place.outcome(run) else 'to do':6} {run.name}")


@main.command()
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)
@click.option("--page", type=click.Path(path_type=Path), default=DOCS, show_default=True)
def report(out: Path, page: Path) -> None:
    """Write the page."""
    study_report.write(out, page)
    click.echo(f"wrote {page}")


if __name__ == "__main__":
    main()
