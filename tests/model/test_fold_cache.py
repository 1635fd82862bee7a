from __future__ import annotations

import pytest
import torch

from adair_core.adapter import LowRankAdapter


@pytest.fixture
def folds(monkeypatch):
    """Count how often a factor pair is multiplied."""
    counts = []
    fold = LowRankAdapter.fold

    def counted(self, parameters, strength):
        counts.append(strength)
        return fold(self, parameters, strength)

    monkeypatch.setattr(LowRankAdapter, "fold", counted)
    return counts


def test_inference_folds_once(model, images, randomise, folds):
    adapter = model.add_adapter("a", "lora")
    randomise(model, "a")
    with torch.no_grad():
        first = model(images)
        assert torch.equal(model(images), first)
    assert len(folds) == len(adapter.sites)
    with torch.inference_mode():
        assert torch.equal(model(images), first)
    assert len(folds) == len(adapter.sites)


def test_restoring_in_tiles_folds_once(model, randomise, folds):
    adapter = model.add_adapter("a", "lora")
    randomise(model, "a")
    model.restore(torch.rand(1, 3, 40, 40), tile=16, overlap=4)
    assert model.backbone.calls > 4
    assert len(folds) == len(adapter.sites)


def test_training_folds_each_time_with_gradients(model, images, randomise, folds):
    adapter = model.add_adapter("a", "lora")
    with torch.no_grad():
        model(images)
    for _ in range(2):
        model(images).mean().backward()
    assert len(folds) == 3 * len(adapter.sites)
    assert all(parameter.grad is not None for parameter in model.adapter_parameters("a").values())


def in_place(model):
    with torch.no_grad():
        model.adapter_parameters("a")["branch.lora_B.weight"].add_(1)


def base_in_place(model):
    with torch.no_grad():
        model.backbone.branch.weight.mul_(2)


def optimizer_step(model):
    optimizer = torch.optim.AdamW(model.adapter_parameters("a").values(), lr=0.1)
    with torch.enable_grad():
        model(torch.ones(1, 3, 5, 5)).square().mean().backward()
    optimizer.step()


def new_state(model):
    state = model.state_dict()
    model.load_state_dict(
        {name: tensor + 0.1 if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    )


def replaced_data(model):
    parameter = model.adapter_parameters("a")["branch.lora_B.weight"]
    parameter.data = parameter.data + 1


def other_strength(model):
    model.set_adapters(["a"], [0.5])


def remade(model):
    model.remove_adapter("a")
    model.add_adapter("a", "lora", seed=5)
    in_place(model)


@pytest.mark.parametrize(
    "change", [in_place, base_in_place, optimizer_step, new_state, replaced_data, other_strength, remade]
)
def test_what_changes_a_weight_is_seen(model, images, randomise, change):
    model.add_adapter("a", "lora")
    randomise(model, "a")
    with torch.no_grad():
        before = model(images)
        change(model)
        after = model(images)
    # With gradients nothing is cached.
    torch.testing.assert_close(after, model(images).detach(), rtol=0, atol=0)
    assert not torch.equal(after, before)


def test_conversion_is_seen(model, images, randomise):
    model.add_adapter("a", "lora")
    randomise(model, "a")
    with torch.no_grad():
        single = model(images)
        torch.testing.assert_close(model.double()(images.double()), single.double(), rtol=1e-4, atol=1e-5)


def test_few_combinations_are_kept(model, images, randomise):
    model.add_adapter("a", "full")
    randomise(model, "a", std=0.01)
    with torch.no_grad():
        for step in range(20):
            model.set_adapters(["a"], [step / 20])
            model(images)
    assert len(model._folded._entries) <= 8
