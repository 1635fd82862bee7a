"""The fused operators as Python functions.

Each operator is a folder: the schema, the public function, the fake and the gradient in ``__init__.py``, and the
same arithmetic in plain PyTorch, with its equation and source, in ``reference.py``. The reference is the kernel of
every device; where there is a ``native.py``, the library's kernel (``csrc/<operator>``) runs for the arguments that it
takes, and no caller changes.
"""

from __future__ import annotations

from adair_core.ops.attention_branch import attention_branch
from adair_core.ops.bottleneck import bottleneck
from adair_core.ops.bottleneck_batch import bottleneck_batch
from adair_core.ops.channel_attention import channel_attention
from adair_core.ops.depthwise import depthwise
from adair_core.ops.depthwise_gate import depthwise_gate
from adair_core.ops.feed_forward import feed_forward
from adair_core.ops.layer_norm2d import layer_norm2d
from adair_core.ops.low_rank_convolution import low_rank_convolution
from adair_core.ops.low_rank_weight import low_rank_weight

__all__ = [
    "attention_branch",
    "bottleneck",
    "bottleneck_batch",
    "channel_attention",
    "depthwise",
    "depthwise_gate",
    "feed_forward",
    "layer_norm2d",
    "low_rank_convolution",
    "low_rank_weight",
]
