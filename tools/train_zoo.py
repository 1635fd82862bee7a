"""Train, measure and publish the base and the adapters that come with the package.

    python tools/train_zoo.py base --data IMAGES [--publish]        the base: hours; run again to go on
    python tools/train_zoo.py run --data IMAGES [--entry denoise]   train and measure; run again to go on
    python tools/train_zoo.py measure --data IMAGES [--entry denoise]   only measure what is published, anew
    python tools/train_zoo.py publish                               into plugins/zoo, with their cards
    python tools/train_zoo.py classical --study runs/study          docs/classical.json, what tools/study.py measured
    python tools/train_zoo.py page                                  docs/zoo.md, from the cards and that file

IMAGES holds the sets that tools/adaptation/tasks.py names. Every run is in its folder below --out.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
from adaptation.base import make_base, publish_base
from adaptation.baselines import summaries
from adaptation.runs import Place
from adaptation.zoo import ENTRIES, make, measure, publish
from adaptation.zoo_page import page

import adair_core as adair
from adair_core.atomic_file import write_atomically
from adair_core.cli.choices import DEFAULT_BASE

PACKAGE = Path(__file__).parents[1] / "plugins" / "zoo"
DOCS = Path(__file__).parents[1] / "docs"
PAGE, CLASSICAL = DOCS / "zoo.md", DOCS / "classical.json"
OUT = Path("runs/zoo")

entries_option = click.option(
    "--entry", "names", multiple=True, type=click.Choice(sorted(ENTRIES)), help="only these [default: all]"
)
data_option = click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
package_option = click.option("--package", type=click.Path(path_type=Path), default=PACKAGE, show_default=True)
threads_option = click.option("--threads", default=int(os.environ.get("OMP_NUM_THREADS", "1")), show_default=True)
out_option = click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)


@click.group(help=__doc__)
def main() -> None:
    """See the module."""


@main.command("base")
@data_option
@out_option
@threads_option
@click.option("--publish", "published", is_flag=True, help="put it into the package")
@package_option
def base(data: Path, out: Path, threads: int, published: bool, package: Path) -> None:
    """Train the base that the adapters are for."""
    place = Place(data.absolute(), out.absolute(), threads)
    made = make_base(place)
    click.echo(made)
    if published:
        click.echo(publish_base(made, package) or "unchanged")


@main.command("run")
@data_option
@out_option
@click.option("--base", default=DEFAULT_BASE, show_default=True)
@entries_option
@threads_option
def run(data: Path, out: Path, base: str, names: tuple[str, ...], threads: int) -> None:
    """Train and measure what is not done yet."""
    place = Place(data.absolute(), out.absolute(), threads)
    base = adair.load(base).info.name
    for name in names or ENTRIES:
        click.echo(f"{name}: {make(ENTRIES[name], place, base)}")


@main.command("measure")
@data_option
@out_option
@click.option("--base", default=DEFAULT_BASE, show_default=True)
@entries_option
@threads_option
@package_option
def measure_anew(data: Path, out: Path, base: str, names: tuple[str, ...], threads: int, package: Path) -> None:
    """Measure what is published, such as after a change of how images are restored."""
    place = Place(data.absolute(), out.absolute(), threads)
    base = adair.load(base).info.name
    for name in names or ENTRIES:
        click.echo(f"{name}: {measure(ENTRIES[name], place, base, package)}")


@main.command("publish")
@out_option
@entries_option
@package_option
def publish_all(out: Path, names: tuple[str, ...], package: Path) -> None:
    """Put what was made into the package."""
    place = Place(Path(), out.absolute(), 1)
    for name in names or ENTRIES:
        published = publish(ENTRIES[name], place, package)
        click.echo(f"{name}: {published or 'unchanged'}")


@main.command("classical")
@click.option("--study", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--out", type=click.Path(path_type=Path), default=CLASSICAL, show_default=True)
def write_classical(study: Path, out: Path) -> None:
    """Keep what classical methods reach, measured by ``tools/study.py run``, for the page."""
    write_atomically(out, (json.dumps(summaries(study), indent=1) + "\n").encode())


@main.command("page")
@package_option
@click.option("--out", type=click.Path(path_type=Path), default=PAGE, show_default=True)
@click.option("--classical", type=click.Path(path_type=Path), default=CLASSICAL, show_default=True)
def write_page(package: Path, out: Path, classical: Path) -> None:
    """Write docs/zoo.md from the cards of what was published."""
    methods = json.loads(classical.read_text(encoding="utf-8")) if classical.exists() else []
    write_atomically(out, page(package, methods).encode())


if __name__ == "__main__":
    main()
