"""Train, measure and publish the network of `adair diagnose` and of `adair restore --task auto`.

    python tools/train_diagnoser.py train --data IMAGES     run again to go on
    python tools/train_diagnoser.py validate --data IMAGES  on photos that were kept back; choose by this
    python tools/train_diagnoser.py measure --data IMAGES   on the test sets, as docs/diagnosis.md shows it

IMAGES holds the sets that tools/adaptation/tasks.py and tools/diagnosing name.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import click
import torch
from diagnosing.measuring import markdown, measure
from diagnosing.training import TrainingSettings, train
from diagnosing.validating import validate

from adair_core.diagnosis import Diagnoser

OUT = Path("runs/diagnoser")
data_option = click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
name_option = click.option("--diagnoser", "name", default="diagnoser", show_default=True, help="of the zoo, or a file")
out_option = click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)


@click.group(help=__doc__)
def main() -> None:
    """See the module."""


@main.command("train")
@data_option
@out_option
@click.option("--steps", default=TrainingSettings.steps, show_default=True)
@click.option("--threads", default=1, show_default=True)
def train_command(data: Path, out: Path, steps: int, threads: int) -> None:
    """Train and calibrate."""
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    settings = replace(TrainingSettings(), steps=steps)
    diagnoser = train(data, settings, out, say=click.echo)
    diagnoser.save(out / "diagnoser.safetensors", recipe=asdict(settings))
    click.echo(f"wrote {out / 'diagnoser.safetensors'}")


@main.command("validate")
@data_option
@name_option
def validate_command(data: Path, name: str) -> None:
    """Print a table of what it says of photos that were kept back."""
    torch.set_num_threads(1)
    click.echo(markdown(list(validate(Diagnoser.load(name), data))))


@main.command("measure")
@data_option
@name_option
def measure_command(data: Path, name: str) -> None:
    """Print a table of what it says of the test sets."""
    rows = list(measure(Diagnoser.load(name), data))
    click.echo(markdown(rows))


if __name__ == "__main__":
    main()
