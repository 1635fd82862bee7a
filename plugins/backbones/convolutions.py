"""Convolutions as places for adapters."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

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


def is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a fused operator may read a module's parameters instead of calling it.

    It may not where another library has put its own module in place (PEFT does), or where a hook waits for the call.
    """
    return type(module) is kind and not (module._forward_hooks or module._forward_pre_hooks)
