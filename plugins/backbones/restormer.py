"""Restormer: a U-shaped transformer that attends across channels.

Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration", arXiv 2111.09881. Written from
the paper. Parameter names and shapes are those of the published checkpoints, which therefore load.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from adair_core import BackboneSpec, Config, Site
from adair_core.branch import add_branch
from adair_core.ops import attention_branch, channel_attention, depthwise_gate, feed_forward, layer_norm2d
from adair_core.ops.epilogue import Epilogue, end_branch
from adair_plugins.backbones.convolutions import convolution_sites, convolve_depthwise, is_plain
from adair_plugins.backbones.layout import fastest_layout
from adair_plugins.backbones.padding import pad_to_multiple
from adair_plugins.backbones.spandrel_forms import RESTORMER


class RestormerConfig(Config):
    """Shape of a Restormer."""

    in_channels: int = Field(3, ge=1, description="channels of the input image")
    out_channels: int = Field(3, ge=1, description="channels of the output image")
    dim: int = Field(48, ge=2, description="channels at full resolution; each further level doubles them")
    blocks: tuple[int, int, int, int] = Field((4, 6, 6, 8), description="transformer blocks of the four levels")
    refinement: int = Field(4, ge=0, description="blocks after the decoder, at full resolution")
    heads: tuple[int, int, int, int] = Field((1, 2, 4, 8), description="attention heads of the four levels")
    expansion: float = Field(2.66, gt=0, description="hidden channels of the feed-forward network, as a factor")
    norm: Literal["biased", "bias-free"] = Field("biased", description="kind of layer norm; denoisers are bias-free")
    bias: bool = Field(False, description="biases in the convolutions of the blocks")
    dual_pixel: bool = Field(
        False, description="the variant for dual-pixel defocus deblurring: no global residual, a projected skip instead"
    )

    @model_validator(mode="after")
    def _check(self) -> RestormerConfig:
        if self.dim % 2:
            raise ValueError(f"dim: expected an even number, got {self.dim}")
        if min(self.blocks) < 0 or min(self.heads) < 1:
            raise ValueError(f"expected blocks >= 0 and heads >= 1, got {self.blocks} and {self.heads}")
        for level, heads in enumerate(self.heads):
            channels = self.dim * 2**level
            if channels % heads:
                raise ValueError(f"heads: expected a divisor of {channels} at level {level + 1}, got {heads}")
        if int(self.dim * self.expansion) < 1:
            raise ValueError(f"expansion: expected at least one hidden channel, got {self.dim} x {self.expansion}")
        if not self.dual_pixel and self.in_channels not in (1, self.out_channels):
            raise ValueError(
                f"in_channels: expected 1 or out_channels = {self.out_channels}, because the input is added to the "
                f"output, got {self.in_channels}"
            )
        return self


class LayerNorm(nn.Module):
    """Layer norm over channels; its parameters live in ``body``, as in the published checkpoints."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.body = nn.Module()
        self.body.register_parameter("weight", nn.Parameter(torch.ones(channels)))
        bias = nn.Parameter(torch.zeros(channels)) if norm == "biased" else None
        self.body.register_parameter("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> the same shape."""
        return layer_norm2d(x, self.body.weight, self.body.bias)


class Attention(nn.Module):
    """Multi-Dconv head transposed attention (eq. 2)."""

    takes_epilogue = True

    def __init__(self, channels: int, heads: int, *, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=bias)
        self.qkv_dwconv = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=bias)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=bias)

    def forward(self, x: Tensor, norm: LayerNorm, residual: bool = False, epilogue: Epilogue | None = None) -> Tensor:
        """``(B, C, H, W)`` -> the same shape: the attention of the normalised x (+ x) and an epilogue."""
        first, middle, last = self.qkv, self.qkv_dwconv, self.project_out
        if is_plain(norm, LayerNorm) and all(is_plain(part, nn.Conv2d) for part in (first, middle, last)):
            return attention_branch(
                x,
                *(norm.body.weight, norm.body.bias),
                *(first.weight, first.bias),
                *(middle.weight, middle.bias),
                self.temperature,
                *(last.weight, last.bias),
                heads=self.heads,
                residual=residual,
                epilogue=epilogue,
            )
        qkv = convolve_depthwise(middle, first(norm(x)))
        attended = last(channel_attention(qkv, self.temperature, self.heads))
        return end_branch(attended, x if residual else None, epilogue)


class FeedForward(nn.Module):
    """Gated-Dconv feed-forward network (eq. 3)."""

    takes_epilogue = True

    def __init__(self, channels: int, expansion: float, *, bias: bool) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=bias)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=bias)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=bias)

    def forward(self, x: Tensor, norm: LayerNorm, residual: bool = False, epilogue: Epilogue | None = None) -> Tensor:
        """``(B, C, H, W)`` -> the same shape: the network of the normalised x (+ x) and an epilogue."""
        first, middle, last = self.project_in, self.dwconv, self.project_out
        if is_plain(norm, LayerNorm) and all(is_plain(part, nn.Conv2d) for part in (first, middle, last)):
            return feed_forward(
                x,
                *(norm.body.weight, norm.body.bias),
                *(first.weight, first.bias),
                *(middle.weight, middle.bias),
                *(last.weight, last.bias),
                residual=residual,
                epilogue=epilogue,
            )
        hidden = first(norm(x))
        if is_plain(middle, nn.Conv2d):
            gated = depthwise_gate(hidden, middle.weight, middle.bias)
        else:
            a, b = middle(hidden).chunk(2, dim=1)
            gated = functional.gelu(a) * b
        return end_branch(last(gated), x if residual else None, epilogue)


class TransformerBlock(nn.Module):
    """x + attention, then x + feed-forward, each after a layer norm."""

    def __init__(self, channels: int, heads: int, config: RestormerConfig) -> None:
        super().__init__()
        self.norm1 = LayerNorm(channels, config.norm)
        self.attn = Attention(channels, heads, bias=config.bias)
        self.norm2 = LayerNorm(channels, config.norm)
        self.ffn = FeedForward(channels, config.expansion, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> the same shape."""
        x = add_branch(x, self.attn, self.norm1)
        return add_branch(x, self.ffn, self.norm2)


class PatchEmbedding(nn.Module):
    """A 3x3 convolution from the image to features."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W)`` -> ``(B, C, H, W)``."""
        return self.proj(x)


class Downsample(nn.Module):
    """Half the resolution, twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        convolution = nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False)
        self.body = nn.Sequential(convolution, nn.PixelUnshuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> ``(B, 2C, H / 2, W / 2)``."""
        return fastest_layout(self.body(x))


class Upsample(nn.Module):
    """Twice the resolution, half the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> ``(B, C / 2, 2H, 2W)``."""
        return fastest_layout(self.body(x))


class Restormer(nn.Module):
    """Four levels of transformer blocks, down and up again, then refinement at full resolution.

    Args:
        config: its shape.
    """

    multiple = 8
    """Height and width are padded to a multiple of this."""

    def __init__(self, config: RestormerConfig) -> None:
        super().__init__()
        self.config = config
        dim, bias = config.dim, config.bias

        def level(channels: int, heads: int, blocks: int) -> nn.Sequential:
            return nn.Sequential(*(TransformerBlock(channels, heads, config) for _ in range(blocks)))

        heads, blocks = config.heads, config.blocks
        self.patch_embed = PatchEmbedding(config.in_channels, dim)
        self.encoder_level1 = level(dim, heads[0], blocks[0])
        self.down1_2 = Downsample(dim)
        self.encoder_level2 = level(2 * dim, heads[1], blocks[1])
        self.down2_3 = Downsample(2 * dim)
        self.encoder_level3 = level(4 * dim, heads[2], blocks[2])
        self.down3_4 = Downsample(4 * dim)
        self.latent = level(8 * dim, heads[3], blocks[3])
        self.up4_3 = Upsample(8 * dim)
        self.reduce_chan_level3 = nn.Conv2d(8 * dim, 4 * dim, 1, bias=bias)
        self.decoder_level3 = level(4 * dim, heads[2], blocks[2])
        self.up3_2 = Upsample(4 * dim)
        self.reduce_chan_level2 = nn.Conv2d(4 * dim, 2 * dim, 1, bias=bias)
        self.decoder_level2 = level(2 * dim, heads[1], blocks[1])
        self.up2_1 = Upsample(2 * dim)
        self.decoder_level1 = level(2 * dim, heads[0], blocks[0])
        self.refinement = level(2 * dim, heads[0], config.refinement)
        if config.dual_pixel:
            self.skip_conv = nn.Conv2d(dim, 2 * dim, 1, bias=bias)
        self.output = nn.Conv2d(2 * dim, config.out_channels, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Restore images.

        Args:
            x: ``(B, in_channels, H, W)``, any H, W >= 1, in [0, 1].

        Returns:
            ``(B, out_channels, H, W)``.
        """
        batch, _, height, width = x.shape
        if batch == 0:  # PixelUnshuffle leaves the shape of an empty batch as it is
            return x.new_zeros((0, self.config.out_channels, height, width))
        embedded = self.patch_embed(fastest_layout(pad_to_multiple(x, self.multiple)))
        level1 = self.encoder_level1(embedded)
        level2 = self.encoder_level2(self.down1_2(level1))
        level3 = self.encoder_level3(self.down2_3(level2))
        latent = self.latent(self.down3_4(level3))
        decoded = self.reduce_chan_level3(torch.cat([self.up4_3(latent), level3], dim=1))
        decoded = self.decoder_level3(decoded)
        decoded = self.reduce_chan_level2(torch.cat([self.up3_2(decoded), level2], dim=1))
        decoded = self.decoder_level2(decoded)
        decoded = self.decoder_level1(torch.cat([self.up2_1(decoded), level1], dim=1))
        decoded = self.refinement(decoded)
        if self.config.dual_pixel:
            return self.output(decoded + self.skip_conv(embedded))[..., :height, :width]
        # The input first: the sum of two memory formats has that of its first operand.
        return x + self.output(decoded)[..., :height, :width]


# The resolution level at which each part's convolutions run; those of a change of resolution run before it.
_LEVEL_OF = {
    "patch_embed": 1,
    "encoder_level1": 1,
    "down1_2": 1,
    "encoder_level2": 2,
    "down2_3": 2,
    "encoder_level3": 3,
    "down3_4": 3,
    "latent": 4,
    "up4_3": 4,
    "reduce_chan_level3": 3,
    "decoder_level3": 3,
    "up3_2": 3,
    "reduce_chan_level2": 2,
    "decoder_level2": 2,
    "up2_1": 2,
    "decoder_level1": 1,
    "refinement": 1,
    "skip_conv": 1,
    "output": 1,
}
# Channels of each level's features, as a multiple of `dim`. The decoder's first level keeps the concatenated skip.
_WIDTH_OF = {
    "encoder_level1": 1,
    "encoder_level2": 2,
    "encoder_level3": 4,
    "latent": 8,
    "decoder_level3": 4,
    "decoder_level2": 2,
    "decoder_level1": 2,
    "refinement": 2,
}


def sites(model: nn.Module) -> list[Site]:
    """Every convolution, the output of each attention and feed-forward branch, and each level, in forward order."""
    found: list[Site] = []
    for part, module in model.named_children():
        level = _LEVEL_OF[part]
        if not isinstance(module, nn.Sequential):
            found += convolution_sites(model, [part], level=level)
            continue
        channels = cast(Restormer, model).config.dim * _WIDTH_OF[part]
        for index in range(len(module)):
            for branch in (f"{part}.{index}.attn", f"{part}.{index}.ffn"):
                found += convolution_sites(model, [branch], level=level)
                found.append(Site.of(model, branch, "branch", level=level, channels=channels))
        found.append(Site.of(model, part, "stage", level=level, channels=channels))
    return found


SPEC = BackboneSpec(
    name="restormer",
    summary="U-shaped transformer with attention across channels (Zamir et al., 2022)",
    config=RestormerConfig,
    build=Restormer,
    sites=sites,
    presets={
        "paper": {},
        "small": {"dim": 32, "blocks": (2, 3, 3, 4), "refinement": 2, "norm": "bias-free"},
        "tiny": {"dim": 16, "blocks": (1, 2, 2, 3), "refinement": 1, "norm": "bias-free"},
    },
    default_preset="tiny",
    spandrel=RESTORMER,
    defaults={"optimizer": "muon"},  # docs/base.md
)
