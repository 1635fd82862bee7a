"""Restormer as a PyTorch user writes it from the paper: the competitor, in NCHW and of PyTorch's own operations.

Zamir et al., arXiv 2111.09881. Parameter names are those of the published checkpoints, so that it takes the same
weights as adair's. It is written to be fast: layer norm by `torch.nn.functional.layer_norm`, which takes a quarter of
the time of the published composition; nothing is computed twice. It imports nothing of adair.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class LayerNorm(nn.Module):
    """Layer norm over channels, with a bias, or Restormer's bias-free kind."""

    def __init__(self, channels: int, *, biased: bool) -> None:
        super().__init__()
        self.body = nn.Module()
        self.body.register_parameter("weight", nn.Parameter(torch.ones(channels)))
        self.body.register_parameter("bias", nn.Parameter(torch.zeros(channels)) if biased else None)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> the same shape."""
        last = x.permute(0, 2, 3, 1)
        weight, bias = self.body.weight, self.body.bias
        if bias is None:
            normalised = last * torch.rsqrt(last.var(-1, keepdim=True, unbiased=False) + 1e-5) * weight
        else:
            normalised = functional.layer_norm(last, (x.shape[1],), weight, bias, 1e-5)  # type: ignore[arg-type]
        return normalised.permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Multi-Dconv head transposed attention (equation 2)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.qkv_dwconv = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> the same shape."""
        batch, channels, height, width = x.shape
        parts = self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1)
        q, k, v = (part.reshape(batch, self.heads, channels // self.heads, height * width) for part in parts)
        q, k = functional.normalize(q, dim=-1), functional.normalize(k, dim=-1)
        attention = (q @ k.transpose(-2, -1) * self.temperature).softmax(dim=-1)
        result: Tensor = self.project_out((attention @ v).reshape(batch, channels, height, width))
        return result


class FeedForward(nn.Module):
    """Gated-Dconv feed-forward network (equation 3)."""

    def __init__(self, channels: int, expansion: float) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> the same shape."""
        a, b = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        result: Tensor = self.project_out(functional.gelu(a) * b)
        return result


class TransformerBlock(nn.Module):
    """x + attention, then x + feed-forward, each after a layer norm."""

    def __init__(self, channels: int, heads: int, *, expansion: float = 2.66, biased: bool = True) -> None:
        super().__init__()
        self.norm1 = LayerNorm(channels, biased=biased)
        self.attn = Attention(channels, heads)
        self.norm2 = LayerNorm(channels, biased=biased)
        self.ffn = FeedForward(channels, expansion)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> the same shape."""
        x = x + self.attn(self.norm1(x))
        result: Tensor = x + self.ffn(self.norm2(x))
        return result


class _Convolution(nn.Module):
    """A convolution under the name that the published checkpoints give it, then a rearrangement of pixels."""

    def __init__(self, name: str, in_channels: int, out_channels: int, shuffle: nn.Module | None = None) -> None:
        super().__init__()
        convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.add_module(name, convolution if shuffle is None else nn.Sequential(convolution, shuffle))
        self._name = name

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.get_submodule(self._name)(x)
        return result


class Restormer(nn.Module):
    """The whole network.

    Args:
        dim: channels at full resolution.
        blocks: of the four levels.
        refinement: blocks after the decoder.
        heads: of the four levels.
        biased: kind of layer norm.
    """

    def __init__(
        self,
        dim: int = 48,
        blocks: Sequence[int] = (4, 6, 6, 8),
        refinement: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        *,
        biased: bool = True,
    ) -> None:
        super().__init__()

        def level(channels: int, heads: int, count: int) -> nn.Sequential:
            return nn.Sequential(*(TransformerBlock(channels, heads, biased=biased) for _ in range(count)))

        self.patch_embed = _Convolution("proj", 3, dim)
        self.encoder_level1 = level(dim, heads[0], blocks[0])
        self.down1_2 = _Convolution("body", dim, dim // 2, nn.PixelUnshuffle(2))
        self.encoder_level2 = level(2 * dim, heads[1], blocks[1])
        self.down2_3 = _Convolution("body", 2 * dim, dim, nn.PixelUnshuffle(2))
        self.encoder_level3 = level(4 * dim, heads[2], blocks[2])
        self.down3_4 = _Convolution("body", 4 * dim, 2 * dim, nn.PixelUnshuffle(2))
        self.latent = level(8 * dim, heads[3], blocks[3])
        self.up4_3 = _Convolution("body", 8 * dim, 16 * dim, nn.PixelShuffle(2))
        self.reduce_chan_level3 = nn.Conv2d(8 * dim, 4 * dim, 1, bias=False)
        self.decoder_level3 = level(4 * dim, heads[2], blocks[2])
        self.up3_2 = _Convolution("body", 4 * dim, 8 * dim, nn.PixelShuffle(2))
        self.reduce_chan_level2 = nn.Conv2d(4 * dim, 2 * dim, 1, bias=False)
        self.decoder_level2 = level(2 * dim, heads[1], blocks[1])
        self.up2_1 = _Convolution("body", 2 * dim, 4 * dim, nn.PixelShuffle(2))
        self.decoder_level1 = level(2 * dim, heads[0], blocks[0])
        self.refinement = level(2 * dim, heads[0], refinement)
        self.output = nn.Conv2d(2 * dim, 3, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W)``, any H, W >= 8 -> the same shape."""
        height, width = x.shape[-2:]
        padded = functional.pad(x, (0, -width % 8, 0, -height % 8), mode="reflect")
        level1 = self.encoder_level1(self.patch_embed(padded))
        level2 = self.encoder_level2(self.down1_2(level1))
        level3 = self.encoder_level3(self.down2_3(level2))
        decoded = self.up4_3(self.latent(self.down3_4(level3)))
        decoded = self.decoder_level3(self.reduce_chan_level3(torch.cat([decoded, level3], dim=1)))
        decoded = self.decoder_level2(self.reduce_chan_level2(torch.cat([self.up3_2(decoded), level2], dim=1)))
        decoded = self.decoder_level1(torch.cat([self.up2_1(decoded), level1], dim=1))
        result: Tensor = (self.output(self.refinement(decoded)) + padded)[..., :height, :width]
        return result


class LoraConvolution(nn.Module):
    """A convolution with LoRA beside it, y = W x + s B (A x), as PEFT computes it and without PEFT's bookkeeping."""

    def __init__(self, convolution: nn.Conv2d, rank: int) -> None:
        super().__init__()
        self.convolution = convolution
        self.a = nn.Conv2d(convolution.in_channels, rank, 1, bias=False)
        self.b = nn.Conv2d(rank, convolution.out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> ``(B, out_channels, H, W)``."""
        result: Tensor = self.convolution(x) + self.b(self.a(x))
        return result


def add_lora(network: nn.Module, paths: Iterable[str], rank: int) -> None:
    """Freeze a network and put LoRA on 1x1 convolutions, in place."""
    network.requires_grad_(False)
    for path in paths:
        parent, _, leaf = path.rpartition(".")
        convolution = network.get_submodule(path)
        assert isinstance(convolution, nn.Conv2d)
        setattr(network.get_submodule(parent), leaf, LoraConvolution(convolution, rank))
