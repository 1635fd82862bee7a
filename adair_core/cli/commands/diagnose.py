"""``adair diagnose``: what is wrong with images, and which task would help."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import rich_click

from adair_core.cli.command import Command
from adair_core.cli.output import in_one_line, print_json, print_table, say
from adair_core.cli.process import threads_option, tune
from adair_core.errors import DataError

if TYPE_CHECKING:
    from adair_core.diagnosis import Diagnosis


@rich_click.command(
    "diagnose",
    cls=Command,
    examples=["diagnose photo.jpg", "diagnose scans/ 'shots/**/*.tif'", "diagnose scans/ --json"],
)
@rich_click.argument("inputs", metavar="IN...", nargs=-1, required=True)
@rich_click.option("--diagnoser", "name", default="diagnoser", metavar="NAME|FILE", help="of the zoo, or a file")
@rich_click.option("--white", type=float, default=1.0, metavar="X", help="value of white in float images [default: 1]")
@threads_option
@rich_click.option("--json", "as_json", is_flag=True, help="print all probabilities as JSON")
def command(inputs: Sequence[str], name: str, white: float, threads: int | None, as_json: bool) -> None:
    """Tell what is wrong with images: files, folders, patterns, and lists (@LIST).

    It says which task would help ('adair restore --task auto' takes it at its word), how bad it is, and the expected
    PSNR against the undamaged original; or that an image is best left alone, or unlike everything that it has learned.
    How often it is right is in docs/diagnosis.md. Exits with 1 if a file cannot be read.
    """
    from adair_core.diagnosis import Diagnoser
    from adair_core.inference.diagnosing import diagnose_file
    from adair_core.inference.highlights import check_white
    from adair_core.inference.outputs import images_of

    check_white(white, name="--white")
    files = images_of(inputs)
    tune(threads)
    diagnoser = Diagnoser.load(name)
    found: list[tuple[Path, list[Diagnosis]]] = []
    failed = 0
    for file in files:
        try:
            found.append((file, diagnose_file(diagnoser, file, white=white)))
        except DataError as error:
            say(f"error: {in_one_line(str(error))}")
            failed += 1
    if as_json:
        print_json([_as_json(file, page, of_page) for file, pages in found for page, of_page in enumerate(pages, 1)])
    elif found:
        print_table(
            ("image", "finding", "expected PSNR", "restore with"),
            [
                (
                    in_one_line(str(file) if len(pages) == 1 else f"{file}, page {page}"),
                    of_page,
                    f"{of_page.psnr:.0f} dB",
                    task_words(of_page),
                )
                for file, pages in found
                for page, of_page in enumerate(pages, 1)
            ],
        )
    if failed:
        click.get_current_context().exit(1)


def task_words(diagnosis: Diagnosis) -> str:
    """``--task deblur --task.kind motion``, or nothing."""
    if diagnosis.verdict != "wrong":
        return ""
    finding = diagnosis.finding
    options = (f"--task.{name} {json.dumps(value).strip(chr(34))}" for name, value in finding.options.items())
    return " ".join([f"--task {finding.task}", *options])


def _as_json(file: Path, page: int, diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "image": str(file),
        "page": page,
        "verdict": diagnosis.verdict,
        "finding": diagnosis.finding.name,
        "task": diagnosis.finding.task,
        "options": dict(diagnosis.finding.options),
        "confidence": diagnosis.confidence,
        "severity": diagnosis.severity,
        "expected_psnr": diagnosis.psnr,
        "strangeness": diagnosis.strangeness,
        "probabilities": dict(diagnosis.scores),
    }
