"""Loss of resolution: MATLAB's imresize down, and bicubically back to the original size."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import AfterValidator, BeforeValidator, Field
from torch import Tensor

from adair_core.degradation import ConfiguredDegradation, Draws, uniform_integer
from adair_core.specs import Config, DegradationSpec
from adair_plugins.degradations.chain import Chain, ChainConfig, Link
from adair_plugins.degradations.mixture import completed, named_numbers


def _parse_scales(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return (value,) if isinstance(value, (int, float)) else value


class DownsampleConfig(Config):
    """Options of `Downsample`."""

    scale: Annotated[tuple[Annotated[int, Field(ge=1, le=16)], ...], BeforeValidator(_parse_scales)] = Field(
        (2, 3, 4), min_length=1, description="how many times smaller; one of several, such as 2,3,4, is drawn"
    )
    small: Annotated[tuple[Link, ...], named_numbers("probability"), AfterValidator(completed)] = Field(
        (), description="name:probability,name,... or a list as of chain: what happens to the small image"
    )


def cubic(distance: Tensor) -> Tensor:
    """Keys' cubic convolution kernel with a = -1/2 (Keys 1981, equation 15), zero from 2 on."""
    d = distance.abs()
    near = (1.5 * d - 2.5) * d * d + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return torch.where(d < 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


@functools.lru_cache(maxsize=256)
def taps(length: int, out_length: int, scale: float) -> tuple[Tensor, Tensor]:
    """Which pixels make each output pixel, and with what weights.

    The kernel is widened by 1 / scale when shrinking (antialiasing); beyond the ends the row is mirrored, the end
    pixels repeated, as in imresize.

    Args:
        length: pixels in.
        out_length: pixels out.
        scale: output over input resolution.

    Returns:
        Indices ``(P, out_length)`` int64 and weights ``(P, out_length)`` float64, whose columns sum to 1.
    """
    stretch = min(scale, 1.0)
    count = math.ceil(4 / stretch) + 2
    centre = (torch.arange(out_length, dtype=torch.float64) + 0.5) / scale - 0.5
    position = (centre - 2 / stretch).floor() + torch.arange(count, dtype=torch.float64)[:, None]
    weights = cubic((centre - position) * stretch)
    weights = weights / weights.sum(0)
    mirrored = position.long().remainder(2 * length)
    return torch.minimum(mirrored, 2 * length - 1 - mirrored), weights


def resize_rows(images: Tensor, out_length: int, scale: float) -> Tensor:
    """Resize the rows' direction (dim -2): ``(..., H, W)`` -> ``(..., out_length, W)``."""
    indices, weights = taps(images.shape[-2], out_length, scale)
    indices, weights = indices.to(images.device), weights.to(images)[:, :, None]
    # Tap by tap rather than as one product of matrices: a fixed order of additions, whatever the batch and threads.
    resized = images.index_select(-2, indices[0]) * weights[0]
    for index, weight in zip(indices[1:], weights[1:], strict=True):
        resized += images.index_select(-2, index) * weight
    return resized


def shrunk(length: int, scale: float) -> int:
    """Pixels that imresize makes of `length`: ``ceil(scale * length)``."""
    return math.ceil(scale * length - 1e-9)  # a third of 9 must be 3, not 4


def imresize(images: Tensor, *, scale: float, size: tuple[int, int] | None = None) -> Tensor:
    """Resize as MATLAB's ``imresize(image, scale, 'bicubic')`` does, on floats.

    ``torch.nn.functional.interpolate(..., mode="bicubic", antialias=True)`` is the same inside the picture; at the
    borders it cuts the kernel off where MATLAB mirrors the image, and its sizes round down where MATLAB's round up.

    Args:
        images: ``(..., H, W)`` float.
        scale: output over input resolution.
        size: output (H, W); by default ``ceil(scale * H), ceil(scale * W)``.
    """
    height, width = size or (shrunk(images.shape[-2], scale), shrunk(images.shape[-1], scale))
    rows = resize_rows(images, height, scale)
    return resize_rows(rows.transpose(-1, -2), width, scale).transpose(-1, -2)


class Downsample(ConfiguredDegradation):
    """Shrink with antialiased bicubic interpolation, then enlarge to the original size; not clipped.

    Equation::

        y = imresize(D(imresize(x, 1 / s)), s)[:H, :W]

    with Keys' cubic kernel (a = -1/2), widened s times on the way down; the small image has ``ceil(H / s)`` rows, and D
    is what happens to it before it is enlarged: nothing, or noise and JPEG as in a small photo.

    Source: the standard degradation of super-resolution benchmarks (MATLAB's imresize, bicubic), the enlarged
    image as the network's input as in Dong et al., "Image Super-Resolution Using Deep Convolutional Networks",
    IEEE TPAMI 2016.
    """

    config: DownsampleConfig

    def __init__(self, config: DownsampleConfig) -> None:
        super().__init__(config)
        self.small = Chain(ChainConfig(degradations=config.small)) if config.small else None

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Draw the scale, and what happens to the small image."""
        scale = self.config.scale[uniform_integer(0, len(self.config.scale) - 1, generator)]
        if self.small is None:
            return {"scale": scale}
        channels, height, width = shape
        return {
            "scale": scale,
            "small": self.small.draw((channels, shrunk(height, 1 / scale), shrunk(width, 1 / scale)), generator),
        }

    def degrade(self, images: Tensor, draws: Sequence[Draws]) -> Tensor:
        """Shrink and enlarge, all images of one scale together."""
        degraded = images.clone()
        scales = torch.tensor([draw["scale"] for draw in draws])
        for scale in scales.unique().tolist():
            members = (scales == scale).nonzero()[:, 0]
            chosen = members.to(images.device)
            small = imresize(images[chosen], scale=1 / scale) if scale > 1 else images[chosen]
            if self.small is not None:
                small = self.small.degrade(small, [draws[member]["small"] for member in members.tolist()])
            size = (images.shape[-2], images.shape[-1])
            degraded[chosen] = imresize(small, scale=scale, size=size) if scale > 1 else small
        return degraded


SPEC = DegradationSpec(
    name="downsample",
    summary="antialiased bicubic downsampling, enlarged again",
    config=DownsampleConfig,
    build=Downsample,
)
