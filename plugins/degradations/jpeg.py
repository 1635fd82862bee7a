"""JPEG compression by a real codec."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from adair_core.degradation import ConfiguredDegradation, Draws, Range, in_bounds, uniform, uniform_integer
from adair_core.errors import UsageError, expected
from adair_core.specs import Config, DegradationSpec
from adair_plugins.degradations.storage import beside

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
SUBSAMPLINGS: tuple[Subsampling, ...] = ("4:4:4", "4:2:2", "4:2:0")
WantedSubsampling = Subsampling | Literal["random"]
RESOLUTION = "resolution of the JPEG's colour channels; random = each of the three equally often"
"""Description of the option."""
SHIFTED = (
    "share of the images whose blocks begin anywhere, as in a part of a larger JPEG; those of others at the corner"
)
"""Description of the option."""


class JpegConfig(Config):
    """Options of `Jpeg`."""

    quality: Annotated[Range, in_bounds(1, 100)] = Field(
        (10.0, 90.0), description="quality of 100, rounded to an integer"
    )
    subsampling: WantedSubsampling = Field("4:2:0", description=RESOLUTION)
    shifted: float = Field(0.0, ge=0, le=1, description=SHIFTED)


BLOCKS = 16
"""Side of the largest blocks, those of colour at 4:2:0, in pixels."""


def compress(image: Tensor, *, quality: int, subsampling: Subsampling, corner: tuple[int, int] = (0, 0)) -> Tensor:
    """Write an image as a JPEG file in memory and read it back.

    Args:
        image: ``(C, H, W)`` float in [0, 1], C = 1 or 3; clipped and rounded to 8 bits.
        quality: 1 to 100, as in libjpeg.
        subsampling: of the two chroma channels.
        corner: the image's, row and column in the larger picture that is compressed; what lies above and to the left is
            continued from its border.

    Returns:
        ``(C, H, W)``, dtype and device of the image, multiples of 1/255.
    """
    top, left = corner
    if top or left:
        rows = torch.arange(-top, image.shape[1], device=image.device).clamp(min=0)
        columns = torch.arange(-left, image.shape[2], device=image.device).clamp(min=0)
        larger = image[:, rows][:, :, columns]
        return compress(larger, quality=quality, subsampling=subsampling)[:, top:, left:]
    channels, height, width = image.shape
    if channels not in (1, 3) or max(height, width) > 65535:
        got = f"{channels} channels, {height} x {width}"
        raise UsageError(expected("jpeg", expected="1 or 3 channels of at most 65535 x 65535 pixels", got=got))
    eight_bit = (image.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    array = eight_bit[0].numpy() if channels == 1 else eight_bit.permute(1, 2, 0).contiguous().numpy()
    # Pillow's libjpeg rather than libvips, whose threads do not survive the fork into a loader worker.
    file = io.BytesIO()
    Image.fromarray(array).save(file, "JPEG", quality=quality, subsampling=subsampling)
    decoded = torch.from_numpy(np.array(Image.open(file))).view(height, width, channels)
    return decoded.permute(2, 0, 1).to(image) / 255


def draw_subsampling(wanted: WantedSubsampling, generator: torch.Generator) -> Subsampling:
    """Draw a resolution of the colour channels; one that is given needs a draw, too, so that it shifts no other."""
    drawn = SUBSAMPLINGS[int(uniform((0.0, len(SUBSAMPLINGS)), generator))]
    return drawn if wanted == "random" else wanted


class Jpeg(ConfiguredDegradation):
    """JPEG: 8 x 8 blocks of the discrete cosine transform in YCbCr, quantised, which begin at the corner or anywhere.

    Equation::

        y = decode(encode(round(255 clip(x, 0, 1)), quality, subsampling)) / 255

    with libjpeg's quality scale and quantisation tables.

    Source: ITU-T T.81 (1992) | ISO/IEC 10918-1, annex K; the codec is libjpeg-turbo.
    """

    config: JpegConfig

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Draw quality and subsampling."""
        return {
            "quality": round(uniform(self.config.quality, generator)),
            "subsampling": draw_subsampling(self.config.subsampling, generator),
            "corner": self._corner(generator),
        }

    def _corner(self, generator: torch.Generator) -> tuple[int, int]:
        if not self.config.shifted:
            return 0, 0
        own = beside(generator, "corner")
        if uniform((0.0, 1.0), own) >= self.config.shifted:
            return 0, 0
        return uniform_integer(0, BLOCKS - 1, own), uniform_integer(0, BLOCKS - 1, own)

    def degrade(self, images: Tensor, draws: Sequence[Draws]) -> Tensor:
        """Compress each image."""
        return torch.stack([compress(image, **draw) for image, draw in zip(images, draws, strict=True)])


SPEC = DegradationSpec(name="jpeg", summary="JPEG compression by a real codec", config=JpegConfig, build=Jpeg)
