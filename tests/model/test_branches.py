"""Residual blocks: the skip connection is added once, by whatever adds last."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adair_core.adapter import FeatureAdapter
from adair_core.branch import BranchHook, add_branch
from adair_core.model import build_backbone
from adair_core.model.adapted_backbone import AdaptedBackbone
from adair_core.model.residuals import add_residuals, add_residuals_per_image
from adair_core.plugins import plugins


class Square(nn.Module):
    """A branch that notes whether it adds the skip connection itself."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[bool] = []

    def forward(self, x: Tensor, factor: float, residual: bool = False) -> Tensor:
        self.asked.append(residual)
        return factor * x * x + (x if residual else 0)


class Times(BranchHook):
    """Adds a multiple of the output."""

    def __init__(self, factor: float) -> None:
        self.factor, self.seen = factor, 0

    @property
    def idle(self) -> bool:
        return self.factor == 0

    def add(self, output: Tensor, skip: Tensor | None = None) -> Tensor:
        self.seen += 1
        return (1 + self.factor) * output + (0 if skip is None else skip)


@pytest.mark.parametrize(
    ("factors", "others", "asked", "wanted"),
    [
        ((), 0, True, 3 + 2 * 9),
        ((0.0,), 0, True, 3 + 2 * 9),
        ((0.5,), 0, False, 3 + 1.5 * 2 * 9),
        ((0.5, 0.0), 0, False, 3 + 1.5 * 2 * 9),
        ((0.5, 1.0), 0, False, 3 + 2 * 1.5 * 2 * 9),
        ((0.5,), 1, False, 3 + 10 * 1.5 * 2 * 9),
        ((), 1, False, 3 + 10 * 2 * 9),
    ],
)
def test_a_branch_and_its_hooks(factors: tuple[float, ...], others: int, asked: bool, wanted: float) -> None:
    branch = Square()
    for factor in factors:
        branch.register_forward_hook(Times(factor))
    for _ in range(others):
        branch.register_forward_hook(lambda _module, _inputs, output: 10 * output)
    found = add_branch(torch.tensor([3.0]), branch, 2.0)
    assert found.item() == wanted
    assert branch.asked == [asked]


def test_other_precisions_add_up_to_the_wider_one() -> None:
    branch = Square()
    branch.forward = lambda x, factor: (factor * x * x).bfloat16()  # type: ignore[method-assign,assignment]
    branch.register_forward_hook(Times(0.5))
    found = add_branch(torch.tensor([1 + 2**-12]), branch, 2.0)
    assert found.dtype == torch.float32
    assert found.item() == 1 + 2**-12 + 3


class Half(FeatureAdapter):
    """Adds half of the features, by what every adapter inherits."""

    def forward(self, features: Tensor) -> Tensor:
        return features / 2


def test_what_adapters_inherit_adds_the_skip_connection_once() -> None:
    features, skip = torch.full((2, 1, 1, 1), 4.0), torch.full((2, 1, 1, 1), 100.0)
    assert add_residuals(features, [], skip).tolist() == (features + skip).tolist()
    assert add_residuals(features, [(Half(), 1.0), (Half(), 3.0)], skip).flatten().tolist() == [112.0, 112.0]
    per_image = add_residuals_per_image(features, [[(Half(), 1.0)], []], [1, 1], skip)
    assert per_image.flatten().tolist() == [106.0, 104.0]


@pytest.fixture
def adapted() -> AdaptedBackbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_backbone("restormer", dim=8, blocks=(1, 1, 1, 1), heads=(1, 2, 2, 4), refinement=1)
    model = AdaptedBackbone(network, plugins().backbones["restormer"].sites(network))
    generator = torch.Generator().manual_seed(4)
    for name, width in (("narrow", 3), ("wide", 5), ("other", 5)):
        model.add_adapter(name, "bottleneck", {"width": width})
        for parameter in model.adapter_parameters(name).values():
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


@torch.no_grad()
@pytest.mark.parametrize(
    "chosen", [{"narrow": 1.0}, {"narrow": 0.4, "wide": -1.5}, {}, [None, "wide", "other"], ["narrow", "wide", None]]
)
def test_the_sum_is_that_of_plain_hooks(adapted: AdaptedBackbone, chosen: Any) -> None:
    """Where another hook waits, the block adds its input itself, after the adapters' sum."""
    images = torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(5))
    for_each = chosen if isinstance(chosen, list) else None
    if for_each is None:
        adapted.set_adapters(list(chosen), list(chosen.values()))
    found = adapted(images, for_each)
    for site in adapted.sites:
        if site.kind == "branch":
            adapted.backbone.get_submodule(site.path).register_forward_hook(lambda *_: None)
    torch.testing.assert_close(found, adapted(images, for_each), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, adapted.backbone(images)) or not chosen
