"""Parameters of which each image has its own: an image gets the bits that it gets alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import emulator
import pytest
import torch
from checks import each_dtype, normal, run
from torch import Tensor

BATCH, HEIGHT, WIDTH = 3, 5, 9
NUMBERS = {"height": HEIGHT, "width": WIDTH, "pixels": HEIGHT * WIDTH, "eps": 1e-3}


def check(
    built: Path, operator: str, numbers: dict[str, int], shapes: dict[str, tuple[int, ...]], own: set[str]
) -> None:
    """Forward. `shapes` has those of an image under x, qkv and y, and those of parameters, of which `own` differ."""
    dtype = {code: kind for kind, code in emulator.DTYPES.items()}[numbers["dtype"]]
    given = {
        name: normal(BATCH, *shape, dtype=dtype if name in ("x", "qkv") else torch.float32, seed=place)
        for place, (name, shape) in enumerate(shapes.items())
        if name != "y"
    }
    parameters = [name for name in given if name not in ("x", "qkv")]
    together = {name: value if name in own or name not in parameters else value[0] for name, value in given.items()}
    y = results(operator, built, {**NUMBERS, **numbers, "images": BATCH}, together, shapes["y"], dtype)
    for image in range(BATCH):
        alone = {name: value[image] if name in own else value[0] for name, value in given.items()}
        alone |= {name: given[name][image] for name in given if name not in parameters}
        expected = results(operator, built, {**NUMBERS, **numbers, "images": 1}, alone, shapes["y"], dtype)
        assert torch.equal(y[image], expected[0]), f"image {image} depends on the others"


def results(
    operator: str,
    built: Path,
    numbers: dict[str, float],
    inputs: dict[str, Tensor],
    shape: Iterable[int],
    dtype: torch.dtype,
) -> Tensor:
    images = int(numbers["images"])
    outputs = {"y": torch.empty(images, *shape, dtype=dtype)}
    if operator == "channel_attention":
        channels, heads = int(numbers["channels"]), int(numbers["heads"])
        outputs["cosines"] = torch.empty(images, channels, channels // heads)
        outputs["lengths"] = torch.empty(2, images, channels)
    run(built, operator, numbers, {name: value.contiguous() for name, value in inputs.items()}, outputs)
    return outputs["y"]


def check_depthwise(built: Path, dtype: int = 0) -> None:
    shapes = {"x": (HEIGHT, WIDTH, 5), "weight": (5, 9), "bias": (5,), "y": (HEIGHT, WIDTH, 5)}
    for own in ({"weight"}, {"bias"}, {"weight", "bias"}):
        for last in (True, False):
            numbers = {"dtype": dtype, "channels": 5, "channels_last": last, "flipped": 0}
            check(built, "depthwise", numbers, shapes, own)


def check_gate(built: Path, dtype: int = 0) -> None:
    shapes = {"x": (HEIGHT, WIDTH, 10), "weight": (10, 9), "bias": (10,), "y": (HEIGHT, WIDTH, 5)}
    for own in ({"weight"}, {"bias"}, {"weight", "bias"}):
        for last in (True, False):
            check(built, "depthwise_gate", {"dtype": dtype, "hidden": 5, "channels_last": last}, shapes, own)


def check_attention(built: Path, dtype: int = 0) -> None:
    shapes = {"qkv": (HEIGHT, WIDTH, 18), "temperature": (2,), "out_weight": (6, 6), "out_bias": (6,)}
    shapes["y"] = (HEIGHT, WIDTH, 6)
    for own in ({"temperature"}, {"out_weight"}, {"out_bias"}, {"temperature", "out_weight", "out_bias"}):
        check(built, "channel_attention", {"dtype": dtype, "channels": 6, "heads": 2}, shapes, own)


def check_feed_forward(built: Path, dtype: int = 0) -> None:
    c, h = 6, 17  # more than a slice
    parameters = {"norm_weight": (c,), "norm_bias": (c,), "in_weight": (2 * h, c), "in_bias": (2 * h,)}
    parameters |= {"depthwise": (2 * h, 9), "depthwise_bias": (2 * h,), "out_weight": (c, h), "out_bias": (c,)}
    shapes = {"x": (HEIGHT, WIDTH, c), **parameters, "y": (HEIGHT, WIDTH, c)}
    numbers = {"dtype": dtype, "channels": c, "hidden": h, "residual": 1}
    for own in (*({name} for name in parameters), set(parameters)):
        check(built, "feed_forward", numbers, shapes, own)


CHECKS = {
    "depthwise": check_depthwise,
    "depthwise_gate": check_gate,
    "channel_attention": check_attention,
    "feed_forward": check_feed_forward,
}


@each_dtype
@pytest.mark.parametrize("operator", CHECKS)
def test_an_image_is_as_if_alone(operator: str, dtype: torch.dtype) -> None:
    CHECKS[operator](emulator.library(operator), emulator.DTYPES[dtype])
