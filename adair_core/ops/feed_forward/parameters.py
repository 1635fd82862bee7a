"""The parameters of the feed-forward branch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Parameters(NamedTuple):
    """In the order of the operator; see `reference.feed_forward`."""

    norm_weight: Tensor
    norm_bias: Tensor | None
    in_weight: Tensor
    in_bias: Tensor | None
    depthwise_weight: Tensor
    depthwise_bias: Tensor | None
    out_weight: Tensor
    out_bias: Tensor | None

    def widened(self, multiple: int) -> Parameters:
        """The same branch with hidden channels of zeros behind each half, so that their number is a multiple.

        The gate makes zeros of them, which the output weight does not look at.
        """
        missing = -self.out_weight.shape[1] % multiple
        if not missing:
            return self

        def with_zeros(both: Tensor) -> Tensor:
            a, b = both.chunk(2)
            zeros = both.new_zeros((missing, *both.shape[1:]))
            return torch.cat([a, zeros, b, zeros])

        out_zeros = self.out_weight.new_zeros((len(self.out_weight), missing, *self.out_weight.shape[2:]))
        return self._replace(
            in_weight=with_zeros(self.in_weight),
            in_bias=None if self.in_bias is None else with_zeros(self.in_bias),
            depthwise_weight=with_zeros(self.depthwise_weight),
            depthwise_bias=None if self.depthwise_bias is None else with_zeros(self.depthwise_bias),
            out_weight=torch.cat([self.out_weight, out_zeros], 1),
        )
