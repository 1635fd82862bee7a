"""The attention branch on a CUDA device: kernels (csrc) around the library's matrix product to 3C channels."""

from __future__ import annotations

from functools import partial

from adair_core.ops.attention_branch import composed
from adair_core.ops.native import NativeKernel, refuse, refuse_backward

FORWARD = NativeKernel(partial(composed.forward, composed.InOneKernel), refuse)
BACKWARD = NativeKernel(partial(composed.backward, composed.InOneKernel), refuse_backward)
