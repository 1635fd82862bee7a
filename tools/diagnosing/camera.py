"""The noise that is left in a camera's picture after the camera has denoised, sharpened, scaled and saved it.

The degradation `camera-noise` ends where most cameras go on: it is demosaiced, and still differs from pixel to pixel.
What a camera's own denoising leaves is smooth and faint, in colours smoother than in brightness, and strongest where
there is detail.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from adair_core.degradation import uniform, uniform_integer
from adair_core.plugins import plugins
from adair_core.specs import Choice
from adair_plugins.degradations.camera_processing import NoiseProcessing, blurred

SENSOR = Choice(name="camera-noise", options={"photons": [30, 3000], "read": [0.05, 2], "quality": None})
PSNR = (27.0, 42.0)
"""dB, so that faint noise is seen as often as strong."""
QUALITY = (80.0, 100.0)
DETAIL = 0.02
"""Mean difference of neighbouring pixels, of 1, at which half of what a flat area loses is lost."""


def developed(image: Tensor, draws: torch.Generator) -> Tensor:
    """Take a picture with a camera that denoises.

    Args:
        image: ``(3, H, W)`` in [0, 1].
        draws: of the camera.

    Returns:
        ``(3, H, W)``: the image and its noise, as the camera's JPEG or, in one of four, before it was saved.
    """
    noise = plugins().degradation(SENSOR)(image[None], draws)[0] - image
    noise = NoiseProcessing.draw(draws)(noise)
    noise = noise * _left(image, uniform((0, 0.7), draws))
    noise = enlarged(noise, uniform((1, 1.6), draws)) if uniform((0, 1), draws) < 0.3 else noise
    wanted = 10 ** (-uniform(PSNR, draws) / 20)
    noisy = (image + noise * (wanted / noise.square().mean().sqrt().clamp(min=1e-6))).clamp(0, 1)
    saved = plugins().degradation(Choice(name="jpeg", options={"quality": list(QUALITY), "subsampling": "random"}))
    return saved(noisy[None], draws)[0] if uniform_integer(0, 3, draws) else noisy


def _left(image: Tensor, most: float) -> Tensor:
    """Share of the noise that is left at each pixel ``(1, H, W)``: ``1 - most`` in flat areas, 1 in detail."""
    gray = image.mean(dim=0, keepdim=True)
    detail = blurred((gray - blurred(gray, 1.0)).abs(), 2.0)
    return 1 - most * DETAIL / (detail + DETAIL)


def enlarged(image: Tensor, factor: float) -> Tensor:
    """Enlarge ``(C, H, W)`` and keep the upper left part of the same size."""
    height, width = image.shape[1:]
    large = functional.interpolate(image[None], scale_factor=factor, mode="bicubic")[0]
    return large[:, :height, :width]
