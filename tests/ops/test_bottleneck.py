"""The bottleneck: the identity at the start, the folded scale, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from adair_core.errors import UsageError
from adair_core.ops import bottleneck


def arguments(**changed: Any) -> list[Any]:
    generator = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    named = {
        "x": normal(2, 4, 5, 6),
        "down_w": normal(2, 4, 1, 1),
        "down_b": normal(2),
        "depthwise_w": normal(2, 1, 3, 3),
        "depthwise_b": normal(2),
        "up_w": normal(4, 2, 1, 1),
        "up_b": normal(4),
        "scale": torch.tensor(1.0),
    }
    return list((named | changed).values())


def test_a_zero_up_projection_gives_zero_and_alone_gets_gradients() -> None:
    given = arguments(up_w=torch.zeros(4, 2, 1, 1), up_b=torch.zeros(4))
    parameters = [value.requires_grad_() for value in given[1:]]
    found = bottleneck(given[0], *parameters)
    found.sum().backward()
    assert not found.any()
    moved = [bool(value.grad.any()) for value in parameters]
    assert moved == [False, False, False, False, True, True, False]


def test_the_scale_is_a_factor() -> None:
    once, twice = bottleneck(*arguments()), bottleneck(*arguments(scale=torch.tensor([2.0])))
    torch.testing.assert_close(twice, 2 * once)


def test_a_small_scale_is_not_lost_in_bfloat16() -> None:
    scale = torch.tensor(1 + 2**-10)  # rounds to 1 in bfloat16
    given = arguments(x=torch.ones(1, 4, 1, 1, dtype=torch.bfloat16), up_w=torch.full((4, 2, 1, 1), 1 + 2**-7 - 2**-10))
    found = bottleneck(*given[:-1], scale)
    # up_w * scale is above the middle between two bfloat16 numbers, up_w alone below: the product is what is rounded.
    assert not torch.equal(found, bottleneck(*given[:-1], torch.tensor(1 - 2**-7)))
    rounded_product = (given[5] * scale).bfloat16().float()
    given[5] = rounded_product
    assert torch.equal(found, bottleneck(*given[:-1], torch.tensor(1.0)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"down_w": torch.zeros(2, 3, 1, 1)}, r"down_w: expected shape \(2, 4, 1, 1\), got \(2, 3, 1, 1\)"),
        ({"depthwise_w": torch.zeros(2, 2, 3, 3)}, r"depthwise_w: expected shape \(2, 1, 3, 3\)"),
        ({"up_w": torch.zeros(2, 4, 1, 1)}, r"up_w: expected shape \(4, 2, 1, 1\)"),
        ({"up_b": torch.zeros(2)}, r"up_b: expected shape \(4,\), got \(2,\)"),
        ({"scale": torch.zeros(4)}, r"bottleneck: scale: expected one element, got shape \(4,\)"),
    ],
)
def test_wrong_shapes_are_refused(changed: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bottleneck(*arguments(**changed))
