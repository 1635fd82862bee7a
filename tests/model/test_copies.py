"""Whole networks with adapters: copies, pickles, files and inference mode give the same bits."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from adair_core.model.adapted_backbone import AdaptedBackbone
from adair_core.model.backbone import build_backbone
from adair_core.plugins import plugins

OPTIONS = {
    "restormer": {"dim": 8, "blocks": (1, 1, 1, 1), "refinement": 1, "heads": (1, 1, 2, 2)},
    "nafnet": {"width": 8, "encoder": (1, 1), "middle": 1, "decoder": (1, 1)},
}
KINDS = ["lora", "bottleneck", "prompt"]

each_backbone = pytest.mark.parametrize("backbone", OPTIONS)


def network_with_adapters(backbone: str) -> AdaptedBackbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_backbone(backbone, preset="tiny", **OPTIONS[backbone])
    model = AdaptedBackbone(network, plugins().backbones[backbone].sites(network))
    generator = torch.Generator().manual_seed(1)
    for name in KINDS:
        model.add_adapter(name, name)
        with torch.no_grad():
            for parameter in model.adapter_parameters(name).values():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def pictures() -> Tensor:
    return torch.rand(3, 3, 17, 13, generator=torch.Generator().manual_seed(2))


def by_file(model: AdaptedBackbone) -> AdaptedBackbone:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    found: AdaptedBackbone = torch.load(file, weights_only=False)
    return found


def by_pickle(model: AdaptedBackbone) -> AdaptedBackbone:
    found: AdaptedBackbone = pickle.loads(pickle.dumps(model))
    return found


@pytest.mark.parametrize("copied", [copy.deepcopy, by_pickle, by_file], ids=["deepcopy", "pickle", "file"])
@pytest.mark.parametrize("merged", [False, True])
@each_backbone
def test_a_copy_is_the_same_and_goes_its_own_way(
    backbone: str, merged: bool, copied: Callable[[AdaptedBackbone], AdaptedBackbone]
) -> None:
    model = network_with_adapters(backbone)
    model.set_adapters(["lora"] if merged else KINDS)
    if merged:
        model.merge()
    with torch.no_grad():
        before = model(pictures())
        twin = copied(model)
        assert torch.equal(twin(pictures()), before)
        if merged:
            twin.unmerge()
        twin.set_adapters([])
        bare = twin(pictures())
        assert not torch.equal(bare, before)
        for parameter in twin.parameters():
            parameter.add_(1.0)
        assert torch.equal(model(pictures()), before)
        # What an adapter hooks into the network belongs to the copy, too.
        if merged:
            model.unmerge()
        model.set_adapters([])
        assert torch.equal(model(pictures()), bare)


@each_backbone
def test_a_copy_learns_like_the_original(backbone: str) -> None:
    found = []
    model = network_with_adapters(backbone).train()
    model.set_adapters(KINDS)
    for trained in (model, copy.deepcopy(model)):
        trained(pictures()).square().mean().backward()
        found.append([value.grad for kind in KINDS for value in trained.adapter_parameters(kind).values()])
    assert all(value is not None for value in found[0])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@each_backbone
def test_weights_go_through_a_file(backbone: str) -> None:
    model, other = network_with_adapters(backbone), network_with_adapters(backbone)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    for chosen in (model, other):
        chosen.set_adapters(KINDS)
    with torch.no_grad():
        assert torch.equal(model(pictures()), other(pictures()))


@each_backbone
def test_inference_mode(backbone: str) -> None:
    model = network_with_adapters(backbone)
    for names in ([], ["lora"], KINDS):
        model.set_adapters(names)
        with torch.inference_mode():
            inside = model(pictures())
            assert torch.equal(model(pictures().clone()), inside)
        with torch.no_grad():
            assert torch.equal(model(pictures()), inside)
    # What was cached inside serves training afterwards.
    model.set_adapters(KINDS)
    model.train()(pictures()).square().mean().backward()
    assert all(value.grad is not None for kind in KINDS for value in model.adapter_parameters(kind).values())


@each_backbone
def test_a_batch_of_adapters_in_inference_mode(backbone: str) -> None:
    model = network_with_adapters(backbone)
    names = ["lora", None, "bottleneck"]
    with torch.no_grad():
        outside = model(pictures(), names)
    with torch.inference_mode():
        assert torch.equal(model(pictures(), names), outside)
