"""The parameters of the attention branch."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Parameters(NamedTuple):
    """In the order of the operator; see `reference.attention_branch`."""

    norm_weight: Tensor
    norm_bias: Tensor | None
    qkv_weight: Tensor
    qkv_bias: Tensor | None
    depthwise_weight: Tensor
    depthwise_bias: Tensor | None
    temperature: Tensor
    out_weight: Tensor
    out_bias: Tensor | None
