"""A batch of bottlenecks: the same as one after the other, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from adair_core.errors import UsageError
from adair_core.ops import bottleneck, bottleneck_batch

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def arguments(index: torch.Tensor, /, **changed: Any) -> list[Any]:
    generator = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    named = {
        "x": normal(len(index), 4, 5, 6),
        "down_w": normal(3, 2, 4, 1, 1),
        "down_b": normal(3, 2),
        "depthwise_w": normal(3, 2, 1, 3, 3),
        "depthwise_b": normal(3, 2),
        "up_w": normal(3, 4, 2, 1, 1),
        "up_b": normal(3, 4),
        "scale": normal(3),
        "index": index,
    }
    return list((named | changed).values())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_image_gets_what_its_adapter_alone_gives(layout: torch.memory_format) -> None:
    x, *stack, index = arguments(torch.tensor([2, 0, -1, 2]))
    x = x.contiguous(memory_format=layout)
    found = bottleneck_batch(x, *stack, index)
    assert not found[2].any()
    for place, adapter in ((0, 2), (1, 0), (3, 2)):
        alone = bottleneck(x[place : place + 1], *(value[adapter] for value in stack))
        torch.testing.assert_close(found[place : place + 1], alone)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_base_is_added_to(layout: torch.memory_format) -> None:
    x, *rest = (value.requires_grad_(value.is_floating_point()) for value in arguments(torch.tensor([2, 0, -1, 2])))
    x = x.detach().contiguous(memory_format=layout).requires_grad_()
    base = torch.randn(x.shape, generator=torch.Generator().manual_seed(3)).requires_grad_()
    alone, found = bottleneck_batch(x, *rest), bottleneck_batch(x, *rest, base)
    torch.testing.assert_close(found, base + alone)
    assert torch.equal(found[2], base[2])
    leaves = [x, *rest[:-1]]
    slopes = torch.cos(torch.arange(x.numel())).reshape(x.shape)
    *gradients, to_base = torch.autograd.grad(found, [*leaves, base], slopes)
    assert torch.equal(to_base, slopes)
    for value, expected in zip(gradients, torch.autograd.grad(alone, leaves, slopes), strict=True):
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_injected_is_added_inside(layout: torch.memory_format) -> None:
    x, *stack, index = arguments(torch.tensor([2, 0, -1, 2]))
    x = x.contiguous(memory_format=layout).requires_grad_()
    injected = torch.randn((4, 2, 5, 6), generator=torch.Generator().manual_seed(3)).requires_grad_()
    found = bottleneck_batch(x, *stack, index, None, injected)
    assert not found[2].any()
    alone = torch.cat(
        [
            bottleneck(x[place : place + 1], *(value[own] for value in stack), None, injected[place : place + 1])
            for place, own in ((0, 2), (1, 0), (3, 2))
        ]
    )
    torch.testing.assert_close(found[[0, 1, 3]], alone)
    slopes = torch.cos(torch.arange(x.numel())).reshape(x.shape)
    together = torch.autograd.grad(found, [x, injected], slopes)
    for value, expected in zip(together, torch.autograd.grad(alone, [x, injected], slopes[[0, 1, 3]]), strict=True):
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_unused_adapter_gets_zero_gradients(layout: torch.memory_format) -> None:
    x, *stack, index = arguments(torch.tensor([2, 0]))
    parameters = [value.requires_grad_() for value in stack]
    bottleneck_batch(x.contiguous(memory_format=layout), *parameters, index).sum().backward()
    for value in parameters:
        assert [bool(part.any()) for part in value.grad] == [True, False, True]


def test_second_derivatives_where_no_image_has_an_adapter() -> None:
    x, *stack, index = arguments(torch.tensor([-1, -1]))
    scale = stack[-1].requires_grad_()
    output = bottleneck_batch(x, *stack, index)
    (gradient,) = torch.autograd.grad(output.sum(), scale, create_graph=True)
    assert not gradient.any()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"down_w": torch.zeros(2, 4, 1, 1)}, r"down_w: expected five dimensions \(K, r, C, 1, 1\)"),
        ({"up_b": torch.zeros(3, 2)}, r"up_b: expected shape \(3, 4\), got \(3, 2\)"),
        ({"scale": torch.zeros(4)}, r"bottleneck_batch: scale: expected shape \(3,\), got \(4,\)"),
        ({"index": torch.zeros(3, dtype=torch.int64)}, r"index: expected shape \(2,\), got \(3,\)"),
        ({"index": torch.zeros(2)}, r"bottleneck_batch: index: expected int64, got torch.float32"),
        ({"index": torch.tensor([0, 3])}, "index: expected values from -1 to 2, got 3"),
        ({"index": torch.tensor([0, -2])}, "index: expected values from -1 to 2, got -2"),
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], message: str, layout: torch.memory_format) -> None:
    given = arguments(torch.tensor([0, 1]), **changed)
    given[0] = given[0].contiguous(memory_format=layout)
    with pytest.raises(UsageError, match=message):
        bottleneck_batch(*given)
