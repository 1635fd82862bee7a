"""The native kernels, compiled for several instruction sets, compute the same."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from adair_core.ops.native import library

# Prints the largest relative error of any output or gradient, float32 against float64. Channels are no multiple of any
# vector.
PROGRAM = """
import torch
from adair_core import ops

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)

def random(*shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)

def gradients(operator, tensors, dtype):
    leaves = [value.to(dtype).requires_grad_() for value in tensors]
    output = operator(*leaves)
    return [output, *torch.autograd.grad(output.square().sum(), leaves)]

x = random(2, 22, 19, 37)
norm, out_bias = [random(22), random(22)], random(22)
feed_forward = [x, *norm, random(58, 22, 1, 1), random(58), random(58, 1, 3, 3), random(58), random(22, 29, 1, 1)]
attention = [x, *norm, random(66, 22, 1, 1), random(66), random(66, 1, 3, 3), random(66), random(2, 1, 1)]
cases = [
    (ops.feed_forward, [*feed_forward, out_bias]),
    (lambda *tensors: ops.attention_branch(*tensors, heads=2), [*attention, random(22, 22, 1, 1), out_bias]),
]
worst = 0.0
for operator, tensors in cases:
    pairs = zip(*(gradients(operator, tensors, dtype) for dtype in (torch.float32, torch.float64)))
    worst = max(worst, *(float((a.double() - b).norm() / b.norm()) for a, b in pairs))
print(worst)
"""


@pytest.mark.skipif(not library().loaded, reason="the native library is not built")
@pytest.mark.parametrize("capability", ["baseline", "avx2", "avx512", "avx512_bf16", "amx_bf16"])
def test_each_instruction_set_is_exact(capability: str) -> None:
    # A level that this machine lacks is capped to the highest it has.
    environment = {**os.environ, "ADAIR_CPU_CAPABILITY": capability}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-5
