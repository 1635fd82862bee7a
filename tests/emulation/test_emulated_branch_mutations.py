"""The checks of what the branches are made of catch faults, as in test_emulated_mutations.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import emulator
import pytest
import test_emulated_alignment
import test_emulated_channel_attention
import test_emulated_depthwise
import test_emulated_feed_forward
import test_emulated_per_image
import test_emulated_strips
import torch
from checks import shifting
from emulator import Library
from mutants import Mutation, mutant, require_caught

PRODUCTS, GRAM, SUMS, STEPS = "cuda/pixel_products.cuh", "cuda/gram.cuh", "cuda/sums.cuh", "cuda/products.cuh"
MATRICES, GRADIENTS = "channel_attention/matrices.cuh", "channel_attention/gradient_matrices.cuh"
TILES, PREPARE, DEPTHWISE = "feed_forward/kernel.cuh", "feed_forward/prepare.cuh", "depthwise/kernel.cuh"
TAPS, ATTENTION, BACKWARD = (
    "depthwise_gate/tap_gradients.cuh",
    "channel_attention/kernel.cuh",
    "channel_attention/backward.cuh",
)


def check_attention(built: Library) -> None:
    plain = test_emulated_channel_attention.OPTIONAL
    test_emulated_channel_attention.check(built, (2, 6, 5, 7, 3), torch.float32, plain)
    test_emulated_channel_attention.check(built, (1, 20, 13, 21, 1), torch.float32)
    test_emulated_channel_attention.check(built, (2, 4, 17, 18, 2), torch.float32, plain)
    test_emulated_channel_attention.check_high_temperature(built)
    test_emulated_channel_attention.check_wide_heads(built, torch.float32)
    test_emulated_channel_attention.check_choices(built)
    test_emulated_channel_attention.check_no_drift(built)
    test_emulated_channel_attention.check_nan_stays(built)
    with shifting():
        test_emulated_alignment.check_attention(built)
    test_emulated_per_image.check_attention(built)


def check_feed_forward(built: Library) -> None:
    test_emulated_feed_forward.check(built, (1, 20, 11, 7, 15), torch.float32)
    test_emulated_feed_forward.check(built, (1, 5, 3, 11, 3), torch.float32)
    test_emulated_feed_forward.check(built, (1, 50, 3, 5, 3), torch.float32)
    test_emulated_feed_forward.check_far_from_zero(built)
    test_emulated_feed_forward.check_choices(built)
    with shifting():
        test_emulated_alignment.check_feed_forward(built)
    test_emulated_per_image.check_feed_forward(built)


def check_depthwise(built: Library) -> None:
    for last in (True, False):
        test_emulated_depthwise.check(built, (1, 5, 9, 17), torch.float32, last)
        test_emulated_strips.check_alignment(built, "depthwise", torch.float32, last)
    test_emulated_per_image.check_depthwise(built)


CHECKS: dict[str, Callable[[Library], None]] = {
    "channel_attention": check_attention,
    "feed_forward": check_feed_forward,
    "depthwise": check_depthwise,
}
MUTATIONS: dict[str, list[tuple[Mutation, str]]] = {
    "channel_attention": [
        (
            Mutation(
                STEPS,
                "float step[4] = {};",
                "float step[4] = {sums[0], sums[1], sums[2], sums[3]};",
                reached_by=Mutation(STEPS, "sums[i] += step[i]", "sums[i] = step[i]"),
            ),
            "drift of cosines",
        ),
        (Mutation(PRODUCTS, "    __syncthreads();  // until all have used the slab before\n", ""), "a race"),
        (Mutation(PRODUCTS, "    __syncthreads();\n    if", "    if"), "a race|nobody has written"),
        (Mutation(PRODUCTS, "pixel < f.pixels ? f.rows", "pixel <= f.pixels ? f.rows"), "out of bounds|a race"),
        (Mutation(PRODUCTS, "row < f.rows ? f.columns", "row <= f.rows ? f.columns"), "out of bounds"),
        (Mutation(PRODUCTS, "g / 2 * 8 + block * 2 + g % 2", "g + block * 8"), "error"),
        (Mutation(PRODUCTS, "inside && f.factors != nullptr", "inside && f.factors == f.bias"), "reads outside"),
        (Mutation(GRAM, "squares = sum_of_lanes(squares, 2);", ""), "error"),
        (Mutation(GRAM, "f.a + group * f.rows", "f.a"), "error"),
        (
            Mutation(
                GRAM, "(image * f.parts + part) * f.groups + group", "(image * f.groups + group) * f.parts + part"
            ),
            "error",
        ),
        (Mutation(SUMS, "image * parts * count + i", "image * count + i"), "error"),
        (Mutation(SUMS, "  __syncthreads();  // until all have used the sums before\n", ""), "a race"),
        (Mutation(SUMS, "  __syncthreads();\n  sum = 0.0f", "  sum = 0.0f"), "a race|nobody has written"),
        (Mutation(SUMS, "i += kSumColumns) sum", "i += 2 * kSumColumns) sum"), "error"),
        (Mutation(MATRICES, "  __syncthreads();\n  if (threadIdx.x >= kWarp", "  if (threadIdx.x >= kWarp"), "a race"),
        (Mutation(MATRICES, "largest = max_of_lanes(largest);", ""), "error"),
        (Mutation(MATRICES, "load(cosines + i) - largest)", "load(cosines + i))", 0), "error|not finite"),
        (Mutation(MATRICES, "load(cosines + i) - largest)", "load(cosines + i))", 1), "error|not finite"),
        (Mutation(MATRICES, "fmaxf(largest, temperature * load", "fmaxf(largest, load"), "error|not finite"),
        (Mutation(MATRICES, "kTransposed ? lower : upper", "upper"), "error|out of bounds"),
        (Mutation(GRADIENTS, " - along_attention", ""), "error"),
        (Mutation(GRADIENTS, "load(column + row * f.channels)", "load(column + row)"), "error"),
        (Mutation(GRADIENTS, "to.to_keys + index * size + row", "to.to_keys + at"), "error"),
        (Mutation(MATRICES, "matrix * f.out_weight_step + ", ""), "depends on the others"),
        (Mutation(PRODUCTS, "f.bias_each ? ", "false ? "), "depends on the others"),
        (Mutation(PRODUCTS, "&& f.bias != nullptr", "&& f.base != nullptr && f.bias != nullptr"), "y: relative error"),
        (Mutation(PRODUCTS, "{f.x, f.matrices, f.y, f.base}", "{f.x, f.matrices, f.y}"), "not aligned"),
        (Mutation(PRODUCTS, "blockIdx.y / row_tiles, first", "blockIdx.y % f.groups, first"), "a race"),
        (Mutation(GRAM, "blockIdx.z / row_tiles, first", "blockIdx.z % f.groups, first"), "a race"),
        (Mutation(GRAM, "first_column == 0 && row < f.rows", "row < f.rows"), "a race"),
        (Mutation(ATTENTION, "parts(f.pixels, f.heads)", "parts(f.images * f.pixels, f.heads)"), "depends on the oth"),
        (
            Mutation(MATRICES, "length < kShortestLength ? kShortestLength : length", "fmaxf(length, kShortestLength)"),
            "NaN is else",
        ),
        (Mutation(GRADIENTS, "load(f.temperature + head)", "load(f.temperature)"), "to_qkv: relative error"),
        (Mutation(GRADIENTS, "to_scaled * temperature", "to_scaled"), "to_qkv: relative error"),
        (Mutation(BACKWARD, "product.factors = to.key_factors;", ""), "to_qkv: relative error"),
        (Mutation(BACKWARD, "product.scales = to.key_scales;", ""), "to_qkv: relative error"),
        (Mutation(PRODUCTS, "inside && f.scales != nullptr", "inside && f.scales == f.bias"), "reads outside"),
        (Mutation(BACKWARD, "f.images * f.channels, 64)", "f.images * f.channels, 256)"), "nobody has written"),
    ],
    "feed_forward": [
        (Mutation(TILES, "    __syncthreads();\n    gate", "    gate"), "a race|nobody has written"),
        (Mutation(TILES, "    __syncthreads();\n    if (row", "    if (row"), "a race|nobody has written"),
        (Mutation(TILES, "upper_inside : lower_inside", "upper_inside || true : lower_inside || true"), "error"),
        (Mutation(TILES, "row * kTileColumns + column + k;", "row * kTileColumns + column;"), "error"),
        (Mutation(TILES, "channel < f.expansion.part)", "channel <= f.expansion.part)"), "out of bounds|a race"),
        (Mutation(TILES, "+ i < e.channels ? values", "+ i <= e.channels ? values"), "error"),
        (
            Mutation(TILES, "fmaf(distance, distance, squares)", "fmaf(distance, mean + values[step][i], squares)"),
            "convolved: relative error",
        ),
        (Mutation(TILES, "i < (kRows - 2) * 2", "i < (kRows - 3) * 2"), "nobody has written"),
        (Mutation(TILES, "column < kResultColumns ? shared", "column <= kResultColumns ? shared"), "a race|error"),
        (Mutation(PREPARE, "column / 2 * 4 + block * 2 + column % 2", "column + block * 8"), "error"),
        (Mutation(PREPARE, "hidden < f.expansion.part ?", "hidden <= f.expansion.part ?"), "out of bounds|error"),
        (Mutation(PREPARE, "set * steps.depthwise + row", "row"), "depends on the others"),
        (Mutation(TILES, "divided_up(e.height, kRows - 2)", "divided_up(e.height, kRows)"), "never written"),
        (Mutation(TILES, "with.sets == 1 ? 0", "with.sets < 9 ? 0"), "depends on the others"),
        (Mutation(TILES, "shift = e.norm_bias == nullptr", "shift = e.bias == nullptr"), "y: relative error"),
        (Mutation(TILES, "if (f.residual) added", "if (f.residual && f.convolved != nullptr) added"), "y: relative"),
        (Mutation(TILES, "{e.x, f.y}", "{e.x}"), "not aligned"),
        (Mutation(TILES, "e.channels <= 48", "e.channels <= 52"), "never written"),
        (Mutation(PREPARE, " | out_bias) != 0", ") != 0"), "depends on the others"),
    ],
    "depthwise": [
        (Mutation(DEPTHWISE, "  __syncthreads();\n", "", 0), "a race|nobody has written"),
        (Mutation(DEPTHWISE, "      __syncthreads();\n", ""), "a race|nobody has written"),
        (Mutation(DEPTHWISE, "f.flipped ? 8 - tap : tap", "tap"), "error"),
        (Mutation(DEPTHWISE, "{f.x, f.y}", "{f.x}"), "not aligned"),
        (Mutation(DEPTHWISE, "{f.gradient, f.x}", "{f.x}"), "not aligned"),
        (Mutation(DEPTHWISE, "inside ? channel : first;", "channel;"), "out of bounds|outside"),
        (Mutation(TAPS, "tap % 3 - 1, strip.channel", "tap % 3, strip.channel"), "error|out of bounds"),
        (Mutation(DEPTHWISE, "place.image * f.weight_step + ", ""), "depends on the others"),
        (Mutation(DEPTHWISE, "place.image * f.bias_step + ", ""), "depends on the others"),
        (Mutation(TAPS, "k < 9 && to_weight != nullptr", "k < 9"), "outside of every tensor"),
    ],
}


@pytest.mark.parametrize("operator", CHECKS)
def test_without_a_fault_the_checks_pass(operator: str) -> None:
    CHECKS[operator](emulator.library(operator, only=torch.float32))


@pytest.mark.skipif(emulator.SANITIZE, reason="AddressSanitizer ends the process")
@pytest.mark.parametrize(
    ("operator", "mutation", "message"),
    [(operator, *fault) for operator, faults in MUTATIONS.items() for fault in faults],
    ids=lambda value: value.name if isinstance(value, Mutation) else value if value in CHECKS else "",
)
def test_a_fault_is_caught(operator: str, mutation: Mutation, message: str, tmp_path: Path) -> None:
    require_caught(CHECKS[operator], operator, mutation, message, tmp_path)


@pytest.mark.skipif(emulator.SANITIZE, reason="AddressSanitizer ends the process")
def test_a_matrix_of_few_bits_in_float16_is_caught(tmp_path: Path) -> None:
    rows = "load(to.query_scales + block + row)"
    fault = Mutation(GRADIENTS, "(to_cosine * scale)", f"(rounded<T>(to_cosine * scale * {rows}) / {rows})")
    built = mutant("channel_attention", fault, tmp_path, only=torch.float16)
    with pytest.raises(AssertionError):
        test_emulated_channel_attention.check_long_rows(built)


@pytest.mark.skipif(emulator.SANITIZE, reason="AddressSanitizer ends the process")
def test_the_inverse_of_no_length_in_float16_is_caught(tmp_path: Path) -> None:
    fault = Mutation(GRADIENTS, "kIsHalf<T> && length", "kIsHalf<T> && false && length")
    built = mutant("channel_attention", fault, tmp_path, only=torch.float16)
    test_emulated_channel_attention.check_long_rows(built)
    with pytest.raises(AssertionError):
        test_emulated_channel_attention.check_zeros_in_float16(built)
