"""``adair restore``: image and video files in, restored ones out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
import rich_click

from adair_core.cli.command import Command
from adair_core.cli.engines import RAY, Request, check_engine, engine_options, restore_on_cluster
from adair_core.cli.models import model_options, tile_of
from adair_core.cli.options import Group
from adair_core.cli.output import duration, in_one_line, print_json, say, steps_shown
from adair_core.cli.process import threads_option, tune
from adair_core.cli.sequences import AUTO, options_of_tasks, strengths, task_groups, task_names
from adair_core.errors import UsageError, expected, listing

if TYPE_CHECKING:
    from adair_core.data.encoding import Quality
    from adair_core.inference import FileResult, Job, Settings


def _groups(typed: Mapping[str, Any]) -> list[Group]:
    return task_groups(_tasks(typed.get("task")))


@rich_click.command(
    "restore",
    cls=Command,
    groups=_groups,
    examples=[
        "restore photo.jpg --adapter runs/denoise-lora/denoise",
        "restore scans/ 'shots/**/*.tif' -o restored/ --adapter runs/denoise-lora/denoise --strength 0.8",
        "restore small.png --task super-resolve --scale 3 -o large.png",
        "restore old.jpg --task dejpeg,super-resolve --strength 0.7,1 -o better.png",
        "restore scans/ -o restored/ --task auto",
        "restore face.png --task denoise --strength-map background.png",
        "restore archive/ -o restored/ --task denoise --engine ray --ray-address head:6379",
        "restore clip.mp4 --task denoise --codec libx265 --crf 18",
        "restore --files-from list.txt -o restored/ --task denoise --skip-existing",
    ],
)
@rich_click.argument("inputs", metavar="[IN...]", nargs=-1)
@rich_click.option("--files-from", metavar="FILE", help="restore what a file lists, a name a line; - is standard input")
@rich_click.option(
    "--task",
    metavar="NAME[,NAME...]|auto",
    help="what to restore; chooses the zoo's adapter for it; derain,denoise: one after the other; auto: what each "
    "image needs, by its diagnosis",
)
@model_options
@rich_click.option("--out", "-o", metavar="PATH", help="folder, or file name for one image [default: IN.restored.*]")
@rich_click.option(
    "--strength", metavar="X", default="1", help="0 = the input, 1 = restored; X,X,...: of each --task [default: 1]"
)
@rich_click.option(
    "--strength-map",
    metavar="PATH",
    help="gray image, or folder of one for each input: white restores, black keeps the input, gray mixes",
)
@rich_click.option("--resize-strength-map", is_flag=True, help="stretch a strength map of another size over its image")
@rich_click.option(
    "--scale", type=rich_click.IntRange(min=1), metavar="N", help="enlarge N times first (super-resolution)"
)
@rich_click.option(
    "--page", type=rich_click.IntRange(min=1), metavar="N", help="only this page of a TIFF, from 1 on [default: all]"
)
@rich_click.option("--suffix", metavar=".EXT", help="another image format, such as .png")
@rich_click.option(
    "--quality",
    metavar="N|keep",
    help="1 to 100, for JPEG, WebP and AVIF; keep: a JPEG's own tables [default: 95, lossless stays lossless]",
)
@rich_click.option(
    "--subsampling",
    type=click.Choice(["4:4:4", "4:2:2", "4:2:0"]),
    help="of colour in JPEGs and videos [default: as in the input]",
)
@rich_click.option("--white", type=float, default=1.0, metavar="X", help="value of white in float images [default: 1]")
@rich_click.option("--codec", metavar="NAME", help="ffmpeg's encoder for videos [default: for the input's codec]")
@rich_click.option("--crf", type=float, metavar="X", help="rate factor for videos, lower is better [default: 17]")
@rich_click.option("--overwrite", is_flag=True, help="replace results that exist already; never an input")
@rich_click.option("--skip-existing", is_flag=True, help="leave files alone whose result exists already")
@rich_click.option("--fail-fast", is_flag=True, help="stop at the first file that fails")
@engine_options
@threads_option
@rich_click.option("--json", "as_json", is_flag=True, help="print what became of each file as JSON")
def command(inputs: Sequence[str], task: str | None, as_json: bool, **parameters: Any) -> None:
    """Restore images and videos: files, folders, patterns, and lists (@LIST).

    No ground truth is needed. Size, gray or colour, 8 or 16 bits, alpha, colour profile, EXIF data and so on are kept;
    what cannot be is said. Folders are searched for images in all their subfolders; videos are named. Exits with 1 if a
    file failed. After Ctrl-C, or a crash, the same command with --skip-existing goes on.
    """
    from adair_core.inference import left_out, plan, restore_files

    tasks = _tasks(task)
    options = options_of_tasks(tasks, parameters)
    check_engine(parameters)
    names = [*inputs, *([] if parameters["files_from"] is None else [f"@{parameters['files_from']}"])]
    settings = _settings(parameters, tasks)
    # wrong names are told before the weights
    jobs = plan(names, parameters["out"], suffix=parameters["suffix"], strength_map=parameters["strength_map"])
    if any(job.is_video for job in jobs):
        require_video()
    for text in _of_no_use(parameters, jobs):
        say(text)
    tune(parameters["threads"])
    request = Request(parameters, task, tasks, options, settings)
    loaded, choose = request.load()
    settings = replace(settings, steps=loaded.steps)
    say(f"restoring with {loaded.title}")
    others = left_out(names)
    if others:
        say(f"left out, as they are no images or videos that are not named: {in_one_line(listing(others))}")
    tally = Tally(len(jobs))
    try:
        with steps_shown("restoring") as shown:

            def tell(result: FileResult, done: int, total: int) -> None:
                tally.add(result)
                shown.say(tally.line(result))
                shown.advance(done, total)

            if parameters["engine"] == RAY:
                results = restore_on_cluster(request, settings, jobs, tell, chooses=choose is not None)
            else:
                results = restore_files(
                    loaded.model,
                    jobs,
                    settings,
                    choose=choose,
                    on_result=tell,
                    on_share=lambda share: shown.advance(tally.done + share, len(jobs)),
                )
    finally:
        if len(jobs) > 1:
            say(tally.summary())
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
    if len(results) < len(jobs):
        say(f"{len(jobs) - len(results)} were not tried; the same command with --skip-existing goes on")
    if tally.failed:
        click.get_current_context().exit(1)


class Tally:
    """What was done so far, and how long the rest will take.

    Args:
        total: files.
    """

    def __init__(self, total: int) -> None:
        self.total, self.restored, self.left_alone, self.skipped, self.failed = total, 0, 0, 0, 0
        self._start = time.monotonic()

    @property
    def done(self) -> int:
        """Files that are finished."""
        return self.restored + self.left_alone + self.skipped + self.failed

    def add(self, result: FileResult) -> None:
        """Count a file."""
        self.restored += result.status == "restored"
        self.left_alone += result.status == "left alone"
        self.skipped += result.status == "skipped"
        self.failed += result.status == "failed"

    def line(self, result: FileResult) -> str:
        """Say what became of a file, and of many, how far they are."""
        if result.status == "failed":
            text = f"error: {result.message}"
        elif result.status == "left alone":
            text = f"left alone: {result.source} ({result.message})"
        else:
            text = f"{result.status}: {result.output}{f' ({result.message})' if result.message else ''}"
        text = in_one_line(text)
        if self.total == 1:
            return text
        counted = f"[{self.done} of {self.total}"
        worked = self.restored + self.left_alone + self.failed  # skipping takes no time
        if result.status != "skipped" and self.done < self.total:
            left = (time.monotonic() - self._start) / worked * (self.total - self.done)
            counted += f", about {duration(left)} left"
        return f"{counted}] {text}"

    def summary(self) -> str:
        """Say how it ended."""
        counts = [
            f"{count} {word}"
            for count, word in (
                (self.restored, "restored"),
                (self.left_alone, "left alone"),
                (self.skipped, "skipped"),
                (self.failed, "failed"),
            )
            if count or word == "restored"
        ]
        return f"{', '.join(counts)} of {self.total} in {duration(time.monotonic() - self._start)}"


def require_video() -> None:
    """Check that videos can be read before anything is restored.

    Raises:
        UsageError: PyAV is not installed.
    """
    from adair_core.inference.video import import_av

    import_av()


def _of_no_use(parameters: Mapping[str, Any], jobs: Sequence[Job]) -> Iterator[str]:
    """Tell which options about the results' files none of them can have."""
    from adair_core.data.image_file import SUFFIXES

    kinds = {"video" if job.is_video else SUFFIXES.get(job.output.suffix.lower()) for job in jobs}
    for option, having in {
        "quality": ("jpeg", "webp", "avif"),
        "subsampling": ("jpeg", "video"),
        "codec": ("video",),
        "crf": ("video",),
    }.items():
        if parameters[option] is not None and kinds.isdisjoint(having):
            yield f"--{option} changes nothing: no result is a {' or '.join(having)} file"


def _settings(parameters: Mapping[str, Any], tasks: Sequence[str]) -> Settings:
    from adair_core.data.encoding import Coding
    from adair_core.inference import Settings, Step, VideoCoding

    if parameters["resize_strength_map"] and parameters["strength_map"] is None:
        raise UsageError("--resize-strength-map: there is no --strength-map to resize")
    return Settings(
        steps=tuple(Step(strength=value) for value in strengths(parameters["strength"], tasks)),
        tile=tile_of(parameters["tile"]),
        precision=parameters["precision"],
        exact=parameters["exact"],
        ensemble=parameters["self_ensemble"],
        graphs=not parameters["no_graphs"],
        white=parameters["white"],
        page=parameters["page"],
        resize_map=parameters["resize_strength_map"],
        coding=Coding(quality=_quality(parameters["quality"]), subsampling=parameters["subsampling"]),
        video=VideoCoding(codec=parameters["codec"], crf=parameters["crf"], subsampling=parameters["subsampling"]),
        overwrite=parameters["overwrite"],
        skip_existing=parameters["skip_existing"],
        fail_fast=parameters["fail_fast"],
    )


def _quality(text: str | None) -> Quality:
    if text is None:
        return None
    if text == "keep":
        return "keep"
    try:
        return int(text)
    except ValueError:
        raise UsageError(expected("--quality", expected="1 to 100 or 'keep'", got=repr(text))) from None


def _tasks(text: str | None) -> tuple[str, ...]:
    """The tasks that were named; none for ``auto``, which finds them out."""
    return () if text == AUTO else task_names(text)
