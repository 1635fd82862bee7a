"""The parameters of the feed-forward branch."""

from __future__ import annotations

from typing import NamedTuple

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
