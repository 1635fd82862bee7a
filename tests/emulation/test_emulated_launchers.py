"""The launchers of CUDA kernels: they refuse what would let a kernel leave its memory, and take tensors apart rightly.

Every tensor of every operator is in these tests, as the schemas have them, in the calls that test_emulated_alignment.py
makes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import emulator
import pytest
import test_emulated_alignment
import test_emulated_per_image
import torch
from emulator import HOST, OTHER_DEVICE, Library, Value
from mutants import Mutation, require_caught
from torch import Tensor

SCHEMAS = {
    name: emulator.schemas(emulator.CSRC / folder / "cpu.cpp", emulator.CSRC / folder / "cuda.cu")[name]
    for name, folder in emulator.launchers().items()
}
TENSORS = [
    (operator, argument.name)
    for operator, schema in SCHEMAS.items()
    for argument in schema.arguments
    if "Tensor" in str(argument.type)
]


@functools.cache
def calls(folder: str) -> Mapping[str, dict[str, Value]]:
    """A call of each operator in a folder of csrc, with all tensors."""
    made: dict[str, dict[str, Value]] = {}
    call = emulator.run

    def run(built: Library, operator: str, values: Mapping[str, Value], **options: Any) -> None:
        if operator not in made or None not in values.values():
            made[operator] = dict(values)
        call(built, operator, values, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emulator, "run", run)
        test_emulated_alignment.CHECKS[folder](emulator.library(folder, only=torch.float32))
    return made


def call_of(operator: str) -> dict[str, Value]:
    return calls(emulator.launchers()[operator])[operator]


def wrong_sizes(value: Tensor) -> Iterator[Tensor]:
    for dimension, size in enumerate(value.shape):
        for other in (size - 1, size + 1):
            yield value.new_zeros([*value.shape[:dimension], other, *value.shape[dimension + 1 :]])
    yield value.new_zeros([*value.shape, 2])  # the sizes that others follow from are the same


def check_refusals(built: Library, operator: str, argument: str) -> None:
    """Any other size, type or device of a tensor does not fit the others, so that one of them is refused."""
    values = call_of(operator)
    value = values[argument]
    assert isinstance(value, Tensor), f"no call of {operator} has {argument}: give test_emulated_alignment.py one"
    names = [name for name, given in values.items() if isinstance(given, Tensor)]
    message = rf"^(({'|'.join(names)}): expected|expected a tensor of float32|there is no CUDA device)"

    def require_refusal(changed: Tensor, expected: str = message, **options: Any) -> None:
        with pytest.raises(emulator.runner().EmulationError, match=expected):
            emulator.run(built, operator, {**values, argument: changed}, **options)

    for changed in (*wrong_sizes(value), value.to(torch.bfloat16), value.to(torch.float64)):
        require_refusal(changed)
    for device in (OTHER_DEVICE, HOST):
        require_refusal(value, devices={argument: device})
    if value.numel() > 1:
        apart = value.new_zeros([*value.shape, 2])[..., 0]
        require_refusal(apart, rf"^{argument}: expected {value.numel()} contiguous values")


@pytest.mark.parametrize(("operator", "argument"), TENSORS)
def test_a_tensor_that_does_not_fit_is_refused(operator: str, argument: str) -> None:
    check_refusals(emulator.library(emulator.launchers()[operator], only=torch.float32), operator, argument)


def doubled(values: dict[str, Value], *names: str, dimension: int = 0) -> dict[str, Value]:
    return {name: torch.cat([values[name]] * 2, dimension) for name in names}


# What launchers refuse besides: changes of a call of one image.
BESIDES = {
    "x for taps": ("depthwise_gradients", lambda _: {"x": None}, "x: expected for the gradient of the weight"),
    "x for the gate's taps": (
        "depthwise_gate_backward",
        lambda _: {"x": None},
        "x: expected for the gradient of the weight",
    ),
    "out_weight": (
        "channel_attention_backward",
        lambda _: {"out_weight": None},
        "to_out_weight: there is no out_weight",
    ),
    "parameters per image with gradients": (
        "channel_attention_backward",
        lambda values: {
            **doubled(values, "gradient", "qkv", "temperature", "cosines", "to_qkv"),
            **doubled(values, "lengths", dimension=1),
        },
        "parameters: expected the same for all images",
    ),
    "convolved per image": (
        "feed_forward_in_tiles",
        lambda values: doubled(values, "x", "norm_bias", "y", "convolved"),
        "convolved: parameters per image are for inference alone",
    ),
    "channels": (
        "feed_forward_in_tiles",
        lambda _: {"x": torch.zeros(1, 3, 3, 97)},
        "x: expected no more than 96 channels, got 97",
    ),
    "heads": (
        "channel_attention",
        lambda _: {"cosines": torch.zeros(1, 3, 4, 4)},
        "qkv: expected a multiple of 3 x 3 heads as channels, got 24",
    ),
    "rank": (
        "bottleneck",
        lambda _: {"down": torch.zeros(1, 65, 8, 1, 1)},
        "down: expected a rank of no more than 64, got 65",
    ),
}


def check_besides(built: Library, case: str) -> None:
    operator, change, message = BESIDES[case]
    values = call_of(operator)
    with pytest.raises(emulator.runner().EmulationError, match=re.escape(message)):
        emulator.run(built, operator, values | change(values))


@pytest.mark.parametrize("case", BESIDES)
def test_what_a_kernel_does_not_have_is_refused(case: str) -> None:
    check_besides(emulator.library(emulator.launchers()[BESIDES[case][0]], only=torch.float32), case)


DEVICE, NORM, GATE, DEPTHWISE = (
    "cuda/device.h",
    *(f"{name}/cuda.cu" for name in ("layer_norm2d", "depthwise_gate", "depthwise")),
)
ATTENTION, BOTTLENECK, FEED_FORWARD, LOW_RANK = (
    f"{name}/cuda.cu" for name in ("channel_attention", "bottleneck", "feed_forward", "low_rank_weight")
)


def check_results(built: Library) -> None:
    """Small images, and parameters per image."""
    folder = built.path.stem
    test_emulated_alignment.CHECKS[folder](built)
    if folder in test_emulated_per_image.CHECKS:
        test_emulated_per_image.CHECKS[folder](built)


def check_all_refusals(built: Library) -> None:
    for operator, argument in TENSORS:
        if emulator.launchers()[operator] == built.path.stem:
            check_refusals(built, operator, argument)
    for case, (operator, *_) in BESIDES.items():
        if emulator.launchers()[operator] == built.path.stem:
            check_besides(built, case)


# Of one thing taken for another, what the tests of results say.
EXCHANGED = [
    ("layer_norm2d", Mutation(NORM, "x.size(channels_last ? 3 : 1)", "x.size(3)"), "x: expected"),
    (
        "layer_norm2d",
        Mutation(NORM, "bool bias_free, bool channels_last", "bool channels_last, bool bias_free"),
        "weight: expected",
    ),
    ("depthwise_gate", Mutation(GATE, "set_sizes(y,", "set_sizes(x,"), "x: expected"),
    (
        "depthwise_gate",
        Mutation(GATE, "Tensor to_weight, OptionalTensor to_bias", "Tensor to_bias, OptionalTensor to_weight"),
        "to_weight: expected",
    ),
    (
        "depthwise",
        Mutation(DEPTHWISE, "flipped, bool channels_last", "channels_last, bool flipped"),
        "weight: expected",
    ),
    ("depthwise", Mutation(DEPTHWISE, "f.bias_step", "f.weight_step"), "depends on the others"),
    ("depthwise", Mutation(DEVICE, "step = tensor.numel() == size ? 0 : size;", "step = 0;"), "weight: expected"),
    (
        "bottleneck",
        Mutation(BOTTLENECK, "residual = residual;\n    const", "residual = !residual;\n    const"),
        "to_x: rel",
    ),
    (
        "bottleneck",
        Mutation(BOTTLENECK, "Tensor injected, OptionalTensor base", "Tensor base, OptionalTensor injected"),
        "expected",
    ),
    ("channel_attention", Mutation(ATTENTION, "f.out_bias_step", "f.out_weight_step"), "depends on the others"),
    (
        "channel_attention",
        Mutation(ATTENTION, "Tensor out_bias, OptionalTensor base", "Tensor base, OptionalTensor out_bias"),
        "out_bias: expected",
    ),
    ("feed_forward", Mutation(FEED_FORWARD, "steps.in_bias", "steps.norm_bias"), "depends on the others"),
    (
        "feed_forward",
        Mutation(FEED_FORWARD, "OptionalTensor norm_bias, double eps", "double eps, OptionalTensor norm_bias"),
        "is not of the launcher's type",
    ),
    ("low_rank_weight", Mutation(LOW_RANK, "Tensor& a, const Tensor& b", "Tensor& b, const Tensor& a"), "expected"),
    ("low_rank_weight", Mutation(LOW_RANK, "to_a, Tensor(b!) to_b)", "to_b, Tensor(b!) to_a)"), "to_a: expected"),
    ("low_rank_weight", Mutation(LOW_RANK, '"low_rank_weight", TORCH', '"low_rank", TORCH'), "has no adair_native"),
    ("low_rank_weight", Mutation(DEVICE, "guard_(tensor.get_device_index())", "guard_(0)"), "stream of another device"),
    ("layer_norm2d", Mutation(DEVICE, "workspaces_.push", "workspaces_.clear(), workspaces_.push"), "has been freed"),
]
# Checks that are left out, or that name another tensor, and what the tests of refusals say.
LEFT_OUT = [
    ("low_rank_weight", Mutation(DEVICE, "tensor.get_device_index() == index_ && ", ""), "DID NOT RAISE"),
    ("low_rank_weight", Mutation(DEVICE, " && tensor.scalar_type() == kScalarType<T>", ""), "out of bounds"),
    ("low_rank_weight", Mutation(DEVICE, "tensor.numel() == expected && ", ""), "out of bounds"),
    ("low_rank_weight", Mutation(DEVICE, " && (expected == 0 || tensor.is_contiguous())", ""), "DID NOT RAISE"),
    ("low_rank_weight", Mutation(LOW_RANK, '"b", {f.rows, f.rank}', '"b", {b.numel()}'), "DID NOT RAISE"),
    ("depthwise", Mutation(DEPTHWISE, 'to_bias, "to_bias"', 'to_bias, "to_weight"'), "did not match"),
    ("depthwise", Mutation(DEPTHWISE, "f.x != nullptr || ", "true || "), "DID NOT RAISE"),
    ("channel_attention", Mutation(ATTENTION, "f.temperature_step == 0 && ", ""), "DID NOT RAISE"),
]


# Each with the check that has to catch it.
FAULTS = [(check_results, *fault) for fault in EXCHANGED] + [(check_all_refusals, *fault) for fault in LEFT_OUT]


@pytest.mark.skipif(emulator.SANITIZE, reason="AddressSanitizer ends the process")
@pytest.mark.parametrize(
    ("check", "folder", "mutation", "message"),
    FAULTS,
    ids=lambda value: value.name if isinstance(value, Mutation) else "",
)
def test_a_fault_of_a_launcher_is_caught(
    check: Callable[[Library], None], folder: str, mutation: Mutation, message: str, tmp_path: Path
) -> None:
    require_caught(check, folder, mutation, message, tmp_path)
