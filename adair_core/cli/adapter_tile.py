"""``adair adapters tile``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import rich_click

from adair_core.cli.choices import PAIRS
from adair_core.cli.command import Command
from adair_core.cli.data import pairs_option, refuse_both
from adair_core.cli.models import base_for, read_trained
from adair_core.cli.output import print_json, print_table, say, steps_shown
from adair_core.cli.process import threads_option, tune
from adair_core.errors import DataError, UsageError, expected
from adair_core.plugins import parse_config, plugins

if TYPE_CHECKING:
    from adair_core.evaluation import EvaluationImages
    from adair_core.model import AdapterCard
    from adair_core.model.adapter_files import AdapterFile
    from adair_core.specs import Protocol

_OTHER_IMAGES = "give images that it did not train on with --data or --pairs"


@rich_click.command(
    "tile",
    cls=Command,
    examples=[
        "adapters tile runs/denoise-lora/denoise",
        "adapters tile runs/denoise-lora/denoise --data photos/ --limit 20",
        "adapters tile runs/derain-lora/derain --pairs rainy/ clean/ --dry-run",
        "adapters tile runs/dehaze-lora/dehaze --set none",
    ],
)
@rich_click.argument("folder", type=click.Path(path_type=Path))
@rich_click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="folder of clean images, which it did not train on [default: what its training held out]",
)
@pairs_option
@rich_click.option(
    "--limit", type=click.IntRange(min=1), default=16, metavar="N", help="only the first N images [default: 16]"
)
@rich_click.option("--set", "given", metavar="N|none", help="this side, without measuring")
@rich_click.option("--dry-run", is_flag=True, help="change nothing")
@rich_click.option("--base", metavar="NAME|FILE", help="base [default: as the adapter calls it]")
@rich_click.option("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps [default: auto]")
@threads_option
@rich_click.option("--json", "as_json", is_flag=True, help="print JSON")
def tile(folder: Path, dry_run: bool, as_json: bool, **parameters: Any) -> None:
    """Find the tiles in which an adapter restores best, and write them into its card.

    Images are restored whole and in tiles of 192 and 128 pixels. The fastest way of those within 0.04 dB of the best
    PSNR is what 'adair restore' and 'adair evaluate' then do where nobody gives --tile. Images larger than 768 pixels
    are cut to their middle. Nothing else in the folder changes.
    """
    from adair_core.model.adapter_card import tiles_title
    from adair_core.model.adapter_files import write_suited_tile

    given = _given(parameters)
    file = read_trained(str(folder))
    _require_own(file, folder, dry_run=dry_run)
    side, psnr = (given[0], {}) if given else _measured(file, parameters)
    if not dry_run and side != file.card.tile:
        write_suited_tile(file, side)
    if as_json:
        print_json({"tile": side, "before": file.card.tile, "psnr": {str(each).lower(): psnr[each] for each in psnr}})
    elif psnr:
        print_table(("tiles", "PSNR, dB"), [(tiles_title(each), f"{value:.3f}") for each, value in psnr.items()])
    if dry_run:
        say(f"{folder}: {tiles_title(side)} would suit it; its card says {tiles_title(file.card.tile)}")
    else:
        say(f"{folder}: its card says {tiles_title(side)} now, and {tiles_title(file.card.tile)} before")


def _given(parameters: dict[str, Any]) -> list[int | None]:
    """Read ``--set``: one side, or nothing if it was not given."""
    from adair_core.model.adapter_card import check_suited_tile

    text = parameters["given"]
    if text is None:
        return []
    if parameters["data"] or parameters["pairs"]:
        raise UsageError("--set measures nothing: leave --data and --pairs out")
    if text == "none":
        return [None]
    if not text.isdecimal():
        raise UsageError(expected("--set", expected="none or a number of pixels", got=repr(text)))
    check_suited_tile(int(text))
    return [int(text)]


def _require_own(file: AdapterFile, folder: Path, *, dry_run: bool) -> None:
    if file.choice is None:
        raise UsageError(
            f"{folder}: it is PEFT's, which has no card; load it with accept_unknown_base=True and save it with "
            f"save_adapter first"
        )
    of_packages = {spec.path.resolve() for spec in plugins().weights.values()}
    if file.folder.resolve() in of_packages and not dry_run:
        raise UsageError(f"{folder}: is of the zoo, which stays as it is; give --dry-run, or a folder of your own")


def _measured(file: AdapterFile, parameters: dict[str, Any]) -> tuple[int | None, dict[int | None, float]]:
    from adair_core.evaluation.cells import plural
    from adair_core.evaluation.tile_choice import choose_tile
    from adair_core.model import load
    from adair_core.training.processes import Processes

    protocol, images = _images(file.card, parameters)
    images = images[: parameters["limit"]]
    tune(parameters["threads"])
    model = load(base_for(parameters["base"], file))
    model.load_adapter(file.folder, name="adapter")
    model.to(Processes(parameters["device"]).device)
    say(f"restoring {plural(len(images), 'image')} whole and in tiles")
    with steps_shown("measuring") as shown:
        choice = choose_tile(model, protocol, images, progress=shown.advance)
    return choice.side, dict(choice.psnr)


def _images(card: AdapterCard, parameters: dict[str, Any]) -> tuple[Protocol, EvaluationImages]:
    from adair_core.evaluation import evaluation_images
    from adair_core.evaluation.tile_choice import LARGEST
    from adair_core.training.adapter_training import held_out
    from adair_core.training.recipe import AdapterRecipe

    data, pairs = parameters["data"], parameters["pairs"]
    refuse_both(data, pairs)
    if pairs:
        return _protocol(card, pairs=True), evaluation_images(pairs[1], pairs[0])
    if card.task is None or card.recipe is None:
        raise UsageError("the card does not say for which task the adapter was trained; give --pairs, or --set N|none")
    if data:
        return _protocol(card, pairs=False), evaluation_images(data)
    try:
        return held_out(parse_config(AdapterRecipe, card.recipe, what="recipe of the card"), side=LARGEST)
    except DataError as error:
        raise DataError(f"what its training held out cannot be read ({error}); {_OTHER_IMAGES}") from error


def _protocol(card: AdapterCard, *, pairs: bool) -> Protocol:
    """How the adapter's task judges real pairs, or clean images that it degrades."""
    name = card.task if card.task is not None else PAIRS
    task = plugins().task(name)
    options = dict(card.task_options)
    if "pairs" in task.config.model_fields:
        options["pairs"] = pairs
    elif pairs:
        task, options = plugins().task(PAIRS), {}
    elif name == PAIRS:
        raise UsageError("the adapter was trained on real pairs alone; give --pairs INPUT TARGET")
    return task.protocol(parse_config(task.config, options, what=f"task {name!r}"))
