"""Bottleneck adapters at the end of a branch: added by the branch's own kernel, where it can, as it writes its result.

    y = branch(x) (+ x) + scale * up(GELU(dw(down(branch(x)))))

By itself an adapter reads the branch's output and x from memory again, which takes longer than its arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from adair_core.ops.bottleneck import bottleneck
from adair_core.ops.bottleneck_batch import bottleneck_batch
from adair_core.ops.constants import constants
from adair_core.ops.layout import memory_format
from adair_core.ops.per_image import NotPerImageError, index_of_each
from adair_core.ops.stacks import Stacks

BottleneckParameters = tuple[Tensor, Tensor | None, Tensor, Tensor | None, Tensor, Tensor | None, Tensor]
"""In the order of `bottleneck`: weight and bias of down, of the depthwise convolution and of up; scale."""


@dataclass(frozen=True)
class Epilogue:
    """What is added to a branch.

    Attributes:
        adapters: the parameters of each; ``None`` adds nothing.
        counts: how many images of the batch have each of them: the first ones have the first. Empty: all have the only
            one.
        stacks: lays the parameters of all side by side, and keeps them if it is kept.
    """

    adapters: tuple[BottleneckParameters | None, ...]
    counts: tuple[int, ...] = ()
    stacks: Stacks = field(default_factory=Stacks, compare=False)

    def add_to(self, features: Tensor, base: Tensor | None = None, *, residual: bool = True) -> Tensor:
        """Compute ``adapter(features) (+ base) (+ features)`` for each image, in operators of their own.

        Args:
            features: ``(B, C, H, W)``, the branch's own output.
            base: ``(B, C, H, W)``, a skip connection, or the features after other adapters.
            residual: whether the features are added.

        Returns:
            ``(B, C, H, W)`` in the dtype of `features`, or of autocast.

        Raises:
            NotPerImageError: the batch is not the one that the adapters are for.
        """
        if not self.counts:
            return _add(features, self.adapters[0], base, residual)
        if sum(self.counts) != len(features):
            raise NotPerImageError(f"a batch of {len(features)} with adapters for {sum(self.counts)} images")
        chosen = [own for own in self.adapters if own is not None]
        if len({own[0].shape for own in chosen}) > 1:
            counts = list(self.counts)
            bases = [None] * len(counts) if base is None else torch.split(base, counts)
            shares = zip(torch.split(features, counts), self.adapters, bases, strict=True)
            parts = [_add(*share, residual) for share in shares]
            return torch.cat(parts).contiguous(memory_format=memory_format(features))
        down_w, down_b, depthwise_w, depthwise_b, up_w, up_b, scale = cast(
            BottleneckParameters, self.stacks.get(chosen)
        )
        index = constants(index_of_each(self.adapters, self.counts), features.device)
        stack = (down_w, down_b, depthwise_w, depthwise_b, up_w, up_b, scale.flatten())
        return bottleneck_batch(features, *stack, index, base, residual=residual)


def _add(features: Tensor, own: BottleneckParameters | None, base: Tensor | None, residual: bool) -> Tensor:
    if own is not None:
        return bottleneck(features, *own, base, residual=residual)
    if base is None:
        return features if residual else torch.zeros_like(features)
    return base.to(features.dtype) + features if residual else base.to(features.dtype)


def end_branch(output: Tensor, skip: Tensor | None, epilogue: Epilogue | None) -> Tensor:
    """Compute ``output (+ skip)`` and what an epilogue adds, in operators of their own.

    Args:
        output: ``(B, C, H, W)``, the branch's own.
        skip: ``(B, C, H, W)``.
        epilogue: what is added.
    """
    if epilogue is not None:
        return epilogue.add_to(output, skip)
    return output if skip is None else skip + output
