"""Draw docs/images/restored.webp: what the package's adapters make of damaged photos that they have not seen.

    python tools/showcase.py

The photos are scikit-image's astronaut (NASA, public domain), coffee (Rachel Michetti, CC0) and chelsea (Stefan van
der Walt, CC0); neither the base nor its adapters were trained on them. The damage is synthetic, so that PSNR can be
given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import skimage.data
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import adair_core as adair
from adair_core.data.pixels import Array
from adair_core.data.seeds import generator
from adair_core.model.adapter_files import read_adapter
from adair_core.model.zoo import adapter_for

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "restored.webp"
TILE, GAP, CAPTION = 224, 4, 20


@dataclass(frozen=True)
class Exhibit:
    """A damaged photo, and the task that undoes the damage.

    Attributes:
        caption: of the damage.
        photo: makes the whole photo, ``(H, W, 3)`` uint8.
        corner: of the tile in it, row and column.
        damage: a degradation and its options.
        task: name, and the options by which an adapter is chosen among its.
    """

    caption: str
    photo: Callable[[], Array]
    corner: tuple[int, int]
    damage: tuple[str, Mapping[str, Any]]
    task: tuple[str, Mapping[str, Any]]


EXHIBITS = (
    Exhibit("noise", skimage.data.astronaut, (20, 110), ("gaussian-noise", {"sigma": 25}), ("denoise", {})),
    Exhibit(
        "Gaussian blur",
        skimage.data.chelsea,
        (20, 110),
        ("gaussian-blur", {"sigma": 2, "ratio": 1}),
        ("deblur", {"kind": "gaussian"}),
    ),
    Exhibit("JPEG, quality 10", skimage.data.astronaut, (20, 110), ("jpeg", {"quality": 10}), ("dejpeg", {})),
    Exhibit(
        "reduced 2 times", skimage.data.coffee, (90, 200), ("downsample", {"scale": 2}), ("super-resolve", {"scale": 2})
    ),
)


def main() -> None:
    """Restore all exhibits and draw them: damaged above, restored below."""
    across = len(EXHIBITS) * (TILE + GAP) - GAP
    sheet = Image.new("RGB", (across, 2 * (TILE + CAPTION) + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for place, exhibit in enumerate(EXHIBITS):
        clean, damaged, restored = restore(exhibit)
        for row, (image, caption) in enumerate(((damaged, exhibit.caption), (restored, "restored"))):
            left, top = place * (TILE + GAP), row * (TILE + CAPTION + GAP)
            text = f"{caption}, {psnr(image, clean):.1f} dB"
            draw.text((left + 2, top + 2), text, fill="black", font=font)
            pixels = (image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            sheet.paste(Image.fromarray(pixels), (left, top + CAPTION))
    sheet.save(PICTURE, quality=90, method=6)
    print(f"{PICTURE.relative_to(Path.cwd())}: {PICTURE.stat().st_size / 1024:.0f} KiB")


@torch.no_grad()
def restore(exhibit: Exhibit) -> tuple[Tensor, Tensor, Tensor]:
    """Damage and restore the middle of a photo; the tiles of the clean, the damaged and the restored one."""
    clean = torch.from_numpy(exhibit.photo()).permute(2, 0, 1)[None] / 255
    name, options = exhibit.damage
    damaged = adair.plugins().degradation(adair.Choice(name=name, options=dict(options)))(clean, generator("showcase"))
    damaged = (damaged.clamp(0, 1) * 255).round() / 255  # as a file holds it
    spec = adapter_for(*exhibit.task)
    assert spec is not None
    base = read_adapter(spec.path).base
    assert base is not None
    model = adair.load(base)
    model.load_adapter(spec.path)
    restored = model(damaged)
    top, left = exhibit.corner
    tile = (..., slice(top, top + TILE), slice(left, left + TILE))
    return clean[tile], damaged[tile], restored[tile]


def psnr(image: Tensor, clean: Tensor) -> float:
    """PSNR in dB of a tile, clipped to [0, 1]."""
    return float(adair.plugins().metrics["psnr"].build()(image.clamp(0, 1), clean))


if __name__ == "__main__":
    main()
