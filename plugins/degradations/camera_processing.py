"""What a camera's own software does to the noise of its pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from adair_core.data.pixels import LUMA
from adair_core.degradation import uniform
from adair_plugins.degradations.convolution import convolve
from adair_plugins.degradations.gaussian_blur import gaussian_kernel


@dataclass(frozen=True)
class NoiseProcessing:
    """Denoising and sharpening: brightness is smoothed a little, colours are much, and what is left is sharpened.

    It acts on the noise alone: the clean picture is the one that the same camera makes without noise.

    Attributes:
        chroma_sigma: of the Gaussian that smooths colours, in pixels.
        chroma_gain: factor of what is left of them.
        luma_sigma: of the Gaussian that smooths brightness, in pixels.
        luma_share: of the smoothed brightness in the result; 0 leaves brightness as it is.
        sharpening: factor of the brightness's difference from its blur of one pixel, which is added.
    """

    chroma_sigma: float
    chroma_gain: float
    luma_sigma: float
    luma_share: float
    sharpening: float

    @classmethod
    def draw(cls, generator: torch.Generator) -> NoiseProcessing:
        """Draw a camera's."""
        return cls(
            chroma_sigma=uniform((0.5, 3), generator),
            chroma_gain=uniform((0.5, 3), generator),
            luma_sigma=uniform((0.5, 1.6), generator),
            luma_share=uniform((0, 1), generator),
            sharpening=uniform((0, 1), generator),
        )

    def __call__(self, noise: Tensor) -> Tensor:
        """Process the noise ``(3, H, W)`` of a picture."""
        luma = (noise * noise.new_tensor(LUMA).view(3, 1, 1)).sum(dim=0, keepdim=True)
        chroma = blurred(noise - luma, self.chroma_sigma) * self.chroma_gain
        luma = luma + self.luma_share * (blurred(luma, self.luma_sigma) - luma)
        return luma + self.sharpening * (luma - blurred(luma, 1.0)) + chroma


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Blur ``(C, H, W)`` with a Gaussian of `sigma` pixels, reflecting it at its borders."""
    return convolve(image, gaussian_kernel(sigma))
