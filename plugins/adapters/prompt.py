"""Prompts: learned images of features, mixed by what the input looks like, and fused into each level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

from adair_core.adapter import AdapterConfig, FeatureAdapter
from adair_core.derived import Derived
from adair_core.ops import bottleneck, bottleneck_batch
from adair_core.ops.constants import constants
from adair_core.ops.per_image import index_of_each
from adair_core.ops.stacks import Stacks
from adair_core.specs import AdapterSpec, Site


class PromptConfig(AdapterConfig):
    """How many prompts there are, and how large."""

    components: int = Field(5, ge=1, description="learned prompt components that are mixed")
    channels: int = Field(16, ge=1, description="channels of a component, and of the fusion")
    size: int = Field(8, ge=1, description="height and width of a component; it is resized to the features")


class Prompt(FeatureAdapter):
    """A prompt made for the input, fused with the features.

        w = softmax(Linear(GAP(y)))                       (B, N)
        P = conv3x3(resize(sum_n w_n P_n))                (B, c, H, W)
        f(y) = project(GELU(depthwise3x3(fuse([y; P]))))  (B, C, H, W)

    GAP is the mean over all pixels, `resize` bilinear to H x W, `fuse` a 1x1 convolution to c channels and `project`
    one back to C. New ones are the identity: `project` is zero.

    It is computed without the prompt at full size: resizing and the 3x3 convolution, and `fuse` on its result, are
    linear, so they are applied to the N components, which are small (`_spread`). With F = [F_y, F_P] the weight of
    `fuse`, f is then a bottleneck into which F_P P is injected after F_y y.

    Source: Potlapalli et al., PromptIR: Prompting for All-in-One Blind Image Restoration, 2023, equations 2 to 4 (the
    generation of the prompt); the fusion here is convolutional where theirs is a transformer block.

    Args:
        features: C, channels of the features.
        components: N.
        channels: c, of a component.
        size: height and width of a component.
    """

    def __init__(self, features: int, *, components: int, channels: int, size: int) -> None:
        super().__init__()
        self.components = nn.Parameter(torch.empty(components, channels, size, size))
        nn.init.normal_(self.components, std=0.1)
        self.weigh = nn.Linear(features, components)
        self.refine = nn.Conv2d(channels, channels, 3, padding=1)
        self.fuse = nn.Conv2d(features + channels, channels, 1)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.project = nn.Conv2d(channels, features, 1)
        nn.init.zeros_(self.project.weight)
        assert self.project.bias is not None
        nn.init.zeros_(self.project.bias)
        self._derived = Derived[Tensor]()
        self._stacks = Stacks()

    def forward(self, features: Tensor) -> Tensor:
        """Compute the residual of features ``(B, C, H, W)``."""
        return bottleneck(features, *self._convolutions(), self.components.new_ones(1), None, _injected(features, self))

    def add_to(self, output: Tensor, features: Tensor, strength: float) -> Tensor:
        """Compute the sum in one operator."""
        scale = self.components.new_full((1,), strength)
        return bottleneck(features, *self._convolutions(), scale, output, _injected(features, self))

    @classmethod
    def add_to_each(
        cls, output: Tensor, features: Tensor, adapters: Sequence[tuple[Self, float] | None], counts: Sequence[int]
    ) -> Tensor:
        """Compute the sums of all images in one operator."""
        chosen = [entry for entry in adapters if entry is not None]
        prompts = [prompt for prompt, _ in chosen]
        # Options differ; or what would be injected into images without an adapter is not worth making.
        if len({prompt.components.shape for prompt in prompts}) > 1 or len(prompts) == 1:
            return super().add_to_each(output, features, adapters, counts)
        index = index_of_each(adapters, counts)
        device, dtype = features.device, prompts[0].components.dtype
        stacked = prompts[0]._stacks.get([each._parameters_in_order() for each in prompts])
        *stack, linear, bias, spreads = cast(tuple[Tensor, ...], stacked)
        scale = constants([strength for _, strength in chosen], device, dtype)
        # What is injected into images without an adapter is not looked at.
        own = constants([max(place, 0) for place in index], device)
        injected = _injected_each(features, prompts[0], linear[own], bias[own], spreads[own])
        return bottleneck_batch(features, *stack, scale, constants(index, device), output, injected)

    def _parameters_in_order(self) -> tuple[Tensor | None, ...]:
        """What the prompts of a batch are stacked from."""
        with torch.autocast(self.components.device.type, enabled=False):
            return *self._convolutions(), self.weigh.weight, self.weigh.bias, self._spread()

    def _convolutions(self) -> tuple[Tensor | None, ...]:
        """The bottleneck's: that from the features, with the biases of what is injected, and the last two."""
        wide = self.project.out_channels
        fuse, refine = self.fuse, self.refine
        assert fuse.bias is not None
        assert refine.bias is not None
        made_of = (fuse.weight, fuse.bias, refine.bias)
        with torch.autocast(fuse.weight.device.type, enabled=False):  # which rounds it on some devices
            bias = self._derived.get("bias", made_of, lambda: torch.addmv(made_of[1], _joining(self), made_of[2]))
        depthwise, project = self.depthwise, self.project
        return fuse.weight[:, :wide], bias, depthwise.weight, depthwise.bias, project.weight, project.bias

    def _spread(self) -> Tensor:
        """The components after `refine` and `fuse`, with the taps apart: the rows and columns beside one are its own.

        Returns:
            ``(N, 3 s, 3 s, c)``: tap times s + row, tap times s + column.
        """
        count, channels, size, _ = self.components.shape

        def make() -> Tensor:
            taps = (_joining(self) @ self.refine.weight.flatten(1)).view(channels, channels, 3, 3)
            spread = torch.einsum("oikl,nihw->nkhlwo", taps, self.components)
            return spread.reshape(count, 3 * size, 3 * size, channels)

        return self._derived.get("spread", (self.components, self.fuse.weight, self.refine.weight), make)

    def _resizing(self, length: int) -> Tensor:
        return self._derived.get(("resizing", length), (self.components,), lambda: _resizing(length, self.components))


def _injected(features: Tensor, prompt: Prompt) -> Tensor:
    """F_P P for each image, without biases.

    Args:
        features: ``(B, C, H, W)``.
        prompt: of all images.

    Returns:
        ``(B, c, H, W)``, channels last, in the dtype of the prompt.
    """
    with torch.autocast(features.device.type, enabled=False):
        spread = prompt._spread()
        weights = prompt.weigh(_means(features, prompt)).softmax(1)
        mixed = (weights @ spread.flatten(1)).view(len(features), *spread.shape[1:])
        return _resized(features, prompt, mixed)


def _injected_each(features: Tensor, first: Prompt, linear: Tensor, bias: Tensor, spreads: Tensor) -> Tensor:
    """Likewise with a prompt of its own for each image.

    Args:
        features: ``(B, C, H, W)``.
        first: one of the prompts, which have equal options.
        linear: ``(B, N, C)``, the weight of `weigh` of each image's prompt.
        bias: ``(B, N)``, likewise.
        spreads: ``(B, N, 3 s, 3 s, c)``, likewise the components, see `Prompt._spread`.
    """
    with torch.autocast(features.device.type, enabled=False):
        weights = (torch.einsum("bnc,bc->bn", linear, _means(features, first)) + bias).softmax(1)
        return _resized(features, first, torch.einsum("bn,bnrco->brco", weights, spreads))


def _means(features: Tensor, prompt: Prompt) -> Tensor:
    return features.mean((2, 3)).to(prompt.components.dtype)


def _resized(features: Tensor, prompt: Prompt, mixed: Tensor) -> Tensor:
    """Mixed components ``(B, 3 s, 3 s, c)`` at the size of the features, their taps added up."""
    across = torch.matmul(prompt._resizing(features.shape[3]), mixed)
    result = torch.matmul(prompt._resizing(features.shape[2]), across.flatten(2))
    return result.view(len(features), *features.shape[2:], mixed.shape[-1]).permute(0, 3, 1, 2)


def _joining(prompt: Prompt) -> Tensor:
    """F_P, the columns of `fuse` that take the prompt: ``(c, c)``."""
    return prompt.fuse.weight[:, prompt.project.out_channels :].flatten(1)


def _resizing(length: int, components: Tensor) -> Tensor:
    """The matrix of bilinear resizing along one direction, then of a convolution's three taps with zero padding.

    Returns:
        ``(length, 3 s)``.
    """
    size = components.shape[-1]
    unit = torch.eye(size, dtype=components.dtype, device=components.device)[None]
    resize = functional.interpolate(unit, size=length, mode="linear", align_corners=False)[0].T
    padded = functional.pad(resize, (0, 0, 1, 1))
    return torch.cat([padded[tap : tap + length] for tap in range(3)], dim=1)


def build(config: PromptConfig, site: Site) -> Prompt:
    """Make the prompt of one level."""
    return Prompt(site.channels, components=config.components, channels=config.channels, size=config.size)


SPEC = AdapterSpec(
    name="prompt",
    summary="learned prompts, mixed by the input's content, fused into each level's features",
    config=PromptConfig,
    kinds=frozenset({"stage"}),
    build=build,
    defaults={"optimizer": "muon", "learning_rate": 5e-3},  # docs/base.md, "Bottlenecks and prompts"
)
