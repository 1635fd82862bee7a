from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from adair_core.adapter import LowRankAdapter, PeftFactors
from adair_core.model import untrained
from adair_core.specs import Site
from adair_plugins.adapters.lora import LoraConfig, build, from_peft

SMALL = {"dim": 8, "blocks": (1, 1, 1, 1), "refinement": 1}


def conv_site(shape, groups=1, kind="conv1x1"):
    return Site("conv", kind, channels=shape[0], level=1, shapes={"weight": shape, "bias": shape[:1]}, groups=groups)


@pytest.fixture(scope="module")
def paper():
    return untrained("restormer", preset="paper")


@pytest.mark.parametrize(("preset", "count"), [("1.9M", 1_913_472), ("1.9MB", 478_368)])
def test_presets_have_their_budget_on_the_published_restormer(paper, preset, count):
    adapter = paper.add_adapter(preset, "lora", preset=preset)
    assert sum(parameter.numel() for parameter in adapter.parameters()) == count
    assert {site.kind for site in adapter.sites} == {"conv1x1"}
    paper.remove_adapter(preset)


def test_blocks_only_leaves_the_convolutions_between_levels_alone():
    model = untrained("restormer", **SMALL)
    everywhere = {site.path for site in model.add_adapter("a", "lora").sites}
    blocks = {site.path for site in model.add_adapter("b", "lora", {"blocks_only": True}).sites}
    assert everywhere - blocks == {"reduce_chan_level2", "reduce_chan_level3"}


@pytest.mark.parametrize(("alpha", "scale"), [(None, 1.0), (4.0, 0.5), (32.0, 4.0)])
def test_alpha(alpha, scale):
    adapter = build(LoraConfig(rank=8, alpha=alpha), conv_site((6, 5, 1, 1)))
    assert adapter.scale == scale
    torch.nn.init.normal_(adapter.b)
    a, b = adapter.a.detach().double(), adapter.b.detach().double()
    wanted = scale * torch.einsum("or,ri->oi", b[:, :, 0, 0], a[:, :, 0, 0])
    torch.testing.assert_close(adapter.delta()["weight"].double()[:, :, 0, 0], wanted, rtol=1e-5, atol=1e-6)


def test_the_change_of_a_convolution_is_two_convolutions():
    """Equation 3 of the paper applied to activations: A with the kernel's size, then B point by point."""
    adapter = LowRankAdapter((6, 5, 3, 3), rank=2, scale=0.7).double()
    torch.nn.init.normal_(adapter.b)
    x = torch.randn(2, 5, 8, 7, dtype=torch.float64)
    changed = functional.conv2d(x, adapter.delta()["weight"], padding=1)
    wanted = 0.7 * functional.conv2d(functional.conv2d(x, adapter.a, padding=1), adapter.b)
    torch.testing.assert_close(changed, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("shape", "groups", "rank", "wanted"),
    [((12, 1, 3, 3), 12, 16, 9), ((4, 1, 3, 3), 4, 16, 4), ((12, 1, 3, 3), 12, 3, 3), ((3, 2, 1, 1), 1, 16, 16)],
)
def test_depthwise_ranks_end_at_the_kernel(shape, groups, rank, wanted):
    adapter = build(LoraConfig(rank=rank, alpha=2.0), conv_site(shape, groups, "dwconv"))
    assert adapter.rank == wanted
    assert adapter.a.shape == (wanted, *shape[1:])
    assert adapter.scale == 2.0 / rank


def test_a_depthwise_change_of_full_rank_reaches_any_kernel():
    adapter = build(LoraConfig(rank=16), conv_site((12, 1, 3, 3), 12, "dwconv"))
    wanted = torch.randn(12, 1, 3, 3)
    with torch.no_grad():
        adapter.b.copy_((wanted.flatten(1) @ torch.linalg.pinv(adapter.a.flatten(1)))[:, :, None, None])
        torch.testing.assert_close(adapter.delta()["weight"], wanted, rtol=1e-3, atol=1e-4)


def test_folding_is_adding_the_delta():
    adapter = LowRankAdapter((6, 5, 3, 3), rank=2, scale=0.7)
    torch.nn.init.normal_(adapter.b)
    weight = torch.randn(6, 5, 3, 3)
    folded = adapter.fold({"weight": weight, "bias": torch.zeros(6)}, 0.3)
    assert folded.keys() == {"weight"}
    torch.testing.assert_close(folded["weight"], weight + 0.3 * adapter.delta()["weight"], rtol=1e-6, atol=1e-6)


def test_a_is_kaiming_uniform():
    adapter = LowRankAdapter((4, 100, 3, 3), rank=64, scale=1)
    # PEFT's: uniform within 1 / sqrt(fan in).
    bound = 900**-0.5
    assert adapter.a.abs().max() <= bound
    assert adapter.a.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert not adapter.b.any()


def test_options_of_a_peft_lora():
    sites = (conv_site((6, 5, 1, 1)),)
    config = LoraConfig.model_validate(dict(from_peft(PeftFactors(rank=4, alpha=8.0, sites=sites))))
    assert (config.rank, config.alpha, config.include, config.kinds) == (4, 8.0, ("conv",), None)
