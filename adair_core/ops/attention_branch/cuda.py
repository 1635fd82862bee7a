"""The attention branch on a CUDA device: kernels (csrc) around the library's matrix product to 3C channels."""

from __future__ import annotations

from functools import partial

from adair_core.ops.attention_branch import composed
from adair_core.ops.attention_branch.parameters import Parameters
from adair_core.ops.branches import gathered
from adair_core.ops.native import NativeKernel, refuse, refuse_backward

_forward, _backward = (partial(each, composed.InOneKernel) for each in (composed.forward, composed.backward))
FORWARD = NativeKernel(gathered(Parameters, _forward, after=1), refuse)
BACKWARD = NativeKernel(gathered(Parameters, _backward, after=2), refuse_backward)
