"""Parameters of convolutions are float32, and kernels round them to the images' dtype.

All other tests give them rounded ones, which the reference in float64 has as well. Here they are not, and must give the
same bits as when they have been rounded before: a kernel that left it out would differ from those for CPUs, and its
backward pass from its forward pass.
"""

from __future__ import annotations

from pathlib import Path

import emulator
import pytest
import torch
from checks import normal
from emulator import Library, Value
from mutants import Mutation, mutant
from test_emulated_launchers import call_of
from torch import Tensor

IMAGES = {"x", "y", "gradient", "qkv", "base", "injected", "convolved", "to_x", "to_qkv"}
BIASED = ("down", "down_bias", "depthwise", "depthwise_bias", "up", "up_bias")
# The parameters that are rounded. Those of layer norms, temperatures and the factors of low-rank weights are not.
ROUNDED = {
    "depthwise": ("weight", "bias"),
    "depthwise_gate": ("weight", "bias"),
    "depthwise_gate_backward": ("weight",),
    "bottleneck": BIASED,
    "bottleneck_backward": BIASED,
    "channel_attention": ("out_weight", "out_bias"),
    "channel_attention_backward": ("out_weight",),
    "feed_forward_in_tiles": ("in_weight", "in_bias", "depthwise", "depthwise_bias", "out_weight", "out_bias"),
}


def check(built: Library, operator: str, dtype: torch.dtype) -> None:
    values: dict[str, Value] = {
        name: value.to(dtype) if isinstance(value, Tensor) and name in IMAGES else value
        for name, value in call_of(operator).items()
    }
    if "scale" in values:
        values["scale"] = torch.ones(1)  # what is scaled is rounded afterwards
    given = {name: normal(*values[name].shape, seed=place) for place, name in enumerate(ROUNDED[operator], 20)}

    def outputs(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        emulator.run(built, operator, {**values, **parameters}, seed=1)
        return {name: value.clone() for name, value in built.outputs(operator, values).items()}

    found = outputs(given)
    rounded = {name: value.to(dtype).float() for name, value in given.items()}
    for parameter in given:
        expected = outputs({**given, parameter: rounded[parameter]})
        for name, value in found.items():
            assert torch.equal(value, expected[name]), f"{name}: other bits if {parameter} has been rounded before"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("operator", ROUNDED)
def test_parameters_are_rounded(operator: str, dtype: torch.dtype) -> None:
    check(emulator.library(emulator.launchers()[operator]), operator, dtype)


GATE, DEPTHWISE, BOTTLENECK = "depthwise_gate/kernel.cuh", "depthwise/kernel.cuh", "bottleneck/prepare.cuh"
PRODUCTS, MATRICES = "cuda/pixel_products.cuh", "channel_attention/matrices.cuh"
GRADIENTS, FEED_FORWARD = "channel_attention/gradient_matrices.cuh", "feed_forward/prepare.cuh"
FAULTS = [
    ("depthwise", Mutation(DEPTHWISE, "taps[tap] = rounded<T>(load(", "taps[tap] = (load(")),
    ("depthwise", Mutation(DEPTHWISE, "0.0f : rounded<T>(load(", "0.0f : (load(")),
    ("depthwise_gate_backward", Mutation(GATE, "taps[tap] = rounded<T>(load(", "taps[tap] = (load(")),
    ("depthwise_gate", Mutation(GATE, "0.0f : rounded<T>(load(", "0.0f : (load(")),
    ("bottleneck", Mutation(BOTTLENECK, "rounded<T>(load(values + at) * factor)", "load(values + at) * factor")),
    ("channel_attention", Mutation(MATRICES, "rounded<T>(load(weights + k))", "load(weights + k)")),
    ("channel_attention", Mutation(PRODUCTS, "rounded<T>(load(f.bias", "(load(f.bias")),
    ("channel_attention_backward", Mutation(GRADIENTS, "rounded<T>(load(f.out_weight", "(load(f.out_weight")),
    ("feed_forward_in_tiles", Mutation(FEED_FORWARD, "rounded<T>(load(from + at))", "load(from + at)")),
    ("feed_forward_in_tiles", Mutation(FEED_FORWARD, "rounded<T>(value(f.out_bias", "(value(f.out_bias")),
]


@pytest.mark.skipif(emulator.SANITIZE, reason="AddressSanitizer ends the process")
@pytest.mark.parametrize(("operator", "mutation"), FAULTS, ids=lambda value: getattr(value, "name", value))
def test_a_missing_rounding_is_caught(operator: str, mutation: Mutation, tmp_path: Path) -> None:
    faulty = mutant(emulator.launchers()[operator], mutation, tmp_path, only=torch.bfloat16)
    with pytest.raises(AssertionError, match="other bits if"):
        check(faulty, operator, torch.bfloat16)
