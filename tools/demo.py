"""The main job end to end: train a deblurring adapter on a frozen base, then restore a photo that it has not seen.

Runs ``adair train --adapter lora --task deblur`` on the sample photos that come with scikit-image, blurs a held-out one
with a Gaussian of 2 pixels and restores it, with the base alone and with the adapter. Every run gets a folder of its
own, with preview.png, curves.png and summary.json.

The run draws its validation curve on that photo, too. That chooses nothing: the adapter is the average of the weights
at the last step, whatever the validations say, and nothing of the photo enters training.
"""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from torch import Tensor

import adair_core as adair
from adair_core.cli.program import run
from adair_core.cli.recipes import new_run
from adair_core.data.images import read_image, to_tensor
from adair_core.data.photos import sample_photo_files
from adair_core.data.seeds import generator
from adair_core.training.figures import Panel, draw_panels

BASE = "restormer-tiny"
SIGMA = 2
RATE = 0.01
"""With Muon: docs/base.md, "What keeps LoRA behind full fine-tuning"."""


@dataclass(frozen=True)
class Comparison:
    """The held-out photo: clean, blurred, and restored with the base alone and with the adapter; ``(1, 3, H, W)``."""

    clean: Tensor
    blurred: Tensor
    base: Tensor
    adapted: Tensor

    def psnr(self) -> dict[str, float]:
        """PSNR in dB of the blurred photo and of both restorations, clipped to [0, 1]."""
        metric = adair.plugins().metrics["psnr"].build()
        images = {"blurred": self.blurred, "base": self.base, "adapted": self.adapted}
        return {name: metric(image.clamp(0, 1), self.clean) for name, image in images.items()}


def restore_held_out(adapter: Path, photo: Path) -> Comparison:
    """Blur a photo, and restore it with and without an adapter.

    Args:
        adapter: folder of the adapter.
        photo: the clean photo.
    """
    clean = to_tensor(read_image(photo))
    options = {"sigma": SIGMA, "ratio": 1, "stored": 1}
    blur = adair.plugins().degradation(adair.Choice(name="gaussian-blur", options=options))
    blurred = blur(clean, generator("demo"))
    model = adair.load(BASE)
    with torch.no_grad():
        base = model(blurred)
        model.load_adapter(str(adapter))
        adapted = model(blurred)
    return Comparison(clean=clean, blurred=blurred, base=base, adapted=adapted)


@click.command(help=__doc__)
@click.option("--steps", default=240, show_default=True, help="training steps")
@click.option("--out", type=click.Path(path_type=Path), help="run folder [default: a new runs/demo, runs/demo-2, ...]")
def main(steps: int, out: Path | None) -> None:
    """Train, restore, compare."""
    begun = time.perf_counter()
    folder = out or new_run("demo")
    task = f"--adapter lora --task deblur --task.kind gaussian --task.sigma {SIGMA}"
    training = f"--optimizer muon --learning-rate {RATE} --steps {steps} --validate-every {steps // 3}"
    command = f"train {task} {training} --out {folder}"
    click.echo(f"$ adair {command}")
    code = run(shlex.split(command))
    if code:
        raise SystemExit(code)
    (photo,) = sample_photo_files(held_out=True)
    comparison = restore_held_out(folder / "deblur", photo)
    psnr = comparison.psnr()
    panels = [
        Panel("blurred", comparison.blurred, f"{psnr['blurred']:.2f} dB"),
        Panel("restored", comparison.adapted, f"{psnr['adapted']:.2f} dB"),
        Panel("clean", comparison.clean),
    ]
    preview, summary = folder / "preview.png", folder / "summary.json"
    draw_panels(preview, panels)
    seconds = time.perf_counter() - begun
    summary.write_text(json.dumps({**psnr, "seconds": round(seconds, 1)}, indent=2) + "\n", encoding="utf-8")
    click.echo(f"\n{photo.name}, never trained on, blurred by a Gaussian of {SIGMA} pixels:")
    click.echo(f"  blurred             {psnr['blurred']:6.2f} dB PSNR")
    click.echo(f"  frozen base alone   {psnr['base']:6.2f} dB")
    click.echo(f"  base + adapter      {psnr['adapted']:6.2f} dB")
    click.echo(f"\nlook at  {preview}    blurred | restored | clean")
    click.echo(f"         {folder / 'curves.png'}     loss, learning rate, validation PSNR")
    click.echo(f"numbers  {summary}   ({seconds:.0f} s in all)")


if __name__ == "__main__":
    main()
