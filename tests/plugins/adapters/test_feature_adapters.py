from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from adair_plugins.adapters.bottleneck import Bottleneck
from adair_plugins.adapters.prompt import Prompt


def randomised(module):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.3)
    return module.double()


def features(height=9, width=7):
    return torch.randn(2, 6, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_bottleneck_is_its_equation():
    module = randomised(Bottleneck(6, 4))
    with torch.no_grad():
        hidden = (
            torch.einsum("rc,bchw->brhw", module.down.weight[:, :, 0, 0], features()) + module.down.bias[:, None, None]
        )
        padded = functional.pad(hidden, (1, 1, 1, 1))
        around = module.depthwise.bias[:, None, None] + sum(
            padded[:, :, i : i + 9, j : j + 7] * module.depthwise.weight[:, 0, i, j, None, None]
            for i in range(3)
            for j in range(3)
        )
        active = around * 0.5 * (1 + torch.erf(around / 2**0.5))
        up = torch.einsum("cr,brhw->bchw", module.up.weight[:, :, 0, 0], active) + module.up.bias[:, None, None]
        torch.testing.assert_close(module(features()), module.scale * up, rtol=1e-10, atol=1e-10)


def test_the_prompt_is_its_equation():
    module = randomised(Prompt(6, components=3, channels=4, size=5))
    x = features()
    with torch.no_grad():
        logits = x.flatten(2).mean(2) @ module.weigh.weight.T + module.weigh.bias
        weights = logits.exp() / logits.exp().sum(1, keepdim=True)
        resized = functional.interpolate(module.components, size=(9, 7), mode="bilinear")
        mixed = (weights[:, :, None, None, None] * resized).sum(1)
        prompt = functional.conv2d(mixed, module.refine.weight, module.refine.bias, padding=1)
        fused = functional.conv2d(torch.cat([x, prompt], 1), module.fuse.weight, module.fuse.bias)
        fused = functional.conv2d(fused, module.depthwise.weight, module.depthwise.bias, padding=1, groups=4)
        wanted = functional.conv2d(functional.gelu(fused), module.project.weight, module.project.bias)
        torch.testing.assert_close(module(x), wanted, rtol=1e-10, atol=1e-10)


def test_the_input_chooses_the_prompt():
    module = randomised(Prompt(6, components=3, channels=4, size=5))
    x = features()
    brighter = torch.cat([x[:1], x[1:] + torch.linspace(-1, 1, 6, dtype=torch.float64)[:, None, None]])
    logits = [module.weigh(batch.mean((2, 3))).softmax(1) for batch in (x, brighter)]
    assert torch.equal(logits[0][0], logits[1][0])
    assert not torch.allclose(logits[0][1], logits[1][1])


@pytest.mark.parametrize("make", [lambda: Bottleneck(6, 2), lambda: Prompt(6, components=2, channels=3, size=4)])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (16, 16)])
def test_any_size(make, size):
    assert randomised(make())(features(*size)).shape == (2, 6, *size)


@pytest.mark.parametrize("make", [lambda: Bottleneck(6, 2), lambda: Prompt(6, components=2, channels=3, size=4)])
def test_new_ones_give_an_exact_zero(make):
    assert not make()(features().float()).any()


@pytest.mark.parametrize("make", [lambda: Bottleneck(6, 2), lambda: Prompt(6, components=2, channels=3, size=4)])
def test_autocast(make):
    module = randomised(make()).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = module(features().bfloat16())
    torch.testing.assert_close(half.double(), module(features().float()).double(), rtol=0.05, atol=0.1)


@torch.no_grad()
def test_what_a_prompt_keeps_is_not_rounded_by_autocast(monkeypatch):
    rounded, addmv = [], torch.addmv  # autocast rounds that on CUDA devices alone, so it is watched

    def watched(*arguments):
        rounded.append(torch.is_autocast_enabled("cpu"))
        return addmv(*arguments)

    monkeypatch.setattr(torch, "addmv", watched)
    first, second = (randomised(Prompt(6, components=3, channels=4, size=5)).float() for _ in range(2))
    x = features().float()
    with torch.autocast("cpu", torch.bfloat16):
        first(x)
    assert torch.equal(first(x), second(x))
    assert rounded == [False, False]
