"""A convolution with an update for each image: the same as merged one by one, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from adair_core.errors import UsageError
from adair_core.ops import low_rank_convolution, low_rank_weight

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def arguments(index: torch.Tensor, /, **changed: Any) -> list[Any]:
    generator = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    named = {
        "x": normal(len(index), 4, 5, 6),
        "weight": normal(6, 4, 1, 1),
        "bias": normal(6),
        "a": normal(3, 2, 4, 1, 1),
        "b": normal(3, 6, 2),
        "scale": normal(3),
        "index": index,
    }
    return list((named | changed).values())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_image_gets_its_own_merged_weight(layout: torch.memory_format) -> None:
    x, weight, bias, a, b, scale, index = arguments(torch.tensor([2, 0, -1, 2]))
    x = x.contiguous(memory_format=layout)
    found = low_rank_convolution(x, weight, bias, a, b, scale, index)
    for place, adapter in enumerate(index.tolist()):
        own = weight if adapter < 0 else low_rank_weight(weight, a[adapter], b[adapter], float(scale[adapter]))
        alone = functional.conv2d(x[place : place + 1], own, bias)
        torch.testing.assert_close(found[place : place + 1], alone)


def test_a_small_update_is_not_lost_in_bfloat16() -> None:
    x = torch.ones(1, 1, 1, 1, dtype=torch.bfloat16)
    # 1 + 2^-8 is halfway between two bfloat16 numbers; two updates of that size reach the next one.
    a, b = torch.full((1, 2, 1, 1, 1), 2**-8), torch.ones(1, 1, 2)
    found = low_rank_convolution(x, torch.ones(1, 1, 1, 1), None, a, b, torch.ones(1), torch.tensor([0]))
    assert float(found) == 1 + 2**-7


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"a": torch.zeros(2, 4, 1, 1)}, r"weight and a: expected \(O, C, kh, kw\) and \(K, r, C, kh, kw\)"),
        ({"a": torch.zeros(3, 2, 5, 1, 1)}, r"a: expected shape \(3, 2, 4, 1, 1\), got \(3, 2, 5, 1, 1\)"),
        ({"b": torch.zeros(3, 6, 1)}, r"b: expected shape \(3, 6, 2\), got \(3, 6, 1\)"),
        ({"bias": torch.zeros(4)}, r"bias: expected shape \(6,\), got \(4,\)"),
        ({"scale": torch.zeros(1)}, r"scale: expected shape \(3,\), got \(1,\)"),
        ({"index": torch.zeros(2)}, "index: expected int64, got torch.float32"),
        ({"index": torch.tensor([0, 3])}, "index: expected values from -1 to 2, got 3"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        low_rank_convolution(*arguments(torch.tensor([0, 1]), **changed))
