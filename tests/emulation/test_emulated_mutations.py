"""The checks catch faults: barriers removed, indices shifted, masks skipped, sums of the wrong things."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import emulator
import pytest
import test_emulated_alignment
import test_emulated_bottleneck
import test_emulated_depthwise_gate
import test_emulated_layer_norm2d
import test_emulated_low_rank_weight
import test_emulated_per_image
import test_emulated_strips
import torch
from checks import shifting
from emulator import Library
from mutants import Mutation, require_caught

NORM, PARAMETERS = "layer_norm2d/kernel.cuh", "layer_norm2d/parameter_gradients.cuh"
GATE, TAPS, TILES = "depthwise_gate/kernel.cuh", "depthwise_gate/tap_gradients.cuh", "depthwise_gate/tiles.cuh"
STRIPS, TRANSPOSE, GELU = "depthwise_gate/strips.cuh", "cuda/transpose.cuh", "cuda/gelu.cuh"

BOTTLENECK, BACKWARD = "bottleneck/kernel.cuh", "bottleneck/backward.cuh"
HIDDEN, SUMS = "bottleneck/tiles.cuh", "bottleneck/parameter_gradients.cuh"
LARGE_PARTS = test_emulated_layer_norm2d.LARGE_PARTS
GRAM, PRODUCTS, LOW_RANK = "cuda/gram.cuh", "cuda/products.cuh", "low_rank_weight/kernel.cuh"


def check_norm(built: Library) -> None:
    for last in (True, False):
        test_emulated_layer_norm2d.check(built, (2, 13, 5, 7), torch.float32, last, bias_free=False)
        test_emulated_layer_norm2d.check_far_from_zero(built, last, bias_free=False)
        test_emulated_layer_norm2d.check(built, (1, 3, 37, 31), torch.float32, last, bias_free=True)
        test_emulated_layer_norm2d.check_gradients_left_out(built, last)
    with shifting():
        test_emulated_alignment.check_norm(built)


def check_gate(built: Library) -> None:
    for last in (True, False):
        test_emulated_depthwise_gate.check(built, (2, 5, 9, 17), torch.float32, last)
        test_emulated_strips.check_alignment(built, "depthwise_gate", torch.float32, last)
        test_emulated_depthwise_gate.check_gradient_of_large_values(built, last)
        test_emulated_depthwise_gate.check_choices(built, last)
    with shifting():
        test_emulated_alignment.check_gate(built)
    test_emulated_per_image.check_gate(built)


def check_bottleneck(built: Library) -> None:
    test_emulated_bottleneck.check(built, (3, 12, 11, 17, 3, 2), torch.float32)
    test_emulated_bottleneck.check(built, (1, 13, 3, 5, 20, 1), torch.float32)
    test_emulated_bottleneck.check_no_adapter(built, 1)
    test_emulated_bottleneck.check_choices(built)
    with shifting():
        test_emulated_alignment.check_bottleneck(built)
    test_emulated_bottleneck.check(built, (1, 5, 1, 265, 2, 1), torch.float32)
    test_emulated_bottleneck.check(built, (2, 8, 23, 24, 2, 1), torch.float32, test_emulated_bottleneck.OPTIONAL)


def check_low_rank(built: Library) -> None:
    for size in ((6, 45, 2), (36, 12, 11)):
        test_emulated_low_rank_weight.check(built, size, torch.float32)
    with shifting():
        test_emulated_alignment.check_low_rank(built)


CHECKS: dict[str, Callable[[Library], None]] = {
    "layer_norm2d": check_norm,
    "depthwise_gate": check_gate,
    "bottleneck": check_bottleneck,
    "low_rank_weight": check_low_rank,
}
MUTATIONS: dict[str, list[tuple[Mutation, str]]] = {
    "layer_norm2d": [
        (Mutation(NORM, "  __syncthreads();\n", "", 0), "a race"),
        (Mutation(NORM, "  __syncthreads();\n", "", 1), "a race|nobody has written"),
        (Mutation(PARAMETERS, "  __syncthreads();\n", "", 0), "a race|nobody has written"),
        (Mutation(NORM, "f.x + pixel * f.channels", "f.x + pixel * f.channels + 1"), "out of bounds"),
        (Mutation(NORM, "? f.channels : 0;", "+ 1 ? f.channels : 0;"), "out of bounds"),
        (Mutation(NORM, "f.eps", "0.01f"), "relative error"),
        (Mutation("cuda/sums.cuh", "distance = width / 2", "distance = width / 4"), "relative error"),
        (
            Mutation(PARAMETERS, "(part + 1) * pixels / partial.parts", "(part + 1) * pixels / partial.parts - 1"),
            "error",
        ),
        (Mutation(PARAMETERS, "+ row; inside", "+ row + 1; inside"), "error"),
        (
            Mutation(
                NORM,
                "squares += (values[i] - mean) * (values[i] - mean)",
                "squares += values[i] * values[i] - mean * mean",
            ),
            "relative error",
        ),
        (
            Mutation(
                NORM,
                "rstd[i] += (values[i] - mean[i]) * (values[i] - mean[i])",
                "rstd[i] += values[i] * values[i] - mean[i] * mean[i]",
            ),
            "error",
        ),
        (
            Mutation(NORM, "const int64_t at = place.start", "const int at = place.start", compiles=False),
            "conversion from",
        ),
        (
            Mutation(
                PARAMETERS,
                "i += kNormThreads",
                "i += 2 * kNormThreads",
                reached_by=LARGE_PARTS,
            ),
            "to_weight: relative error",
        ),
        (Mutation("cuda/sums.cuh", "part += kSumThreads / kSumColumns", "part += kSumThreads"), "to_weight: relative"),
        (Mutation(NORM, "shift = f.bias_free ? 0.0f : mean", "shift = mean"), "to_x: relative error"),
        (Mutation(NORM, "load(f.mean + place.image * f.pixels + place", "load(f.mean + place"), "to_x: relative error"),
        (Mutation(NORM, "{f.x, f.gradient, f.to_x}", "{f.x, f.gradient}"), "not aligned"),
        (Mutation(PARAMETERS, "if (f.to_bias != nullptr) launch", "launch"), "outside of every tensor"),
    ],
    "depthwise_gate": [
        (Mutation(GATE, "  __syncthreads();\n", "", 0), "a race|nobody has written"),
        (Mutation(GATE, "  __syncthreads();\n", "", 1), "a race|nobody has written"),
        (Mutation(TAPS, "      __syncthreads();  // until all have used the tile before\n", ""), "a race"),
        (Mutation(TAPS, "    __syncthreads();\n    shared.sums", "    shared.sums"), "a race"),
        (Mutation(TILES, "x >= 0 && x < width", "x < width"), "error|out of bounds"),
        (Mutation(TILES, "y >= 0 && y < height", "y >= 0 && y <= height"), "error|out of bounds"),
        (Mutation(STRIPS, "strip.column + k - 1", "strip.column + k"), "error|out of bounds"),
        (Mutation(STRIPS, "x < width;", "x <= width;"), "error|out of bounds|a race"),
        (Mutation(STRIPS, "channel < channels &&", "channel <= channels &&"), "error|out of bounds|a race"),
        (Mutation(STRIPS, "if (vectors.has(i / N)) store", "store"), "out of bounds|a race"),
        (Mutation(STRIPS, "channel - lane : channel", "channel - lane + 1 : channel"), "not aligned|out of bounds"),
        (Mutation(STRIPS, "x : x - lane", "x : x - lane + 1"), "not aligned|out of bounds"),
        (Mutation(STRIPS, "y + lane,", "y,"), "a race|out of bounds"),
        (Mutation(STRIPS, "if (N == 1 ? !inside :", "if (!inside ||"), "not all threads reach|lanes of a warp meet"),
        (Mutation(STRIPS, "step = N *", "step ="), "a race|error"),
        (Mutation(STRIPS, "!inside ? 0 : ", "!inside && N < 0 ? 0 : "), "a race|out of bounds|error|outside"),
        (Mutation(TRANSPOSE, "words[k] = upper ? got", "words[k] = !upper ? got"), "error|bits"),
        (Mutation(TRANSPOSE, "int distance = N / 2", "int distance = N / 4"), "error|bits"),
        (Mutation(GATE, "{f.x, f.y, f.convolved}", "{f.x, f.convolved}"), "not aligned"),
        (Mutation(GATE, "{f.x, f.y, f.convolved}", "{f.x, f.y}"), "not aligned"),
        (Mutation(GATE, "f.x, f.to_x}", "f.x}"), "not aligned"),
        (Mutation(GATE, "inside ? channel : first;", "channel;"), "out of bounds|outside"),
        (Mutation(GELU, "fabsf(a) > 20.0f ? 0.0f : ", ""), "not finite"),
        (Mutation(GELU, "fabsf(a) > 20.0f", "a > 20.0f"), "not finite"),
        (Mutation(TAPS, "f.convolved + at + to_b", "f.convolved + at + 0 * to_b"), "error"),
        (Mutation(TAPS, "part < parts; ++part", "part < parts - 1; ++part"), "error"),
        (Mutation(TAPS, "half * f.hidden + first) * kTapSums", "first) * kTapSums"), "a race|nobody has written"),
        (Mutation(TAPS, "k == 9 && to_bias != nullptr", "k == 9"), "outside of every tensor"),
        (Mutation(GATE, "if (f.to_x != nullptr) {", "{"), "outside of every tensor"),
        (Mutation(GATE, "offset + (inside ? channel : first)", "offset + channel"), "out of bounds|outside"),
        (Mutation(GATE, "f.weight + place.image * f.weight_step", "f.weight"), "depends on the others"),
        (Mutation(GATE, "place.image * f.bias_step + ", ""), "depends on the others"),
        (Mutation("cuda/sums.cuh", "% 16 == 0", "% 8 == 0"), "not aligned"),
    ],
    "bottleneck": [
        (Mutation(BOTTLENECK, "  __syncthreads();\n", "", 0), "a race|nobody has written"),
        (Mutation(BOTTLENECK, "  __syncthreads();\n", "", 1), "a race|nobody has written"),
        (Mutation(BACKWARD, "  __syncthreads();\n", "", 0), "a race|nobody has written"),
        (Mutation(BACKWARD, "  __syncthreads();\n", "", 1), "a race|nobody has written"),
        (Mutation(BACKWARD, "  __syncthreads();\n", "", 2), "a race|nobody has written"),
        (Mutation(BACKWARD, "    __syncthreads();\n    shared.sums", "    shared.sums"), "a race"),
        (Mutation(GRAM, "    __syncthreads();  // until all have used the pixels before\n", ""), "a race"),
        (Mutation(GRAM, "    __syncthreads();\n#pragma", "#pragma"), "a race|nobody has written"),
        (Mutation(HIDDEN, "x >= 0 && x < width", "x < width"), "error|out of bounds|outside"),
        (Mutation(HIDDEN, "if (from >= 0) value", "value"), "error|out of bounds|outside"),
        (Mutation(HIDDEN, "g + i / 2 * 8, rank", "g + i % 2 * 8, rank"), "error|nobody has written|a race"),
        (Mutation(HIDDEN, "g / 2 * 8 + block * 2 + g % 2", "g + block * 8"), "error"),
        (Mutation(PRODUCTS, "sums, small_a, large_b", "sums, small_a, small_b"), "relative error"),
        (
            Mutation(PRODUCTS, "upper.words[0], lower.words[0], upper", "lower.words[0], upper.words[0], upper", 1),
            "error",
        ),
        (Mutation(PRODUCTS, "if (i < count) values", "if (i <= count) values"), "out of bounds|error"),
        (Mutation(GRAM, "pixel + place < end", "pixel + place <= end"), "out of bounds|error|nobody has written"),
        (Mutation(GRAM, "(part + 1) * f.pixels / f.parts", "(part + 1) * f.pixels / f.parts - 1"), "error"),
        (Mutation(SUMS, "!= adapter) continue;", "< adapter) continue;"), "error"),
        (Mutation(SUMS, "tile += kWarpSize", "tile += 2 * kWarpSize"), "error"),
        (Mutation(BACKWARD, "flipped[8 - tap]", "flipped[tap]"), "error"),
        (
            Mutation(HIDDEN, "ADAIR_DEVICE int64_t pixel_at", "ADAIR_DEVICE int pixel_at", compiles=False),
            "conversion from",
        ),
        (Mutation(SUMS, "part < parts; ++part", "part < 1; ++part"), "error"),
        (Mutation(SUMS, "(image * parts + part) * count", "(image + part) * count"), "error|nobody has written"),
        (Mutation(BOTTLENECK, "{f.x, f.base, f.y}", "{f.x, f.y}"), "not aligned"),
        (Mutation(BACKWARD, "if (b.to_x != nullptr) {", "{"), "outside of every tensor"),
        (Mutation(SUMS, "k == 10 && b.to_down_bias", "k == 10 && b.to_depthwise_bias"), "outside|never written"),
        (Mutation(SUMS, "index / f.rank % kBottleneckSums", "index / f.rank % 10"), "a race"),
        (Mutation("bottleneck/prepare.cuh", "load(f.scale + adapter)", "load(f.scale)"), "error"),
        (Mutation(GRAM, " || index >= f.indices", ""), "nobody has written"),
    ],
    "low_rank_weight": [
        (Mutation(LOW_RANK, "  __syncthreads();\n", ""), "a race|nobody has written"),
        (
            Mutation(LOW_RANK, "if (column >= f.columns) return;", "if (column > f.columns) return;"),
            "out of bounds|a race",
        ),
        (Mutation(LOW_RANK, "w < kLowRankWarps", "w < kLowRankWarps - 1"), "error"),
        (Mutation(LOW_RANK, "lane == 0 && row < f.rows", "lane == 0 && row <= f.rows"), "out of bounds|a race"),
        (Mutation(LOW_RANK, "first + k < f.rank) store", "first + k <= f.rank) store"), "out of bounds|a race"),
        (Mutation(LOW_RANK, "f.scale * sum", "sum", 1), "to_b: relative error"),
        (Mutation(LOW_RANK, "{f.a, f.weight, f.result}", "{f.a, f.result}"), "not aligned"),
        (
            Mutation(LOW_RANK, "(int64_t(blockIdx.x) * kLow", "(blockIdx.x * kLow", compiles=False),
            "use of deleted function",
        ),
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
