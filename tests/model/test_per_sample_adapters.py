from __future__ import annotations

import pytest
import torch

from adair_core.errors import UnknownNameError, UsageError


@pytest.fixture
def zoo(model, randomise):
    for index, kind in enumerate(("lora", "bottleneck", "prompt", "full")):
        model.add_adapter(kind, kind)
        randomise(model, kind, seed=index, std=0.1)
    return model.double()


@pytest.mark.parametrize(
    "adapters",
    [
        ["lora", "bottleneck", "prompt", "full"],
        ["full", None, "full", "lora"],
        [None, None, None, None],
        ["prompt", "prompt", "prompt", "prompt"],
        ["lora", "prompt", "lora", "prompt"],
    ],
)
def test_each_image_is_as_if_alone(zoo, images, adapters):
    images = images.double()
    together = zoo(images, adapters=adapters)
    for index, name in enumerate(adapters):
        zoo.set_adapters([] if name is None else [name])
        alone = zoo(images[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-12, atol=1e-12)


def test_adapters_run_once_each(zoo, images):
    before = zoo.backbone.calls
    zoo(images.double(), adapters=["lora", None, "lora", None])
    assert zoo.backbone.calls == before + 2


def test_the_active_blend_does_not_matter(zoo, images):
    zoo.set_adapters(["lora", "full"], [0.5, 0.1])
    zoo_output = zoo(images.double(), adapters=["prompt", None, "lora", "lora"])
    zoo.set_adapters([])
    assert torch.equal(zoo(images.double(), adapters=["prompt", None, "lora", "lora"]), zoo_output)


def test_gradients_reach_each_adapter_from_its_images(zoo, images):
    images = images.double()
    zoo(images, adapters=["lora", "bottleneck", "lora", None]).square().sum().backward()
    together = {name: p.grad.clone() for name, p in zoo.adapter_parameters("lora").items()}
    zoo.zero_grad()
    zoo.set_adapters("lora")
    zoo(images[[0, 2]]).square().sum().backward()
    for name, parameter in zoo.adapter_parameters("lora").items():
        torch.testing.assert_close(together[name], parameter.grad, rtol=1e-10, atol=1e-10)
    assert all(parameter.grad is None for parameter in zoo.adapter_parameters("full").values())


def test_wrong_choices(zoo, images):
    images = images.double()
    with pytest.raises(UsageError, match="one for each of 4 images, got 2"):
        zoo(images, adapters=["lora", None])
    with pytest.raises(UsageError, match="a sequence"):
        zoo(images, adapters="lora")
    with pytest.raises(UnknownNameError, match="did you mean 'lora'"):
        zoo(images, adapters=["lore", None, None, None])


def test_an_empty_batch(zoo):
    assert zoo(torch.empty(0, 3, 8, 8, dtype=torch.float64), adapters=[]).shape == (0, 3, 8, 8)
