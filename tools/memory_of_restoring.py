"""Measure how much memory a large image takes to restore, and hold it to a limit.

    python tools/memory_of_restoring.py --megapixels 400                       one convolution, some minutes
    python tools/memory_of_restoring.py --megapixels 12 --base restormer-tiny  a real network, on one core a while

Writes a TIFF of that size by rows, restores it as `adair restore` does in a process of its own, reads the result by
rows, and prints what it took as JSON and as a line for docs/restore.md. Exits with 1 where the peak of resident memory
is above the limit, or where the result is not what it should be.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn

import adair_core as adair
from adair_core.data.images import ImageInfo, Storage, open_image, writing_rows
from adair_core.inference import Settings, plan, restore_files
from adair_core.model import BaseInfo, RestorationModel
from adair_core.specs import Choice

LIMITS = {"convolution": 3.0, "base": 3.5}
ROWS = 256
"""Rows that are made and compared at once."""

PERIOD = 521
"""Pixels after which the picture repeats."""

CENTRE, BESIDE = 0.6, 0.05
"""The convolution's taps: of a pixel and of its eight neighbours."""


class OneConvolution(nn.Module):
    """The smallest network that looks beside a pixel: what is left is the memory of everything around it."""

    def __init__(self) -> None:
        super().__init__()
        self.blur = nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False)
        self.blur.weight.data.fill_(BESIDE)
        self.blur.weight.data[:, :, 1, 1] = CENTRE

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to the same shape."""
        result: Tensor = self.blur(x)
        return result


def network(base: str | None) -> RestorationModel:
    """Make the network that restores."""
    if base is not None:
        return adair.load(base)
    info = BaseInfo(name="one-convolution", backbone=Choice(name="one-convolution"), fingerprint="0")
    return RestorationModel(OneConvolution(), [], info=info)


class Picture:
    """A picture of which any rows can be made: waves with noise, repeated.

    Args:
        width: columns.
    """

    def __init__(self, width: int) -> None:
        rows, columns = np.mgrid[:PERIOD, :PERIOD][..., None] * (2 * np.pi / PERIOD)
        waves = 96 + 60 * np.sin(rows * np.array([5, 9, 14])) * np.cos(columns * np.array([7, 11, 3]))
        noise = np.random.default_rng(0).integers(0, 40, waves.shape)
        self._rows = (waves + noise).astype(np.uint8)[:, np.arange(width) % PERIOD]

    def __call__(self, top: int, bottom: int) -> np.ndarray:
        """Rows [top, bottom): ``(rows, W, 3)`` uint8."""
        return self._rows[np.arange(top, bottom) % PERIOD]


def write_source(path: Path, height: int, width: int) -> None:
    """Write the picture by rows."""
    picture, storage = Picture(width), Storage(tiff_compression="none")
    info = ImageInfo(
        height=height, width=width, colors=3, has_alpha=False, dtype=np.dtype(np.uint8), format="tiff", storage=storage
    )
    with writing_rows(path, info) as write:
        for top in range(0, height, ROWS):
            write(info.image(picture(top, min(top + ROWS, height)), None))


def worst_difference(path: Path, height: int, width: int) -> int:
    """Compare the convolution's result with what numpy makes of the picture, in steps of 1/255."""
    result, picture, worst = open_image(path), Picture(width), 0
    for top in range(0, height, ROWS):
        bottom = min(top + ROWS, height)
        first, last = max(top - 1, 0), min(bottom + 1, height)
        beyond = ((first - top + 1, bottom + 1 - last), (1, 1), (0, 0))
        given = np.pad(picture(first, last).astype(np.float32), beyond)
        three = given[:-2] + given[1:-1] + given[2:]
        wanted = BESIDE * (three[:, :-2] + three[:, 1:-1] + three[:, 2:]) + (CENTRE - BESIDE) * given[1:-1, 1:-1]
        found = result.rows(top, bottom).pixels
        worst = max(worst, int(np.abs(np.rint(wanted.clip(0, 255)) - found).max()))
    return worst


def peak() -> int:
    """The most bytes of memory that this process has had resident."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def restore(source: Path, output: Path, base: str | None, tile: str, exact: bool) -> dict[str, Any]:
    """Restore in this process; gives seconds and peaks."""
    adair.tune_process(threads=1)
    model = network(base)
    model.restore(np.zeros((64, 64, 3), np.uint8))
    before, begun = peak(), time.perf_counter()
    settings = Settings(tile="auto" if tile == "auto" else int(tile), exact=exact)
    (result,) = restore_files(model, plan([source], output), settings)
    if result.status != "restored":
        raise SystemExit(result.message)
    return {"seconds": time.perf_counter() - begun, "peak": peak(), "before": before}


@click.command(help=__doc__)
@click.option("--megapixels", default=400.0, show_default=True)
@click.option("--base", help="zoo name or file [default: one convolution]")
@click.option("--tile", default="auto", show_default=True)
@click.option("--exact", is_flag=True, help="as adair restore --exact")
@click.option("--limit", type=float, help="GiB of resident memory [default: 3 for the convolution, 3.5 for a base]")
@click.option("--folder", type=click.Path(path_type=Path, exists=True), help="for the two images [default: temporary]")
@click.option("--commit", default="unknown", help="what is measured, for the line")
@click.option("--in-this-process", nargs=2, type=click.Path(path_type=Path), hidden=True)
def main(
    megapixels: float,
    base: str | None,
    tile: str,
    exact: bool,
    limit: float | None,
    folder: Path | None,
    commit: str,
    in_this_process: tuple[Path, Path] | None,
) -> None:
    """Measure."""
    if in_this_process is not None:
        click.echo(json.dumps(restore(*in_this_process, base, tile, exact)))
        return
    width = max(1, round(math.sqrt(megapixels * 1e6)))
    height = max(1, round(megapixels * 1e6 / width))
    allowed = (limit or LIMITS["convolution" if base is None else "base"]) * 2**30
    with tempfile.TemporaryDirectory(dir=folder) as place:
        source, output = Path(place) / "source.tif", Path(place) / "result.tif"
        write_source(source, height, width)
        options = [*([] if base is None else ["--base", base]), "--tile", tile, *(["--exact"] if exact else [])]
        command = [sys.executable, __file__, *options, "--in-this-process", str(source), str(output)]
        measured = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        off = worst_difference(output, height, width) if base is None else None
        sizes = {"source": source.stat().st_size, "result": output.stat().st_size}
    found = {
        "megapixels": round(height * width / 1e6, 1),
        "size": [width, height],
        "network": base or "one convolution",
        "how": "exact" if exact else f"tile {tile}",
        "peak GiB": round(measured["peak"] / 2**30, 2),
        "of it before GiB": round(measured["before"] / 2**30, 2),
        "limit GiB": round(allowed / 2**30, 2),
        "seconds": round(measured["seconds"], 1),
        "largest difference": off,
        "bytes": sizes,
        "torch": torch.__version__,
        "commit": commit,
    }
    click.echo(json.dumps(found, indent=1))
    click.echo(
        f"| {found['network']} | {found['how']} | {width} x {height} | {found['peak GiB']:.2f} GiB | "
        f"{found['seconds']:.0f} s | `{commit}` |",
        err=True,
    )
    if measured["peak"] > allowed or (off is not None and off > 1):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
