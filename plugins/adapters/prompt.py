"""Prompts: learned images of features, mixed by what the input looks like, and fused into each level."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from adair_core.adapter import AdapterConfig, FeatureAdapter
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

    def forward(self, features: Tensor) -> Tensor:
        """Compute the residual of features ``(B, C, H, W)``."""
        weights = self.weigh(features.mean((2, 3))).softmax(1)
        mixed = torch.einsum("bn,nchw->bchw", weights, self.components.to(weights.dtype))
        prompt = functional.interpolate(mixed, size=features.shape[-2:], mode="bilinear", align_corners=False)
        joined = torch.cat([features, self.refine(prompt).to(features.dtype)], dim=1)
        residual: Tensor = self.project(functional.gelu(self.depthwise(self.fuse(joined))))
        return residual


def build(config: PromptConfig, site: Site) -> Prompt:
    """Make the prompt of one level."""
    return Prompt(site.channels, components=config.components, channels=config.channels, size=config.size)


SPEC = AdapterSpec(
    name="prompt",
    summary="learned prompts, mixed by the input's content, fused into each level's features",
    config=PromptConfig,
    kinds=frozenset({"stage"}),
    build=build,
)
