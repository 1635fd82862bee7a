"""The noise of a camera's finished pictures: sensor noise that went through demosaicing and development."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from adair_core.degradation import ConfiguredDegradation, Draws, Range, in_bounds, uniform, uniform_integer
from adair_core.errors import UsageError, expected
from adair_core.specs import Config, DegradationSpec
from adair_plugins.degradations.camera_processing import NoiseProcessing
from adair_plugins.degradations.jpeg import RESOLUTION, WantedSubsampling, compress, draw_subsampling
from adair_plugins.degradations.photons import draw_seed, log_uniform, shot_noise
from adair_plugins.degradations.storage import beside

DISPLAY_GAMMA = 2.2
COLOURS = ((1.86, -0.86, 0.0), (-0.14, 1.57, -0.43), (0.03, -0.47, 1.44))
"""From a sensor's balanced colours to those of sRGB, both linear: the mean of four cameras' (Canon EOS 40D and 6D,
Nikon D7000, Sony A7) by the colour matrices of Adobe's DNG profiles for daylight."""


class CameraNoiseConfig(Config):
    """Options of `CameraNoise`."""

    photons: Annotated[Range, in_bounds(1e-3, 1e9)] = Field(
        (100.0, 5000.0), description="photons counted at white in green, drawn log-uniformly; fewer = noisier"
    )
    read: Annotated[Range, in_bounds(0)] = Field(
        (0.05, 1.0), description="standard deviation of the read noise in linear light, of 255"
    )
    gain: Annotated[Range, in_bounds(0.1, 10)] = Field(
        (1.2, 2.4), description="white-balance gain of red, and of blue, over green; more = noisier colours"
    )
    quality: Annotated[Range, in_bounds(1, 100)] | None = Field(
        (85.0, 100.0), description="JPEG quality of the finished picture; none = no JPEG"
    )
    subsampling: WantedSubsampling = Field("4:4:4", description=RESOLUTION)
    matrix: Annotated[Range, in_bounds(0, 2)] = Field(
        (0.0, 0.0),
        description="strength of the matrix from the sensor's colours to the picture's: 0 = none, 1 = a usual "
        "camera's; more = noisier colours",
    )
    processed: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the pictures whose noise the camera has smoothed and sharpened itself; needs 3 channels",
    )


def demosaic(mosaic: Tensor, phase: tuple[int, int]) -> Tensor:
    """Interpolate a Bayer mosaic bilinearly; at the borders from the neighbours that there are.

    Args:
        mosaic: ``(3, H, W)``; of each channel the pixels that have its colour count, and where a picture is so small
            that a pixel has no such neighbour, the pixel itself.
        phase: row and column, 0 or 1, of the first red pixel; blue lies diagonally across.

    Returns:
        ``(3, H, W)``.

    Source: the bilinear reference of Malvar et al., "High-quality linear interpolation for demosaicing of
    Bayer-patterned color images", ICASSP 2004.
    """
    red_or_blue = torch.tensor([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])
    green = torch.tensor([[0, 0.25, 0], [0.25, 1, 0.25], [0, 0.25, 0]])
    kernels = torch.stack([red_or_blue, green, red_or_blue])[:, None].to(mosaic)
    masks = bayer_masks(mosaic.shape, phase).to(mosaic)
    sums = functional.conv2d((mosaic * masks)[None], kernels, padding=1, groups=3)[0]
    weights = functional.conv2d(masks[None], kernels, padding=1, groups=3)[0]
    return torch.where(weights > 0, sums / weights.clamp(min=0.25), mosaic)


def bayer_masks(shape: Sequence[int], phase: tuple[int, int]) -> Tensor:
    """Which pixels of a Bayer mosaic have which colour: ``(3, H, W)`` bool; every pixel has one."""
    odd_row = (torch.arange(shape[-2]) + phase[0])[:, None] % 2 == 1
    odd_column = (torch.arange(shape[-1]) + phase[1])[None] % 2 == 1
    return torch.stack([~odd_row & ~odd_column, odd_row != odd_column, odd_row & odd_column])


class CameraNoise(ConfiguredDegradation):
    """Shot and read noise of a Bayer sensor, demosaiced, white-balanced and developed with the picture.

    Equation::

        r = max(M^-1 x^2.2, 0),    n_c = g_c (k_c / P - r_c / g_c + (read / 255) n),    k_c ~ Poisson(P r_c / g_c),
        y = jpeg(x + p(max(x^2.2 + M demosaic(n), 0)^(1 / 2.2) - x)),    n ~ N(0, 1)

    with g the white-balance gains (1 for green), ``M = I + matrix (C - I)`` of a usual camera's C, and p the camera's
    `NoiseProcessing`, or nothing. Only the noise is demosaiced: the clean picture is the one that the
    same camera makes without noise, as in data sets whose targets average many shots. So the noise is correlated over
    neighbouring pixels, differs between the colours, and is largest in the developed shadows.

    Source: the pipeline of Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019, and the noise of
    Foi et al., IEEE TIP 2008 (see `PoissonNoise`).
    """

    config: CameraNoiseConfig

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Draw the exposure, the camera and the noise."""
        config = self.config
        quality = uniform(config.quality or (100, 100), generator)
        draws = {
            "photons": log_uniform(config.photons, generator),
            "read": uniform(config.read, generator),
            "gains": (uniform(config.gain, generator), 1.0, uniform(config.gain, generator)),
            "phase": (uniform_integer(0, 1, generator), uniform_integer(0, 1, generator)),
            "quality": None if config.quality is None else round(quality),
            "subsampling": draw_subsampling(config.subsampling, beside(generator, "subsampling")),
            "seed": draw_seed(generator),
            "noise": torch.randn(shape, generator=generator),
            "matrix": uniform(config.matrix, generator),
        }
        is_processed = uniform((0, 1), generator) < config.processed
        processing = NoiseProcessing.draw(generator)  # always, so that the share does not shift what is drawn later
        return {**draws, "processing": processing if is_processed else None}

    def degrade(self, images: Tensor, draws: Sequence[Draws]) -> Tensor:
        """Take each picture."""
        return torch.stack([take(image, draw) for image, draw in zip(images, draws, strict=True)])


def take(image: Tensor, draw: Draws) -> Tensor:
    """Take the picture: ``(C, H, W)`` -> ``(C, H, W)``, C = 3, or 1 for gray, in float64 inside.

    Raises:
        UsageError: another number of channels.
    """
    channels = len(image)
    if channels not in (1, 3):
        raise UsageError(expected("camera-noise", expected="1 or 3 channels", got=channels))
    coloured = channels == 3
    light = image.double().clamp(min=0).pow(DISPLAY_GAMMA)
    gains = torch.tensor(draw["gains"] if coloured else (1.0,), dtype=torch.float64, device=image.device)
    matrix = (colour_matrix(draw["matrix"]) if coloured else torch.eye(1, dtype=torch.float64)).to(image.device)
    exposed = mixed(torch.linalg.inv(matrix), light).clamp(min=0) / gains[:, None, None]
    noise = shot_noise(exposed, draw["photons"], draw["seed"]) - exposed + draw["noise"].to(light) * draw["read"] / 255
    if coloured:
        noise = mixed(matrix, demosaic(noise, draw["phase"]) * gains[:, None, None])
    finished = (light + noise).clamp(min=0).pow(1 / DISPLAY_GAMMA).to(image.dtype)
    if draw["processing"] is not None and coloured:
        finished = (image + draw["processing"](finished - image)).clamp(min=0)
    if draw["quality"] is None:
        return finished
    return compress(finished, quality=draw["quality"], subsampling=draw["subsampling"])


def colour_matrix(strength: float) -> Tensor:
    """Return the matrix from the sensor's colours to the picture's, ``(3, 3)`` float64: white stays white."""
    identity = torch.eye(3, dtype=torch.float64)
    return identity + strength * (torch.tensor(COLOURS, dtype=torch.float64) - identity)


def mixed(matrix: Tensor, image: Tensor) -> Tensor:
    """Multiply the colours of each pixel of ``(C, H, W)`` by a matrix."""
    return torch.einsum("oc,chw->ohw", matrix, image)


SPEC = DegradationSpec(
    name="camera-noise",
    summary="sensor noise after demosaicing, development and JPEG",
    config=CameraNoiseConfig,
    build=CameraNoise,
)
