"""Measure what ordinary tiles change, and write docs/tiling.md's table and figure.

    python tools/tiling_error.py --data IMAGES           measure on a folder of clean photos and write the page
    python tools/tiling_error.py --report                the page and the figure again, from the numbers beside them

Each photo gets noise and is restored whole, and in tiles of every size and overlap. The difference between the two
results is what tiling costs; the numbers go to docs/tiling.json.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import matplotlib as mpl
import torch
from torch import Tensor

import adair_core as adair
from adair_core.atomic_file import write_atomically
from adair_core.cli.choices import DEFAULT_BASE
from adair_core.data.images import find_images, read_image, to_tensor
from adair_core.data.seeds import generator

DOCS = Path(__file__).parents[1] / "docs"
PAGE, NUMBERS, FIGURE = DOCS / "tiling.md", DOCS / "tiling.json", DOCS / "images" / "tiling.svg"
BEGIN, END = "<!-- tools/tiling_error.py writes from here -->\n", "<!-- to here -->\n"

TILES = (64, 128, 256, 384, 512)
OVERLAPS = (0, 32, 64)
"""Pixels; those that are more than a quarter of a tile are left out, as they take several times as long."""


@dataclass(frozen=True)
class Point:
    """What tiles of one size and overlap change, over all photos.

    Attributes:
        tile: largest side, in pixels.
        overlap: of neighbours, in pixels.
        psnr: of the tiled result against the whole image's, both clipped to [0, 1]; mean over photos, dB.
        largest: difference of a value, in steps of 1/255; the largest of all photos.
        cost: tiled result's PSNR against the clean photo, less the whole image's; mean over photos, dB.
        seconds: of processor time in tiles, against that of the whole image; mean over photos.
    """

    tile: int
    overlap: int
    psnr: float
    largest: float
    cost: float
    seconds: float


def photo(path: Path, crop: tuple[int, int] | None) -> Tensor:
    """Read a photo, or columns and rows of its middle: ``(1, 3, H, W)``."""
    image = to_tensor(read_image(path))
    if crop is None:
        return image
    width, height = crop
    top, left = max(0, image.shape[-2] - height) // 2, max(0, image.shape[-1] - width) // 2
    return image[..., top : top + height, left : left + width].contiguous()


def psnr(one: Tensor, other: Tensor) -> float:
    """PSNR in dB of values from 0 to 1."""
    error = float((one.double() - other.double()).square().mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def measure(
    base: str, photos: list[Path], sigma: float, crop: tuple[int, int] | None
) -> tuple[list[Point], dict[str, float]]:
    """Restore every photo whole and in all tiles.

    Returns:
        The points, and means about the whole images' results.
    """
    model = adair.load(base)
    model.restore(torch.rand(1, 3, 64, 64))  # what the first pass makes takes time, too
    noise = adair.plugins().degradation(adair.Choice(name="gaussian-noise", options={"sigma": sigma}))
    found: dict[tuple[int, int], list[tuple[float, float, float, float]]] = {}
    whole: dict[str, list[float]] = {"noisy": [], "restored": [], "seconds": []}
    for index, path in enumerate(photos):
        clean = photo(path, crop)
        noisy = noise(clean, generator("tiling", index))
        begun = time.process_time()
        wanted = model.restore(noisy, tile=None).clamp(0, 1)
        took = time.process_time() - begun
        whole["noisy"].append(psnr(noisy.clamp(0, 1), clean))
        whole["restored"].append(psnr(wanted, clean))
        whole["seconds"].append(took)
        for tile in TILES:
            if tile >= max(clean.shape[-2:]):
                continue
            for overlap in (overlap for overlap in OVERLAPS if overlap <= tile // 4):
                begun = time.process_time()
                tiled = model.restore(noisy, tile=tile, overlap=overlap).clamp(0, 1)
                seconds = (time.process_time() - begun) / took
                largest = float((tiled - wanted).abs().max()) * 255
                cost = psnr(tiled, clean) - whole["restored"][-1]
                found.setdefault((tile, overlap), []).append((psnr(tiled, wanted), largest, cost, seconds))
        click.echo(f"{path.name}: {whole['noisy'][-1]:.2f} -> {whole['restored'][-1]:.2f} dB", err=True)
    points = [_point(*key, rows) for key, rows in sorted(found.items())]
    return points, {name: sum(values) / len(values) for name, values in whole.items()}


def _point(tile: int, overlap: int, rows: list[tuple[float, float, float, float]]) -> Point:
    similarity, largest, cost, seconds = zip(*rows, strict=True)
    count = len(rows)
    return Point(
        tile=tile,
        overlap=overlap,
        psnr=round(sum(similarity) / count, 2),
        largest=round(max(largest), 1),
        cost=round(sum(cost) / count, 4),
        seconds=round(sum(seconds) / count, 2),
    )


def report(measured: dict[str, Any]) -> None:
    """Write the page's table and the figure."""
    points = [Point(**point) for point in measured["points"]]
    draw(points, FIGURE)
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE}: expected the lines {BEGIN.strip()!r} and {END.strip()!r}")
    write_atomically(PAGE, f"{before}{BEGIN}\n{table(points, measured)}\n{END}{after}".encode())


def table(points: list[Point], measured: dict[str, Any]) -> str:
    """Write what was measured, as Markdown."""
    whole = measured["whole"]
    found = {(point.tile, point.overlap): point for point in points}
    tiles, overlaps = (sorted({getattr(point, name) for point in points}) for name in ("tile", "overlap"))
    lines = [
        f"`{measured['base']}`, {measured['photos']} photos ({measured['data']}) of {measured['size']} pixels with "
        f"noise of sigma {measured['sigma']:g}: {whole['noisy']:.2f} dB, restored whole {whole['restored']:.2f} dB. "
        f"Measured at commit `{measured['commit']}` with PyTorch {measured['torch']}, one thread.",
        "",
        "PSNR of the tiled result against the whole image's, in dB, mean over the photos (and the largest difference "
        "of any value in any photo, in steps of 1/255):",
        "",
        "| tile | " + " | ".join(f"overlap {overlap}" for overlap in overlaps) + " |",
        "|---" * (len(overlaps) + 1) + "|",
    ]
    for tile in tiles:
        row = [found.get((tile, overlap)) for overlap in overlaps]
        lines.append(f"| {tile} | " + " | ".join(f"{p.psnr:.1f} ({p.largest:.0f})" if p else "" for p in row) + " |")
    lines += [
        "",
        "PSNR against the clean photo, less that of restoring it whole, in dB (and the processor time, whole = 1):",
        "",
        "| tile | " + " | ".join(f"overlap {overlap}" for overlap in overlaps) + " |",
        "|---" * (len(overlaps) + 1) + "|",
    ]
    for tile in tiles:
        row = [found.get((tile, overlap)) for overlap in overlaps]
        lines.append(f"| {tile} | " + " | ".join(f"{p.cost:+.3f} ({p.seconds:.2f})" if p else "" for p in row) + " |")
    return "\n".join(lines) + "\n\n![PSNR against the whole image's result, by size of tile](images/tiling.svg)\n"


def draw(points: list[Point], path: Path) -> None:
    """Draw similarity by size of tile, a line for each overlap."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "tiling"  # the same file from the same numbers
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    for overlap in sorted({point.overlap for point in points}):
        line = [point for point in points if point.overlap == overlap]
        axes.plot([p.tile for p in line], [p.psnr for p in line], marker="o", label=f"overlap {overlap}")
    axes.set(xscale="log", xlabel="tile, pixels", ylabel="PSNR against the whole image's result, dB")
    axes.set_xticks(TILES, [str(tile) for tile in TILES], minor=False)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), help="folder of clean photos")
@click.option("--title", help="what to call the photos on the page [default: the folder's name]")
@click.option("--limit", default=6, show_default=True, help="photos")
@click.option("--crop", type=int, nargs=2, metavar="W H", help="restore so much of each photo's middle")
@click.option("--base", default=DEFAULT_BASE, show_default=True)
@click.option("--sigma", default=25.0, show_default=True, help="of the noise, of 255")
@click.option("--commit", default="unknown", help="what is measured, for the page")
@click.option("--report", "only_report", is_flag=True, help="do not measure")
def main(
    data: Path | None,
    title: str | None,
    limit: int,
    crop: tuple[int, int] | None,
    base: str,
    sigma: float,
    commit: str,
    only_report: bool,
) -> None:
    """Measure, or write the page alone."""
    if not only_report:
        if data is None:
            raise click.UsageError("expected --data, a folder of clean photos, or --report")
        torch.set_num_threads(1)
        photos = find_images(data)[:limit]
        points, whole = measure(base, photos, sigma, crop)
        height, width = photo(photos[0], crop).shape[-2:]
        measured = {
            "base": base,
            "data": title or data.name,
            "photos": len(photos),
            "size": f"{width} x {height}",
            "sigma": sigma,
            "commit": commit,
            "torch": torch.__version__,
            "whole": {name: round(value, 3) for name, value in whole.items()},
            "points": [asdict(point) for point in points],
        }
        write_atomically(NUMBERS, (json.dumps(measured, indent=1) + "\n").encode())
    report(json.loads(NUMBERS.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
