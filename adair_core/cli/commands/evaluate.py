"""``adair evaluate``: a protocol's numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import rich_click

from adair_core.cli.choices import PAIRS, task_group, task_named, task_parameters
from adair_core.cli.command import Command, group_named
from adair_core.cli.models import load_model, model_options, tile_of
from adair_core.cli.options import Group
from adair_core.cli.output import say, show, steps_shown
from adair_core.cli.process import threads_option, tune
from adair_core.errors import UsageError, expected
from adair_core.plugins import plugins

if TYPE_CHECKING:
    from torch import Tensor

    from adair_core.evaluation import EvaluationImages


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
        "evaluate --pairs rainy/ clean/ --adapter derain --out results/",
    ],
)
@rich_click.option("--task", metavar="NAME", help="whose protocol judges, and how inputs are made")
@rich_click.option("--data", type=click.Path(path_type=Path), help="folder of clean images [default: a sample photo]")
@rich_click.option(
    "--pairs",
    nargs=2,
    type=click.Path(path_type=Path),
    metavar="INPUT TARGET",
    help="folders of real pairs, matched by name",
)
@model_options
@rich_click.option("--scale", metavar="N", help="the same as --task.scale")
@rich_click.option("--metric", "metrics", multiple=True, metavar="NAME", help="metric [default: the protocol's]")
@rich_click.option("--limit", type=click.IntRange(min=1), metavar="N", help="only the first N images")
@rich_click.option("--out", "-o", type=click.Path(path_type=Path), help="folder for report.json and images.csv")
@threads_option
@rich_click.option("--json", "as_json", is_flag=True, help="print the report as JSON")
def command(task: str | None, as_json: bool, out: Path | None, **parameters: Any) -> None:
    """Measure restored images with the protocol of a task.

    Prints means over the images, with 95 % confidence intervals. Give --base without --adapter to measure the frozen
    base alone. With --task, --help lists its options.
    """
    from adair_core.evaluation import evaluate

    tile = tile_of(parameters["tile"])
    name, spec = task_named(task, pairs=parameters["pairs"])
    group = group_named("task")
    given = task_parameters(group, parameters)
    config = group.parse(spec.config, given)
    metrics = [plugins().metrics[metric].name for metric in parameters["metrics"]] or None
    images = _images(parameters)
    tune(parameters["threads"])
    loaded = load_model(parameters, task=name, task_options=given)
    say(f"evaluating {loaded.title} on {len(images)} image{'' if len(images) == 1 else 's'}")
    in_tiles = 0

    def restored(image: Tensor) -> Tensor:
        nonlocal in_tiles
        shares: list[float] = []
        result = loaded.model.restore(
            image, tile=tile, precision=parameters["precision"], exact=parameters["exact"], on_share=shares.append
        )
        in_tiles += bool(shares)
        return result

    with steps_shown("evaluating") as shown:
        report = evaluate(
            restored,
            spec.protocol(config),
            images,
            metrics=metrics,
            progress=shown.advance,
        )
    if in_tiles:
        say(
            f"{in_tiles} of {len(report.rows)} restorations were made in tiles; --tile none makes them whole, as "
            f"published numbers are, and needs more memory"
        )
    if out is not None:
        report.to_json(out / "report.json")
        report.to_csv(out / "images.csv")
        say(f"wrote {out / 'report.json'} and {out / 'images.csv'}")
    if as_json:
        click.echo(json.dumps(json.loads(report.to_json()), indent=2))
    else:
        show(report.table())


def _images(parameters: Mapping[str, Any]) -> EvaluationImages:
    from adair_core.data.images import read_image, to_tensor
    from adair_core.data.photos import sample_photo_files
    from adair_core.evaluation import evaluation_images

    data, pairs, limit = parameters["data"], parameters["pairs"], parameters["limit"]
    if data and pairs:
        raise UsageError(expected("data", expected="--data (clean images) or --pairs, not both", got="both"))
    if pairs:
        return evaluation_images(pairs[1], pairs[0], limit=limit)
    if data:
        return evaluation_images(data, limit=limit)
    say("no --data: evaluating on the held-out sample photo of scikit-image")
    return [(file.name, to_tensor(read_image(file))) for file in sample_photo_files(held_out=True)][:limit]
