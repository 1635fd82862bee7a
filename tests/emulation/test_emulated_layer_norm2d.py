"""The layer norm's CUDA kernels against the reference in float64."""

from __future__ import annotations

from pathlib import Path

import emulator
import pytest
import torch
from checks import TOLERANCES, double, each_dtype, normal, require_close, run
from emulator import Library
from mutants import Mutation, mutant
from torch import Tensor

from adair_core.ops.layer_norm2d import reference

# Vectors and single values in both layouts; fewer channels than lanes, more; part of a block of pixels.
SIZES = [(2, 12, 5, 7), (1, 48, 4, 8), (1, 13, 3, 16), (3, 1, 1, 1), (1, 300, 2, 3), (2, 272, 2, 4), (1, 8, 20, 33)]
SIZES += [(1, 3, 37, 31)]  # so many parts that the threads that add them up have several each
# Parameters' gradients of images so large that a thread of a part has several pixels, without the images.
LARGE_PARTS = Mutation("layer_norm2d/parameter_gradients.cuh", "kNormParts = 256", "kNormParts = 1")


def layer_norm2d(
    built: Library, x: Tensor, weight: Tensor, bias: Tensor | None, last: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The result and statistics; `x` is (B, C, H, W)."""
    batch, _, height, width = x.shape
    stored = x.permute(0, 2, 3, 1).contiguous() if last else x.contiguous()
    y, mean, rstd = torch.empty_like(stored), torch.empty(batch, 1, height, width), torch.empty(batch, 1, height, width)
    inputs = {"x": stored, "weight": weight, "bias": bias, "eps": 1e-5, "channels_last": last}
    run(built, "layer_norm2d", **inputs, y=y, mean=mean, rstd=rstd)
    return y.permute(0, 3, 1, 2) if last else y, mean, rstd


def layer_norm2d_backward(built: Library, gradient, x, weight, mean, rstd, bias_free: bool, last: bool) -> list[Tensor]:
    stored = [value.permute(0, 2, 3, 1).contiguous() if last else value.contiguous() for value in (gradient, x)]
    to_x, to_weight = torch.empty_like(stored[1]), torch.empty_like(weight)
    to_bias = None if bias_free else torch.empty_like(weight)
    inputs = {"gradient": stored[0], "x": stored[1], "weight": weight, "mean": mean, "rstd": rstd}
    inputs |= {"bias_free": bias_free, "channels_last": last}
    run(built, "layer_norm2d_backward", **inputs, to_x=to_x, to_weight=to_weight, to_bias=to_bias)
    return [to_x.permute(0, 3, 1, 2) if last else to_x, to_weight, to_bias]


def check(built: Library, size: tuple[int, ...], dtype: torch.dtype, last: bool, bias_free: bool) -> None:
    channels, tolerance = size[1], TOLERANCES[dtype]
    x, gradient = normal(*size, dtype=dtype) + 2, normal(*size, dtype=dtype, seed=1)
    weight, bias = normal(channels, seed=2), None if bias_free else normal(channels, seed=3)
    found = layer_norm2d(built, x, weight, bias, last)
    truth = reference.layer_norm2d(x.double(), weight.double(), double(bias), 1e-5)
    require_close(found[0], truth[0], tolerance, "y")
    for value, expected, name in zip(found[1:], truth[1:], ("mean", "rstd"), strict=True):
        require_close(value, expected, 1e-6, name)
    mean, rstd = (value.float() for value in truth[1:])
    gradients = layer_norm2d_backward(built, gradient, x, weight, mean, rstd, bias_free, last)
    expected = reference.layer_norm2d_backward(
        gradient.double(), x.double(), weight.double(), mean.double(), rstd.double(), bias_free, True
    )
    for value, wanted, name, allowed in zip(
        gradients, expected, ("to_x", "to_weight", "to_bias"), (tolerance, 2e-6, 2e-6), strict=True
    ):
        require_close(value, None if value is None else wanted, allowed, name)


@each_dtype
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("last", [True, False], ids=["channels_last", "channels_first"])
@pytest.mark.parametrize("bias_free", [True, False], ids=["bias_free", "biased"])
def test_layer_norm_equals_the_reference(size, dtype: torch.dtype, last: bool, bias_free: bool) -> None:
    check(emulator.library("layer_norm2d"), size, dtype, last, bias_free)


@pytest.mark.parametrize("last", [True, False], ids=["channels_last", "channels_first"])
def test_more_pixels_than_a_part_has_threads(last: bool, tmp_path: Path) -> None:
    check(mutant("layer_norm2d", LARGE_PARTS, tmp_path), (1, 3, 37, 31), torch.float32, last, bias_free=False)


def check_gradients_left_out(built: Library, last: bool) -> None:
    """Of the parameters one alone: the same bits as both."""
    x, gradient, weight = (normal(2, 5, 3, 4, seed=seed) for seed in (0, 1, 2))
    stored = [value.permute(0, 2, 3, 1).contiguous() if last else value for value in (gradient, x)]
    inputs = {"gradient": stored[0], "x": stored[1], "weight": weight[0, :, 0, 0].contiguous()}
    inputs |= {"mean": normal(2, 1, 3, 4), "rstd": normal(2, 1, 3, 4).abs(), "bias_free": False, "channels_last": last}
    whole = {"to_x": torch.empty_like(stored[1]), "to_weight": torch.empty(5), "to_bias": torch.empty(5)}
    run(built, "layer_norm2d_backward", **inputs, **whole)
    for left_out in ("to_weight", "to_bias"):
        outputs = {name: None if name == left_out else torch.empty_like(value) for name, value in whole.items()}
        run(built, "layer_norm2d_backward", **inputs, **outputs)
        assert all(value is None or torch.equal(value, whole[name]) for name, value in outputs.items())


@pytest.mark.parametrize("last", [True, False], ids=["channels_last", "channels_first"])
def test_gradients_may_be_left_out(last: bool) -> None:
    check_gradients_left_out(emulator.library("layer_norm2d"), last)


def check_far_from_zero(built: Library, last: bool, bias_free: bool) -> None:
    """Values whose squares have lost what they differ by: the variance has to be about the mean."""
    for channels in (12, 13):
        x = normal(1, channels, 4, 8) + 1000
        weight, bias = normal(channels, seed=2), None if bias_free else normal(channels, seed=3)
        found = layer_norm2d(built, x, weight, bias, last)
        truth = reference.layer_norm2d(x.double(), weight.double(), double(bias), 1e-5)
        # The mean has an error of 1000 x 2^-24, where the values deviate by 1.
        require_close(found[0], truth[0], 1e-4, "y")
        require_close(found[1], truth[1], 2e-7, "mean")
        require_close(found[2], truth[2], 2e-6, "rstd")


@pytest.mark.parametrize("last", [True, False], ids=["channels_last", "channels_first"])
@pytest.mark.parametrize("bias_free", [True, False], ids=["bias_free", "biased"])
def test_values_far_from_zero(last: bool, bias_free: bool) -> None:
    check_far_from_zero(emulator.library("layer_norm2d"), last, bias_free)
