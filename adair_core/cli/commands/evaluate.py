"""``adair evaluate``: a protocol's numbers, of one network or of several side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import rich_click

from adair_core.cli.candidates import Candidate, parse_candidates, saved_files
from adair_core.cli.choices import PAIRS, task_group, task_named, task_parameters
from adair_core.cli.command import Command, group_named
from adair_core.cli.data import pairs_option, refuse_both
from adair_core.cli.models import load_model, model_options, tile_of
from adair_core.cli.options import Group
from adair_core.cli.output import say, show, steps_shown
from adair_core.cli.process import threads_option, tune
from adair_core.cli.restorations import Network, Restoration, candidate_restorations, tell_tiles
from adair_core.errors import UsageError
from adair_core.plugins import plugins

if TYPE_CHECKING:
    from adair_core.evaluation import Comparison, EvaluationImages, Example, Report
    from adair_core.specs import Protocol


def _groups(typed: Mapping[str, Any]) -> list[Group]:
    name = typed.get("task") or (PAIRS if typed.get("pairs") else None)
    return [] if name is None else [task_group(name, plugins().task(name))]


@rich_click.command(
    "evaluate",
    cls=Command,
    groups=_groups,
    examples=[
        "evaluate --task denoise --data CBSD68/ --adapter runs/denoise-lora/denoise",
        "evaluate --task denoise --task.sigma 25 --base restormer-tiny --json",
        "evaluate --pairs rainy/ clean/ --adapter derain --report results/",
        "evaluate --task denoise --data CBSD68/ --compare frozen lora=runs/a/denoise prompt=runs/b/denoise",
        "evaluate --compare before.json after.json --report difference.html",
    ],
)
@rich_click.argument("candidates", metavar="[CANDIDATE...]", nargs=-1)
@rich_click.option("--task", metavar="NAME", help="whose protocol judges, and how inputs are made")
@rich_click.option("--data", type=click.Path(path_type=Path), help="folder of clean images [default: a sample photo]")
@pairs_option
@rich_click.option(
    "--compare",
    is_flag=True,
    help="compare two or more [NAME=]CANDIDATE[:STRENGTH], the first with all others: input, frozen (the base alone), "
    "an adapter, a base, a folder of restored images; or saved results (.json)",
)
@model_options
@rich_click.option("--scale", metavar="N", help="the same as --task.scale")
@rich_click.option("--metric", "metrics", multiple=True, metavar="NAME", help="metric [default: the protocol's]")
@rich_click.option("--limit", type=click.IntRange(min=1), metavar="N", help="only the first N images")
@rich_click.option(
    "--protocol",
    "protocol_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="a protocol of your own, as JSON",
)
@rich_click.option(
    "--scene",
    metavar="REGEX",
    help="what in images' names tells their scene, such as '^\\d+': images of one scene are akin, and intervals and "
    "tests then count scenes [default: each image is one]",
)
@rich_click.option("--show-protocol", is_flag=True, help="print the protocol as JSON, and measure nothing")
@rich_click.option(
    "--report",
    "--out",
    "-o",
    "reports",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="FILE.html, .md, .csv or .json, or a folder for all of them; may be repeated",
)
@threads_option
@rich_click.option("--json", "as_json", is_flag=True, help="print the report as JSON")
def command(
    candidates: Sequence[str], compare: bool, as_json: bool, reports: Sequence[Path], **parameters: Any
) -> None:
    """Measure restored images with the protocol of a task.

    Prints means over the images, with 95 % confidence intervals; --compare adds paired differences with intervals and
    the p of a Wilcoxon test. Give --base without --adapter to measure the frozen base alone. With --task, --help lists
    its options.
    """
    from adair_core.evaluation import write
    from adair_core.evaluation.writing import kind_of
    from adair_core.new_folder import check_folder

    for path in reports:  # a wrong name is told before the work, not after it
        check_folder(path.parent if kind_of(path) else path)
    if candidates and not compare:
        raise UsageError(
            f"{candidates[0]}: to compare candidates, give --compare; images are given by --data or --pairs"
        )
    chosen = parse_candidates(candidates) if compare else []
    files = saved_files(chosen, _measuring(parameters))
    if files:
        from adair_core.evaluation.saved import saved_comparison

        result: Report | Comparison = saved_comparison(files, scene=parameters["scene"])
        examples: list[Example] = []
    else:
        tile_of(parameters["tile"])
        request = _request(parameters)
        if parameters["show_protocol"]:
            click.echo(request.protocol.model_dump_json(indent=2))
            return
        result, examples = _measured(request, chosen, parameters, reports)
    # The numbers first: a report that cannot be written must not take them along.
    if as_json:
        click.echo(json.dumps(json.loads(result.to_json()), indent=2))
    else:
        for table in result.tables():
            show(table)
    for path in reports:
        say("wrote " + ", ".join(str(file) for file in write(result, path, examples)))


def _measured(
    request: _Request,
    chosen: Sequence[Candidate],
    parameters: Mapping[str, Any],
    reports: Sequence[Path],
) -> tuple[Report | Comparison, list[Example]]:
    """Restore and measure; restore some images again for the pages that show them."""
    from adair_core.evaluation import Comparison, chosen_examples, compare, evaluate
    from adair_core.evaluation.cells import plural
    from adair_core.evaluation.images import names_of
    from adair_core.evaluation.scenes import check_scene_pattern
    from adair_core.evaluation.writing import wants_images

    protocol = request.protocol
    metrics = [plugins().metrics[metric].name for metric in parameters["metrics"]] or None
    images = _images(parameters)
    if parameters["scene"] is not None:  # a wrong one is told before the work, not after it
        check_scene_pattern(parameters["scene"], names_of(images))
    tune(parameters["threads"])
    if chosen:
        restorations = candidate_restorations(chosen, parameters, protocol, task=request.task)
        titles = list(restorations)
    else:
        network = Network(load_model(parameters, task=request.task, task_options=request.task_options), parameters)
        restorations = {"restored": Restoration.of_network(network)}
        titles = [network.loaded.title]
    say(f"evaluating {', '.join(titles)} on {plural(len(images), 'image')}")
    ways = {each: restoration.restore for each, restoration in restorations.items()}
    restorers = {each: restoration.restorer for each, restoration in restorations.items()}
    with steps_shown("evaluating") as shown:
        result: Report | Comparison
        if chosen:
            result = compared = compare(
                ways, protocol, images, metrics=metrics, restorers=restorers, progress=shown.advance
            ).with_scene(parameters["scene"])
        else:
            result = evaluate(
                network, protocol, images, metrics=metrics, restorer=restorers["restored"], progress=shown.advance
            ).with_scene(parameters["scene"])
            compared = Comparison.with_input(result)
            ways = {"input": Restoration.of_input().restore, **ways}
    tell_tiles(restorations.values())
    return result, chosen_examples(compared, ways, images) if any(map(wants_images, reports)) else []


_MEASURING = ("task", "data", "pairs", "protocol_file", "limit", "scale", "metrics", "adapters", "base", "blend")
_COMPUTING = {"precision": "float32", "tile": "auto", "exact": False, "self_ensemble": False, "show_protocol": False}


def _measuring(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The options that say what to measure and how, as they were typed."""
    names = {"protocol_file": "--protocol", "metrics": "--metric", "adapters": "--adapter"}
    given = [name for name in _MEASURING if parameters[name] not in (None, ())]
    given += [name for name, usual in _COMPUTING.items() if parameters[name] != usual]
    return {names.get(name, f"--{name.replace('_', '-')}"): parameters[name] for name in given}


@dataclass(frozen=True)
class _Request:
    """What is to be measured: the protocol, and the task that chooses an adapter where none is named."""

    protocol: Protocol
    task: str | None = None
    task_options: Mapping[str, Any] = field(default_factory=dict)


def _request(parameters: Mapping[str, Any]) -> _Request:
    """Read task and protocol.

    Raises:
        UsageError: there is neither a task nor a protocol, or the protocol's file is none.
    """
    from adair_core.evaluation.saved import read_protocol

    file = parameters["protocol_file"]
    own = None if file is None else read_protocol(file)
    if own is not None and not parameters["task"]:
        return _Request(own)
    name, spec = task_named(parameters["task"], pairs=parameters["pairs"])
    group = group_named("task")
    given = task_parameters(group, parameters)
    config = group.parse(spec.config, given)
    return _Request(own or spec.protocol(config), name, given)


def _images(parameters: Mapping[str, Any]) -> EvaluationImages:
    from adair_core.data.images import read_image, to_tensor
    from adair_core.data.photos import sample_photo_files
    from adair_core.evaluation import evaluation_images

    data, pairs, limit = parameters["data"], parameters["pairs"], parameters["limit"]
    refuse_both(data, pairs)
    if pairs:
        return evaluation_images(pairs[1], pairs[0], limit=limit)
    if data:
        return evaluation_images(data, limit=limit)
    say("no --data: evaluating on the held-out sample photo of scikit-image")
    return [(file.name, to_tensor(read_image(file))) for file in sample_photo_files(held_out=True)][:limit]
