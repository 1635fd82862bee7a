"""``adair restore``: image files in, restored image files out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import rich_click

from adair_core.cli.command import Command
from adair_core.cli.models import Loaded, load_model, model_options, tile_of
from adair_core.cli.output import print_json, say, steps_shown
from adair_core.cli.process import threads_option, tune
from adair_core.errors import UsageError, expected
from adair_core.plugins import plugins

if TYPE_CHECKING:
    from adair_core.inference import FileResult


@rich_click.command(
    "restore",
    cls=Command,
    examples=[
        "restore photo.jpg --adapter runs/denoise-lora/denoise",
        "restore scans/ 'shots/*.tif' -o restored/ --adapter runs/denoise-lora/denoise --strength 0.8",
        "restore small.png --adapter runs/super-resolve-lora/super-resolve --scale 2 -o large.png",
    ],
)
@rich_click.argument("inputs", metavar="IN...", nargs=-1, required=True)
@rich_click.option("--task", metavar="NAME", help="what to restore; chooses the zoo's adapter for it")
@model_options
@rich_click.option("--out", "-o", metavar="PATH", help="folder, or file name for one image [default: IN.restored.*]")
@rich_click.option("--strength", type=float, default=1.0, help="0 = the input, 1 = restored [default: 1]")
@rich_click.option("--scale", type=int, metavar="N", help="enlarge N times first (super-resolution)")
@rich_click.option("--suffix", metavar=".EXT", help="another image format, such as .png")
@rich_click.option("--quality", type=int, metavar="N", help="1 to 100, for JPEG and WebP")
@rich_click.option("--overwrite", is_flag=True, help="replace results that exist already; never an input")
@rich_click.option("--skip-existing", is_flag=True, help="leave images alone whose result exists already")
@threads_option
@rich_click.option("--json", "as_json", is_flag=True, help="print what became of each file as JSON")
def command(inputs: Sequence[str], task: str | None, as_json: bool, **parameters: Any) -> None:
    """Restore image files, folders or patterns.

    No ground truth is needed. Size, gray or colour, 8 or 16 bits, alpha, colour profile and EXIF data (not in
    TIFF) are kept. Exits with 1 if a file failed.
    """
    from adair_core.inference import plan, restore_files

    tile = tile_of(parameters["tile"])
    if task is not None:
        plugins().task(task)
    count = len(plan(inputs, parameters["out"], suffix=parameters["suffix"]))  # wrong names are told before the weights
    tune(parameters["threads"])
    loaded = load_model(parameters, task=task)
    say(f"restoring with {loaded.title}")
    finished = 0
    with steps_shown("restoring") as shown:

        def tell(result: FileResult, done: int, total: int) -> None:
            nonlocal finished
            finished = done
            shown.advance(done, total)
            if result.status == "failed":
                shown.say(f"error: {result.message}")
            else:
                shown.say(f"{result.status}: {result.output}{f' ({result.message})' if result.message else ''}")

        results = restore_files(
            loaded.model,
            inputs,
            parameters["out"],
            strength=parameters["strength"],
            tile=tile,
            precision=parameters["precision"],
            exact=parameters["exact"],
            scale=_scale(parameters["scale"], task, loaded),
            suffix=parameters["suffix"],
            quality=parameters["quality"],
            overwrite=parameters["overwrite"],
            skip_existing=parameters["skip_existing"],
            on_result=tell,
            on_share=lambda share: shown.advance(finished + share, count),
        )
    failed = [result for result in results if result.status == "failed"]
    if as_json:
        print_json(
            [
                {
                    "source": str(result.source),
                    "output": str(result.output),
                    "status": result.status,
                    "message": result.message,
                    "seconds": result.seconds,
                }
                for result in results
            ]
        )
    if failed and len(results) > 1:
        say(f"{len(failed)} of {len(results)} images failed")
    if failed:
        click.get_current_context().exit(1)


def _scale(given: int | None, task: str | None, loaded: Loaded) -> int:
    """The scale of ``--scale``, of the adapter's own training, or of the task's default."""
    task = task or loaded.task
    if task is None or task not in plugins().tasks:
        return given or 1
    field = plugins().tasks[task].config.model_fields.get("scale")
    if field is None:
        if given is not None:
            hint = "it is for super-resolve"
            raise UsageError(expected("--scale", expected="a task that enlarges", got=f"task {task!r}", hint=hint))
        return 1
    trained = loaded.task_options.get("scale") if loaded.task == task else None
    return given or int(trained or field.default)
