from __future__ import annotations

import copy

import pytest
import torch

from adair_core.errors import UsageError

WEIGHT_ADAPTERS = [("lora", {"kinds": None, "rank": 4}), ("lora", {"kinds": ("dwconv",)}), ("full", {})]


@pytest.fixture
def adapted(model, randomise):
    def adapted(kind, options):
        model.add_adapter("a", kind, options)
        randomise(model, "a", std=0.1)
        return model

    return adapted


@pytest.mark.parametrize(("kind", "options"), WEIGHT_ADAPTERS)
def test_merged_outputs_agree_in_float32(adapted, images, kind, options):
    model = adapted(kind, options)
    unmerged = model(images).detach()
    before = copy.deepcopy(model.backbone.state_dict())
    model.merge()
    assert model.merged
    assert not all(torch.equal(before[name], tensor) for name, tensor in model.backbone.state_dict().items())
    torch.testing.assert_close(model(images), unmerged, rtol=1e-5, atol=1e-6)
    # The merged weights are in the bare backbone.
    torch.testing.assert_close(model.backbone(images), unmerged, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "options"), WEIGHT_ADAPTERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_unmerging_restores_every_bit(adapted, kind, options, dtype):
    model = adapted(kind, options).to(dtype)
    before = copy.deepcopy(model.backbone.state_dict())
    model.merge()
    model.unmerge()
    assert not model.merged
    after = model.backbone.state_dict()
    for name, tensor in before.items():
        # Bits, so that -0.0 is not taken for 0.0.
        assert torch.equal(tensor.view(torch.uint8), after[name].view(torch.uint8)), name


@pytest.mark.parametrize(("kind", "options"), WEIGHT_ADAPTERS)
def test_merging_into_bfloat16_rounds_once(make_model, randomise, images, kind, options):
    model = make_model().bfloat16()
    model.add_adapter("a", kind, options)
    randomise(model, "a", std=0.05)
    exact = make_model().bfloat16().double()
    exact.add_adapter("a", kind, options)
    exact.load_state_dict(model.state_dict())
    exact.merge()
    unmerged = model(images.bfloat16()).detach()
    model.merge()
    wanted = exact.backbone.state_dict()
    for name, tensor in model.backbone.state_dict().items():
        # Computed in float32 and rounded once: all but a few ties are the correctly rounded values.
        assert (tensor == wanted[name].bfloat16()).double().mean() > 0.99, name
    assert torch.equal(model(images.bfloat16()), unmerged)
    # No further from the truth than PyTorch's own network of exactly merged weights is in bfloat16.
    truth = exact(images.bfloat16().double())
    own = make_model().bfloat16()
    own.backbone.load_state_dict({name: tensor.bfloat16() for name, tensor in wanted.items()})
    error = (own(images.bfloat16()).double() - truth).abs().max()
    assert (model(images.bfloat16()).double() - truth).abs().max() <= 1.5 * error


def test_blends_merge(model, images, randomise):
    for index, name in enumerate(("one", "two")):
        model.add_adapter(name, "lora", {"kinds": None})
        randomise(model, name, seed=index, std=0.1)
    model.set_adapters(["one", "two"], [0.3, 0.7])
    blended = model(images).detach()
    model.merge()
    torch.testing.assert_close(model(images), blended, rtol=1e-5, atol=1e-6)
    model.unmerge()
    assert model.active == {"one": 0.3, "two": 0.7}
    torch.testing.assert_close(model(images), blended, rtol=0, atol=0)


def test_features_do_not_merge(model, randomise):
    model.add_adapter("a", "lora")
    model.add_adapter("b", "bottleneck")
    model.set_adapters(["a", "b"])
    with pytest.raises(UsageError, match=r"'b' of type 'bottleneck' cannot be merged.*branch"):
        model.merge()
    assert not model.merged


def test_what_a_merged_model_refuses(model, images):
    model.add_adapter("a", "lora")
    with pytest.raises(UsageError, match="not merged"):
        model.unmerge()
    model.merge()
    for action in (
        model.merge,
        lambda: model.set_adapters([]),
        lambda: model.remove_adapter("a"),
        lambda: model.add_adapter("b", "lora"),
        lambda: model(images, adapters=["a"] * len(images)),
    ):
        with pytest.raises(UsageError, match=r"call unmerge\(\) first"):
            action()
    assert model.adapters == ("a",)
