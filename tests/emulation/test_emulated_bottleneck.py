"""The bottleneck's CUDA kernels against the reference in float64."""

from __future__ import annotations

from collections.abc import Collection

import emulator
import pytest
import torch
from checks import TOLERANCES, choices, double, each_dtype, normal, require_close, run
from emulator import Library
from torch import Tensor

from adair_core.ops.bottleneck_batch import reference

# Batch, channels, height, width, rank, adapters: vectors and single values, each padded rank, more than a tile.
SIZES = [
    *[(3, 12, 5, 7, 3, 2), (2, 48, 9, 17, 16, 1), (1, 40, 3, 18, 32, 1), (2, 13, 1, 1, 20, 3), (1, 72, 10, 9, 40, 1)],
    (1, 5, 1, 265, 2, 1),  # more tiles than a warp has lanes
    (2, 8, 23, 24, 2, 1),  # more pixels than a part of the products has
]
NAMES = ("down", "down_bias", "depthwise", "depthwise_bias", "up", "up_bias")


def stack(
    channels: int, rank: int, adapters: int, dtype: torch.dtype, without: Collection[str] = ()
) -> dict[str, Tensor | None]:
    """Parameters of `adapters`, rounded as the kernel rounds them."""
    shapes = {
        "down": (adapters, rank, channels, 1, 1),
        "down_bias": (adapters, rank),
        "depthwise": (adapters, rank, 1, 3, 3),
        "depthwise_bias": (adapters, rank),
        "up": (adapters, channels, rank, 1, 1),
        "up_bias": (adapters, channels),
    }
    scales = {"down": channels**-0.5, "up": rank**-0.5}
    made = {
        name: normal(*shape, seed=place, scale=scales.get(name, 0.4)).to(dtype).float()
        for place, (name, shape) in enumerate(shapes.items())
    }
    return {name: None if name in without else value for name, value in made.items()}


def pixels(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous()


def alternating(batch: int, adapters: int) -> Tensor:
    return (torch.arange(batch) + 1) % (adapters + 1) - 1 if batch > 1 else torch.zeros(batch, dtype=torch.int64)


def over(scale: Tensor, value: Tensor) -> Tensor:
    return scale.view(-1, *[1] * (value.dim() - 1))


OPTIONAL = ("index", "injected", "base", "residual", "down_bias", "depthwise_bias", "up_bias")


def check(built: Library, size: tuple[int, ...], dtype: torch.dtype, without: Collection[str] = ()) -> None:
    """Forward and backward; what is left out is of `OPTIONAL`, or "to_x"."""
    batch, channels, height, width, rank, adapters = size
    x, residual = normal(*size[:4], dtype=dtype), "residual" not in without
    base = None if "base" in without else normal(*size[:4], dtype=dtype, seed=7)
    injected = None if "injected" in without else normal(batch, rank, height, width, dtype=dtype, seed=9)
    index = None if "index" in without else alternating(batch, adapters)
    parameters = stack(channels, rank, adapters, dtype, without)
    y = torch.empty_like(pixels(x))
    scale = normal(adapters, seed=10)
    inputs = {"x": pixels(x), "index": index, **parameters, "scale": scale, "residual": residual}
    added = {"base": base, "injected": injected}
    added = {name: None if value is None else pixels(value) for name, value in added.items()}
    run(built, "bottleneck", **inputs, **added, y=y)

    wide = [double(parameters[name]) for name in NAMES]
    # What is scaled is rounded afterwards.
    wide[4:] = [
        None if value is None else (value.float() * over(scale, value)).to(dtype).double() for value in wide[4:]
    ]
    scale = torch.ones(adapters, dtype=torch.float64)
    used = torch.zeros(batch, dtype=torch.int64) if index is None else index
    truth = reference.bottleneck_batch(x.double(), *wide, scale, used, double(base), double(injected), residual)
    # The hidden channels are rounded before they are expanded.
    require_close(y.permute(0, 3, 1, 2), truth, 1.5 * TOLERANCES[dtype], "y")

    gradient = normal(*size[:4], dtype=dtype, seed=8)
    to_x = None if "to_x" in without else torch.empty_like(pixels(x))
    outputs = {f"to_{name}": None if value is None else torch.empty_like(value) for name, value in parameters.items()}
    run(built, "bottleneck_backward", gradient=pixels(gradient), **inputs, to_x=to_x, **outputs)
    expected = reference.bottleneck_batch_backward(
        gradient.double(), x.double(), *wide, scale, used, None, True, residual
    )
    # The gradients of the hidden channels are rounded before they are used again.
    if to_x is not None:
        require_close(to_x.permute(0, 3, 1, 2), expected[0], 2 * TOLERANCES[dtype], "to_x")
    for name, value in zip(NAMES, expected[1:7], strict=True):
        found = outputs[f"to_{name}"]
        # Of values that are rounded before they are added up.
        allowed = 1e-5 if dtype == torch.float32 else 2 * TOLERANCES[dtype]
        require_close(found, None if found is None else value, allowed, f"to_{name}")


@each_dtype
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("without", [OPTIONAL, ()], ids=["bare", "whole"])
def test_bottleneck_equals_the_reference(size, dtype: torch.dtype, without: Collection[str]) -> None:
    check(emulator.library("bottleneck"), size, dtype, without)


def check_choices(built: Library) -> None:
    for without in choices(OPTIONAL, "to_x"):
        check(built, (2, 5, 3, 4, 3, 2), torch.float32, without)


def test_any_choice_of_tensors() -> None:
    check_choices(emulator.library("bottleneck", only=torch.float32))


def check_no_adapter(built: Library, wrong: int) -> None:
    """An image whose index is no adapter gets NaN, and leaves the others and all gradients as they are."""
    x, parameters = pixels(normal(2, 5, 3, 4)), stack(5, 2, 1, torch.float32)
    inputs = {"x": x, "index": torch.tensor([0, wrong]), **parameters, "scale": torch.ones(1), "residual": False}
    y, to_x = torch.empty_like(x), torch.empty_like(x)
    run(built, "bottleneck", **inputs, injected=None, base=None, y=y)
    outputs = {f"to_{name}": torch.empty_like(value) for name, value in parameters.items() if value is not None}
    run(built, "bottleneck_backward", gradient=x, **inputs, to_x=to_x, **outputs)
    for result in (y, to_x):
        assert result[0].isfinite().all()
        assert result[1].isnan().all()
    assert all(value.isfinite().all() for value in outputs.values())


@pytest.mark.parametrize("wrong", [1, 7, -2])
def test_an_adapter_that_is_none_gives_nan(wrong: int) -> None:
    check_no_adapter(emulator.library("bottleneck", only=torch.float32), wrong)
