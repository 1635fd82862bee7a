from __future__ import annotations

import pytest
import torch

TYPES = ["lora", "bottleneck", "prompt", "full"]


@pytest.mark.parametrize("kinds", [["lora", "bottleneck"], ["full", "prompt"]])
def test_compiled_training_is_the_same(make_model, images, randomise, kinds):
    gradients = []
    for compiled in (False, True):
        torch._dynamo.reset()
        model = make_model().double().train()
        for kind in kinds:
            model.add_adapter(kind, kind)
            randomise(model, kind)
        model.set_adapters(kinds, [1.0, 0.5])
        run = torch.compile(model, backend="aot_eager", fullgraph=True) if compiled else model
        run(images.double()).square().mean().backward()
        gradients.append([p.grad for kind in kinds for p in model.adapter_parameters(kind).values()])
    for eager, compiled in zip(*gradients, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-9, atol=1e-12)


def test_a_compiled_model_follows_the_choice_of_adapters(model, images, randomise):
    torch._dynamo.reset()
    for kind in ("lora", "bottleneck"):
        model.add_adapter(kind, kind)
        randomise(model, kind)
    run = torch.compile(model, backend="eager")
    for names, weights in (([], []), (["lora"], [1.0]), (["bottleneck"], [0.5]), (["lora", "bottleneck"], [1.0, 0.2])):
        model.set_adapters(names, weights)
        torch.testing.assert_close(run(images), model(images))


def test_autocast_folds_in_float32(model, images, randomise):
    """A delta far below bfloat16's spacing, applied ten times, must add up before the one rounding."""
    model.add_adapter("a", "full")
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        model.backbone.leave.weight.fill_(1.0)
        model.adapter_parameters("a")["leave.weight"].fill_(2.0**-8 + 2.0**-12)
        # 1 + 2^-8 + 2^-12 rounds up in bfloat16 (spacing 2^-7); the delta rounded first would tie to even, down.
        with_delta = model(images)
        model.set_adapters([])
        model.backbone.leave.weight.fill_(1.0 + 2.0**-7)
        assert torch.equal(with_delta, model(images))


def test_adapters_of_a_bfloat16_base_are_float32(model, images, randomise):
    model.bfloat16()
    for kind in TYPES:
        model.add_adapter(kind, kind)
        randomise(model, kind, std=0.05)
        assert {parameter.dtype for parameter in model.adapter_parameters(kind).values()} == {torch.float32}
        assert model(images.bfloat16()).dtype == torch.bfloat16
