"""Parameters of which each image has its own: an image gets the bits that it gets alone."""

from __future__ import annotations

from collections.abc import Callable

import emulator
import pytest
import torch
from checks import each_dtype, normal, run
from emulator import Library, Value
from torch import Tensor

BATCH, HEIGHT, WIDTH = 3, 5, 9
Shapes = dict[str, tuple[int, ...]]
Rest = Callable[[int], dict[str, Value]]


def check(built: Library, operator: str, images: dict[str, Tensor], shapes: Shapes, own: set[str], rest: Rest) -> None:
    """Forward. Parameters have these shapes for an image, `own` differ; `rest(batch)` is all else, the result as y."""
    parameters = {name: normal(BATCH, *shape, seed=place) for place, (name, shape) in enumerate(shapes.items())}

    def y(values: dict[str, Tensor], batch: int) -> Tensor:
        whole = {**values, **rest(batch)}
        run(built, operator, **whole)
        return whole["y"]

    shared = {name: value[0] for name, value in parameters.items()}
    together = y({**images, **shared, **{name: parameters[name] for name in own}}, BATCH)
    for image in range(BATCH):
        alone = {name: value[image : image + 1] for name, value in images.items()}
        expected = y({**alone, **shared, **{name: parameters[name][image] for name in own}}, 1)
        assert torch.equal(together[image], expected[0]), f"image {image} depends on the others"


def stored(batch: int, channels: int, last: bool = True, width: int = WIDTH) -> tuple[int, ...]:
    return (batch, HEIGHT, width, channels) if last else (batch, channels, HEIGHT, width)


def check_depthwise(built: Library, dtype: torch.dtype = torch.float32) -> None:
    for own in ({"weight"}, {"bias"}, {"weight", "bias"}):
        for last in (True, False):
            x = normal(*stored(BATCH, 5, last), dtype=dtype)

            def rest(batch: int, last: bool = last) -> dict[str, Value]:
                y = torch.empty(stored(batch, 5, last), dtype=dtype)
                return {"flipped": False, "channels_last": last, "y": y}

            check(built, "depthwise", {"x": x}, {"weight": (5, 9), "bias": (5,)}, own, rest)


def check_gate(built: Library, dtype: torch.dtype = torch.float32) -> None:
    for own in ({"weight"}, {"bias"}, {"weight", "bias"}):
        for last in (True, False):
            x = normal(*stored(BATCH, 10, last), dtype=dtype)

            def rest(batch: int, last: bool = last) -> dict[str, Value]:
                y = torch.empty(stored(batch, 5, last), dtype=dtype)
                return {"channels_last": last, "y": y, "convolved": None}

            check(built, "depthwise_gate", {"x": x}, {"weight": (10, 9), "bias": (10,)}, own, rest)


def check_attention(built: Library, dtype: torch.dtype = torch.float32) -> None:
    width = 18  # so many pixels that sums over those of all images would have more parts than those of one
    qkv = normal(*stored(BATCH, 18, width=width), dtype=dtype)
    shapes = {"temperature": (2,), "out_weight": (6, 6), "out_bias": (6,)}

    def rest(batch: int) -> dict[str, Value]:
        y, cosines = torch.empty(stored(batch, 6, width=width), dtype=dtype), torch.empty(batch, 2, 3, 3)
        return {"base": None, "y": y, "cosines": cosines, "lengths": torch.empty(2, batch, 2, 3)}

    for own in ({"temperature"}, {"out_weight"}, {"out_bias"}, set(shapes)):
        check(built, "channel_attention", {"qkv": qkv}, shapes, own, rest)


def check_feed_forward(built: Library, dtype: torch.dtype = torch.float32) -> None:
    c, h = 6, 17  # more than a slice
    x, shapes = normal(*stored(BATCH, c), dtype=dtype), {"norm_weight": (c,), "norm_bias": (c,)}
    shapes |= {"in_weight": (2 * h, c, 1, 1), "in_bias": (2 * h,), "depthwise": (2 * h, 1, 3, 3)}
    shapes |= {"depthwise_bias": (2 * h,), "out_weight": (c, h, 1, 1), "out_bias": (c,)}

    def rest(batch: int) -> dict[str, Value]:
        y = torch.empty(stored(batch, c), dtype=dtype)
        return {"eps": 1e-3, "residual": True, "y": y, "convolved": None}

    for own in (*({name} for name in shapes), set(shapes)):
        check(built, "feed_forward_in_tiles", {"x": x}, shapes, own, rest)


CHECKS = {
    "depthwise": check_depthwise,
    "depthwise_gate": check_gate,
    "channel_attention": check_attention,
    "feed_forward": check_feed_forward,
}


@each_dtype
@pytest.mark.parametrize("operator", CHECKS)
def test_an_image_is_as_if_alone(operator: str, dtype: torch.dtype) -> None:
    CHECKS[operator](emulator.library(operator), dtype)
