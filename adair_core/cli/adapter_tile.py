"""``adair adapters tile``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import rich_click

from adair_core.cli.command import Command
from adair_core.cli.models import base_for, read_trained, tile_of
from adair_core.cli.output import print_json, print_table, say, steps_shown
from adair_core.cli.process import threads_option, tune
from adair_core.errors import UsageError, expected
from adair_core.plugins import parse_config, plugins

if TYPE_CHECKING:
    from adair_core.evaluation import EvaluationImages
    from adair_core.model import AdapterCard, RestorationModel
    from adair_core.specs import Protocol


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
    help="folder of clean images, which it did not train on [default: those that its training held out]",
)
@rich_click.option(
    "--pairs",
    nargs=2,
    type=click.Path(path_type=Path),
    metavar="INPUT TARGET",
    help="folders of real pairs, which it did not train on",
)
@rich_click.option(
    "--limit", type=click.IntRange(min=1), default=16, metavar="N", help="only the first N images [default: 16]"
)
@rich_click.option("--set", "given", metavar="N|none", help="this side, without measuring")
@rich_click.option("--dry-run", is_flag=True, help="change nothing")
@rich_click.option("--base", metavar="NAME|FILE", help="base [default: as the adapter calls it]")
@rich_click.option("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps [default: auto]")
@threads_option
@rich_click.option("--json", "as_json", is_flag=True, help="print JSON")
def tile(folder: Path, as_json: bool, **parameters: Any) -> None:
    """Find the tiles in which an adapter restores best, and write them into its card.

    Images are restored whole and in tiles of 192 and 128 pixels. The fastest way of those within 0.04 dB of the best
    PSNR is what 'adair restore' and 'adair evaluate' then do where nobody gives --tile. Images larger than 768 pixels
    are cut to their middle.
    """
    from adair_core.model import load
    from adair_core.model.weights_file import storage_type
    from adair_core.training.processes import Processes

    file = read_trained(str(folder))
    if file.choice is None:
        raise UsageError(
            f"{folder}: it is PEFT's, which has no card; load it with accept_unknown_base=True and save it with "
            f"save_adapter first"
        )
    if file.folder.resolve() != folder.resolve() and not parameters["dry_run"]:
        raise UsageError(f"{folder}: is of the zoo, which stays as it is; give --dry-run, or a folder")
    tune(parameters["threads"])
    model = load(base_for(parameters["base"], file))
    name = model.load_adapter(file.folder, name="adapter")
    model.to(Processes(parameters["device"]).device)
    if parameters["given"] is None:
        side, psnr = _measured(model, file.card, parameters)
    else:
        side, psnr = _given(parameters["given"], parameters), {}
    if as_json:
        print_json({"tile": side, "before": file.card.tile, "psnr": {str(each).lower(): psnr[each] for each in psnr}})
    elif psnr:
        print_table(("tiles", "PSNR, dB"), [(_title(each), f"{value:.3f}") for each, value in psnr.items()])
    if parameters["dry_run"]:
        say(f"{folder}: {_title(side)} would suit it; its card says {_title(file.card.tile)}")
    else:
        card = replace(file.card, tile=side)
        model.save_adapter(name, file.folder, card=card, dtype=storage_type(file.tensors))
        say(f"{folder}: its card says {_title(side)} now")


def _measured(
    model: RestorationModel, card: AdapterCard, parameters: dict[str, Any]
) -> tuple[int | None, dict[int | None, float]]:
    from adair_core.evaluation.cells import plural
    from adair_core.evaluation.tile_choice import choose_tile

    protocol, images = _images(card, parameters)
    images = images[: parameters["limit"]]
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
    if data and pairs:
        raise UsageError(expected("data", expected="--data (clean images) or --pairs, not both", got="both"))
    if card.task is None or card.recipe is None:
        raise UsageError("the card does not say for which task the adapter was trained; give --set N|none")
    if not data and not pairs:
        recipe = parse_config(AdapterRecipe, card.recipe, what="recipe of the card")
        return held_out(recipe, side=LARGEST)
    task = plugins().task(card.task)
    protocol = task.protocol(parse_config(task.config, card.task_options, what=f"task {card.task!r}"))
    return protocol, evaluation_images(pairs[1], pairs[0]) if pairs else evaluation_images(data)


def _given(text: str, parameters: dict[str, Any]) -> int | None:
    if parameters["data"] or parameters["pairs"]:
        raise UsageError("--set measures nothing: leave --data and --pairs out")
    side = tile_of(text)
    if side == "auto":
        raise UsageError(expected("--set", expected="none or a number of pixels", got=repr(text)))
    return side


def _title(side: int | None) -> str:
    return "whole images" if side is None else f"tiles of {side} pixels"
