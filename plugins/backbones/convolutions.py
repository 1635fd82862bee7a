"""Convolutions: as places for adapters, and by fused operators."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from adair_core.ops import depthwise
from adair_core.specs import Site, SiteKind


def kind_of(convolution: nn.Conv2d) -> SiteKind:
    """The site kind of a convolution: depthwise, 1 x 1, or any other (3 x 3, and strided 2 x 2)."""
    if convolution.groups == convolution.in_channels > 1:
        return "dwconv"
    return "conv1x1" if convolution.kernel_size == (1, 1) else "conv3x3"


def convolution_sites(model: nn.Module, paths: Iterable[str], *, level: int) -> list[Site]:
    """A site for every convolution at or below `paths`, in the order of their definition.

    Args:
        model: the backbone.
        paths: dotted module paths in it.
        level: their resolution level.
    """
    return [
        Site.of(model, ".".join(filter(None, (path, name))), kind_of(module), level=level)
        for path in paths
        for name, module in model.get_submodule(path).named_modules()
        if isinstance(module, nn.Conv2d)
    ]


def convolve_depthwise(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Call a depthwise 3x3 convolution with zero padding.

    With a frozen weight it is the fused operator, which keeps no input for the backward pass. A frozen NAFNet keeps
    0.85 of the activations then in float32 and 0.87 in bfloat16, and a step takes 1.00 and 1.02 times as long (one CPU
    thread; tiny, 8 patches of 64 x 64, and width32, 128 x 128). Without gradients it would take 1.00 and 1.05 times as
    long, for the operator's way through Python.

    Args:
        convolution: the module; where somebody listens to it, it is called.
        x: ``(B, C, H, W)``.
    """
    keeps = torch.is_grad_enabled() and x.requires_grad and not x.is_cuda
    if keeps and is_plain(convolution, nn.Conv2d) and not convolution.weight.requires_grad:
        return depthwise(x, convolution.weight, convolution.bias)
    return convolution(x)


def is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a fused operator may read a module's parameters instead of calling it.

    It may not where another library has put its own module in place (PEFT does), or where a hook waits for the call.
    """
    return type(module) is kind and not (module._forward_hooks or module._forward_pre_hooks)
