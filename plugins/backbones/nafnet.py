"""NAFNet: a U-shaped convolutional network without activation functions.

Chen et al., "Simple Baselines for Image Restoration", arXiv 2204.04676. Written from the paper. Parameter names and
shapes are those of the published checkpoints, which therefore load.
"""

from __future__ import annotations

from typing import cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from adair_core import BackboneSpec, Config, Site
from adair_core.ops import layer_norm2d
from adair_plugins.backbones.convolutions import convolution_sites, convolve_depthwise
from adair_plugins.backbones.layout import fastest_layout
from adair_plugins.backbones.spandrel_forms import NAFNET

_EPS = 1e-6


class NAFNetConfig(Config):
    """Shape of a NAFNet."""

    in_channels: int = Field(3, ge=1, description="channels of the input image")
    out_channels: int = Field(3, ge=1, description="channels of the output image")
    width: int = Field(32, ge=1, description="channels at full resolution; each further level doubles them")
    encoder: tuple[int, ...] = Field((1, 1, 1, 28), description="blocks of each encoder level")
    middle: int = Field(1, ge=0, description="blocks at the lowest resolution")
    decoder: tuple[int, ...] = Field((1, 1, 1, 1), description="blocks of each decoder level, the lowest first")

    @model_validator(mode="after")
    def _check(self) -> NAFNetConfig:
        if len(self.encoder) != len(self.decoder):
            raise ValueError(
                f"decoder: expected {len(self.encoder)} levels, as many as the encoder has, got {len(self.decoder)}"
            )
        if min((*self.encoder, *self.decoder), default=0) < 0:
            raise ValueError(f"expected no negative number of blocks, got {self.encoder} and {self.decoder}")
        if self.in_channels not in (1, self.out_channels):
            raise ValueError(
                f"in_channels: expected 1 or out_channels = {self.out_channels}, because the input is added to the "
                f"output, got {self.in_channels}"
            )
        return self


class LayerNorm2d(nn.Module):
    """Layer norm over channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> the same shape."""
        return layer_norm2d(x, self.weight, self.bias, _EPS)


class SimpleGate(nn.Module):
    """The product of the two halves of the channels (eq. 4)."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 2C, H, W)`` -> ``(B, C, H, W)``."""
        a, b = x.chunk(2, dim=1)
        return a * b


class NAFBlock(nn.Module):
    """x + beta * convolutions, then x + gamma * feed-forward, each after a layer norm (figure 3c).

    ``dropout1`` and ``dropout2`` do nothing: they are the outputs of the two branches, where adapters attach.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        # The order of the attributes is that of the published checkpoints.
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1))
        self.sg = SimpleGate()
        self.conv4 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.norm1 = LayerNorm2d(channels)
        self.norm2 = LayerNorm2d(channels)
        self.dropout1 = nn.Identity()
        self.dropout2 = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> the same shape."""
        gated = self.sg(convolve_depthwise(self.conv2, self.conv1(self.norm1(x))))
        x = x + self.dropout1(self.conv3(gated * self.sca(gated))) * self.beta
        return x + self.dropout2(self.conv5(self.sg(self.conv4(self.norm2(x))))) * self.gamma


class NAFNet(nn.Module):
    """Levels of blocks, down and up again, with added skips.

    Args:
        config: its shape.
    """

    def __init__(self, config: NAFNetConfig) -> None:
        super().__init__()
        self.config = config
        self.multiple = 2 ** len(config.encoder)
        widths = [config.width * 2**level for level in range(len(config.encoder))]

        def level(channels: int, blocks: int) -> nn.Sequential:
            return nn.Sequential(*(NAFBlock(channels) for _ in range(blocks)))

        def up(channels: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(2 * channels, 4 * channels, 1, bias=False), nn.PixelShuffle(2))

        down_up = list(zip(widths, config.encoder, config.decoder[::-1], strict=True))
        self.intro = nn.Conv2d(config.in_channels, config.width, 3, padding=1)
        self.ending = nn.Conv2d(config.width, config.out_channels, 3, padding=1)
        self.encoders = nn.ModuleList(level(channels, blocks) for channels, blocks, _ in down_up)
        self.decoders = nn.ModuleList(level(channels, blocks) for channels, _, blocks in reversed(down_up))
        self.middle_blks = level(config.width * self.multiple, config.middle)
        self.ups = nn.ModuleList(up(channels) for channels in reversed(widths))
        self.downs = nn.ModuleList(nn.Conv2d(channels, 2 * channels, 2, 2) for channels in widths)

    def forward(self, x: Tensor) -> Tensor:
        """Restore images.

        Args:
            x: ``(B, in_channels, H, W)``, any H, W >= 1, in [0, 1].

        Returns:
            ``(B, out_channels, H, W)``.
        """
        batch, _, height, width = x.shape
        if batch == 0:  # PixelShuffle leaves the shape of an empty batch as it is
            return x.new_zeros((0, self.config.out_channels, height, width))
        # Zeros, as the published network pads: other values would change its results at these sizes.
        padded = functional.pad(x, (0, -width % self.multiple, 0, -height % self.multiple))
        features = self.intro(fastest_layout(padded))
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            features = encoder(features)
            skips.append(features)
            features = down(features)
        features = self.middle_blks(features)
        for decoder, up in zip(self.decoders, self.ups, strict=True):
            features = decoder(fastest_layout(up(features)) + skips.pop())
        # The input first: the sum of two memory formats has that of its first operand.
        return x + self.ending(features)[..., :height, :width]


def sites(model: nn.Module) -> list[Site]:
    """Every convolution, the output of each branch of each block, and each level, in forward order."""
    config = cast(NAFNet, model).config
    levels = len(config.encoder)
    found = convolution_sites(model, ["intro"], level=1)
    for index in range(levels):
        found += _stage_sites(model, f"encoders.{index}", level=index + 1)
        found += convolution_sites(model, [f"downs.{index}"], level=index + 2)
    found += _stage_sites(model, "middle_blks", level=levels + 1)
    for index in range(levels):
        found += convolution_sites(model, [f"ups.{index}"], level=levels + 1 - index)
        found += _stage_sites(model, f"decoders.{index}", level=levels - index)
    return found + convolution_sites(model, ["ending"], level=1)


def _stage_sites(model: nn.Module, path: str, *, level: int) -> list[Site]:
    channels = cast(NAFNet, model).config.width * 2 ** (level - 1)
    found: list[Site] = []
    for index, _ in enumerate(model.get_submodule(path).children()):
        block = f"{path}.{index}"
        for convolutions, branch in (
            (("conv1", "conv2", "sca", "conv3"), "dropout1"),
            (("conv4", "conv5"), "dropout2"),
        ):
            found += convolution_sites(model, [f"{block}.{name}" for name in convolutions], level=level)
            found.append(Site.of(model, f"{block}.{branch}", "branch", level=level, channels=channels))
    return [*found, Site.of(model, path, "stage", level=level, channels=channels)]


_GOPRO = {"encoder": (1, 1, 1, 28), "middle": 1, "decoder": (1, 1, 1, 1)}
_SIDD = {"encoder": (2, 2, 4, 8), "middle": 12, "decoder": (2, 2, 2, 2)}

SPEC = BackboneSpec(
    name="nafnet",
    summary="U-shaped convolutional network without activation functions (Chen et al., 2022)",
    config=NAFNetConfig,
    build=NAFNet,
    sites=sites,
    presets={
        "width32": {"width": 32, **_GOPRO},
        "width64": {"width": 64, **_GOPRO},
        "width32-sidd": {"width": 32, **_SIDD},
        "width64-sidd": {"width": 64, **_SIDD},
        "tiny": {"width": 16, "encoder": (1, 1, 2, 3), "middle": 1, "decoder": (1, 1, 1, 1)},
    },
    default_preset="tiny",
    spandrel=NAFNET,
)
