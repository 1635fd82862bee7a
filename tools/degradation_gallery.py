"""Make the pictures and the reference of docs/degradations.md from the degradations themselves.

    python tools/degradation_gallery.py            write the pictures and the generated part of the page
    python tools/degradation_gallery.py --time     also print how long each takes on one core

The photos are scikit-image's astronaut (NASA, public domain), coffee (Rachel Michetti, CC0) and chelsea (Stefan van
der Walt, CC0).
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import skimage.data
import torch
from PIL import Image
from torch import Tensor

from adair_core.plugins import plugins
from adair_core.specs import Choice, DegradationSpec
from adair_plugins.degradations import MODULES

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "degradations.md"
PICTURES = DOCS / "images" / "degradations"
MARKER = "<!-- Everything below is written by tools/degradation_gallery.py. -->\n"
TILE = 232
GAP = 4

CROPS = {
    "astronaut": (skimage.data.astronaut, 20, 110),
    "coffee": (skimage.data.coffee, 60, 160),
    "chelsea": (skimage.data.chelsea, 20, 110),
}


@dataclass(frozen=True)
class Exhibit:
    """Three pictures of one degradation.

    Attributes:
        photo: key of `CROPS`.
        options: of each picture; what is left out is drawn.
        seeds: of each picture.
    """

    photo: str
    options: tuple[dict[str, Any], dict[str, Any], dict[str, Any]]
    seeds: tuple[int, int, int] = (0, 0, 0)


def _each(option: str, *values: Any, **fixed: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    first, second, third = ({option: value, **fixed} for value in values)
    return first, second, third


EXHIBITS = {
    "gaussian-noise": Exhibit("astronaut", _each("sigma", 15, 25, 50)),
    "poisson-noise": Exhibit("coffee", _each("photons", 500, 100, 20, read=2)),
    "camera-noise": Exhibit("coffee", _each("photons", 2000, 500, 100, read=0.5, quality=95)),
    "gaussian-blur": Exhibit(
        "chelsea",
        ({"sigma": 1.5, "ratio": 1}, {"sigma": 3, "ratio": 1}, {"sigma": 4, "ratio": 0.3, "angle": 45}),
    ),
    "motion-blur": Exhibit(
        "astronaut",
        (
            {"length": 8, "angle": 20, "shake": 0},
            {"length": 20, "angle": 20, "shake": 0},
            {"length": 24, "angle": 20, "shake": 0.8},
        ),
    ),
    "downsample": Exhibit(
        "chelsea",
        ({"scale": 2}, {"scale": 4}, {"scale": 2, "small": "gaussian-noise,jpeg"}),
    ),
    "jpeg": Exhibit("coffee", _each("quality", 40, 20, 10)),
    "rain": Exhibit(
        "astronaut",
        (
            {"layers": 1, "tilt": -10, "coverage": 0.05},
            {"layers": 2, "tilt": 25, "coverage": 0.08, "brightness": 0.6},
            {"layers": 3, "tilt": -35, "spread": 8, "coverage": 0.12, "brightness": 0.7},
        ),
        seeds=(4, 4, 4),
    ),
    "snow": Exhibit(
        "coffee",
        (
            {"layers": 2, "coverage": 0.03},
            {"layers": 3, "coverage": 0.06, "tilt": 30},
            {"layers": 4, "coverage": 0.12, "veil": 0.15},
        ),
        seeds=(2, 2, 2),
    ),
    "haze": Exhibit(
        "coffee",
        (
            {"beta": 0.6, "distance": 0.6, "slope": 0.6, "relief": 0.2},
            {"beta": 1.8, "distance": 0.6, "slope": 0.6, "relief": 0.2},
            {"beta": 1.2, "distance": 0.6, "slope": 0.6, "relief": 0.2, "parts": 16, "apart": 0.3},
        ),
        seeds=(0, 0, 1),
    ),
    "low-light": Exhibit("coffee", _each("exposure", -2, -3, -4, gamma=1.1, photons=1000, read=0.2)),
    "mask": Exhibit(
        "astronaut",
        (
            {"scratches": 4, "holes": 0, "fill": 1},
            {"scratches": 0, "holes": 3, "fill": 0},
            {"scratches": 5, "holes": 2, "fill": 0.6},
        ),
        seeds=(1, 1, 1),
    ),
    "chain": Exhibit(
        "chelsea",
        ({}, {"degradations": "haze,rain"}, {"degradations": "motion-blur,poisson-noise,jpeg"}),
        seeds=(1, 0, 0),
    ),
    "one-of": Exhibit("astronaut", ({}, {}, {}), seeds=(27, 8, 18)),
}


def photo(name: str) -> Tensor:
    """Cut a tile out of a photo: ``(1, 3, TILE, TILE)`` float32 in [0, 1]."""
    load, top, left = CROPS[name]
    tile = load()[top : top + TILE, left : left + TILE]
    return torch.from_numpy(tile.copy()).permute(2, 0, 1)[None].float() / 255


def picture(name: str, exhibit: Exhibit) -> Image.Image:
    """Put the clean tile and the three degraded ones side by side."""
    clean = photo(exhibit.photo)
    tiles = [clean]
    for options, seed in zip(exhibit.options, exhibit.seeds, strict=True):
        degradation = plugins().degradation(Choice(name=name, options=options))
        tiles.append(degradation(clean, torch.Generator().manual_seed(seed)).clamp(0, 1))
    gap = torch.ones(1, 3, TILE, GAP)
    row = torch.cat([part for tile in tiles for part in (tile, gap)][:-1], 3)[0]
    return Image.fromarray((row * 255).round().byte().permute(1, 2, 0).numpy())


def shown(value: object) -> str:
    """Write an option's value as it would be typed."""
    if isinstance(value, str):
        return value
    if isinstance(value, (tuple, list)):
        return ",".join(shown(item) for item in value)
    if isinstance(value, dict):
        number = value.get("weight", value.get("probability", 1))
        return f"{value['name']}:{shown(number)}"
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def reference(spec: DegradationSpec, exhibit: Exhibit) -> str:
    """Write one degradation's section from its docstring and its configuration."""
    doc = inspect.getdoc(spec.build) or ""
    doc = re.sub(r"Equation::\n\n((?:    .*\n|\n)+)", lambda m: _fenced(m[1]), doc.replace("``", "`") + "\n")
    labels = [
        " ".join(f"{key}={shown(value)}" for key, value in options.items()) or f"defaults, seed {seed}"
        for options, seed in zip(exhibit.options, exhibit.seeds, strict=True)
    ]
    caption = f"*Clean, {'; '.join(f'`{label}`' for label in labels)}.*"
    rows = ["| option | default | meaning |", "|---|---|---|"]
    defaults = spec.config().model_dump(mode="json")
    for name, info in spec.config.model_fields.items():
        value = shown(_range(defaults[name])).replace("|", "\\|")
        rows.append(f"| `{name}` | `{value}` | {info.description} |")
    image = f"![{spec.name}: {spec.summary}](images/degradations/{spec.name}.webp)"
    return "\n\n".join([f"## {spec.name}", image, caption, doc.strip(), "\n".join(rows)])


def _range(value: object) -> object:
    is_fixed = isinstance(value, list) and len(value) == 2 and value[0] == value[1]
    return value[0] if is_fixed else value  # type: ignore[index]


def _fenced(block: str) -> str:
    return f"```text\n{textwrap.dedent(block).strip()}\n```\n\n"


def page() -> str:
    """Write the generated part of the page."""
    sections = [reference(module.SPEC, EXHIBITS[module.SPEC.name]) for module in MODULES]
    return MARKER + "\n" + "\n\n".join(sections) + "\n"


def milliseconds(name: str, side: int, *, patches: int = 100, rounds: int = 7) -> float:
    """Measure one core's time for a patch, the best of several rounds over the same draws."""
    degradation = plugins().degradation(Choice(name=name))
    patch = photo("astronaut")[:, :, :side, :side].contiguous()
    best = float("inf")
    for _ in range(rounds):
        generators = [torch.Generator().manual_seed(seed) for seed in range(patches)]
        start = time.thread_time()
        for generator in generators:
            degradation(patch, generator)
        best = min(best, time.thread_time() - start)
    return best / patches * 1000


def main() -> None:
    """Write the pictures and the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--time", action="store_true", help="measure and print milliseconds a patch on one core")
    arguments = parser.parse_args()
    PICTURES.mkdir(parents=True, exist_ok=True)
    total = 0
    for name, exhibit in EXHIBITS.items():
        file = PICTURES / f"{name}.webp"
        picture(name, exhibit).save(file, quality=80, method=6)
        total += file.stat().st_size
    written, marker, _ = PAGE.read_text().partition(MARKER)
    if not marker:
        raise SystemExit(f"{PAGE}: expected the line {MARKER.strip()!r}")
    PAGE.write_text(written + page())
    print(json.dumps({"pictures": len(EXHIBITS), "bytes": total}))
    if arguments.time:
        torch.set_num_threads(1)
        print("| degradation | 64 x 64 | 128 x 128 |\n|---|---|---|")
        for name in EXHIBITS:
            print(f"| {name} | {milliseconds(name, 64):.2f} | {milliseconds(name, 128):.2f} |")


if __name__ == "__main__":
    main()
