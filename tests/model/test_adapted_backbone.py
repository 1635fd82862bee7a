from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn import functional

from adair_core.errors import PluginError, UnknownNameError, UsageError
from adair_core.model import RestorationModel
from adair_core.model.adapted_backbone import AdaptedBackbone
from adair_core.model.backbone import with_whole
from adair_core.specs import Site

TYPES = ["lora", "bottleneck", "prompt", "full"]
ALL_CONVOLUTIONS = {"kinds": None, "rank": 3}


def plain_output(model, deltas, x):
    """The test network with changed weights, written out with functions in place of modules."""
    weights = {name: parameter.detach().double() for name, parameter in model.backbone.named_parameters()}
    for name, delta in deltas.items():
        weights[name] = weights[name] + delta

    def conv(x, name, **options):
        return functional.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), **options)

    features = conv(x, "enter", padding=1)
    hidden = conv(conv(features, "block.point"), "block.depth", padding=1, groups=8).relu()
    return x + conv(features + conv(hidden, "branch"), "leave", padding=1)


def lora_deltas(model, name, scale=1.0):
    parameters = {key: value.detach().double() for key, value in model.adapter_parameters(name).items()}
    deltas = {}
    for key, a in parameters.items():
        if key.endswith(".lora_A.weight"):
            path = key.removesuffix(".lora_A.weight")
            b = parameters[f"{path}.lora_B.weight"]
            deltas[f"{path}.weight"] = scale * torch.einsum("or,rikl->oikl", b[:, :, 0, 0], a)
    return deltas


@pytest.mark.parametrize("kind", TYPES)
def test_new_adapters_are_the_identity(model, images, kind):
    before = model(images)
    model.add_adapter("new", kind)
    assert torch.equal(model(images), before)


@pytest.mark.parametrize("kind", TYPES)
def test_only_the_adapter_gets_gradients(model, images, kind):
    weights = copy.deepcopy(model.backbone.state_dict())
    parameters = model.add_adapter("new", kind).named_adapter_parameters()
    start = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-2, weight_decay=0)
    for _ in range(2):
        optimizer.zero_grad()
        (model(images) - images.flip(-1)).square().mean().backward()
        optimizer.step()
    assert [name for name, parameter in model.backbone.named_parameters() if parameter.grad is not None] == []
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.backbone.state_dict().items())
    assert [name for name in parameters if torch.equal(parameters[name], start[name])] == []


def test_lora_changes_weights_by_the_product(model, images, randomise):
    model.add_adapter("new", "lora", {**ALL_CONVOLUTIONS, "alpha": 6.0})
    randomise(model, "new")
    model.double()
    expected = plain_output(model, lora_deltas(model, "new", scale=6.0 / 3), images.double())
    torch.testing.assert_close(model(images.double()), expected, rtol=1e-10, atol=1e-10)


def test_blending_adds_weighted_deltas(model, images, randomise):
    for index, name in enumerate(("one", "two")):
        model.add_adapter(name, "lora", ALL_CONVOLUTIONS)
        randomise(model, name, seed=index)
    model.set_adapters(["one", "two"], [0.25, -1.5])
    assert model.active == {"one": 0.25, "two": -1.5}
    model.double()
    one, two = lora_deltas(model, "one", 0.25), lora_deltas(model, "two", -1.5)
    expected = plain_output(model, {name: one[name] + two[name] for name in one}, images.double())
    torch.testing.assert_close(model(images.double()), expected, rtol=1e-10, atol=1e-10)


def test_types_work_together(model, images, randomise):
    """A weight delta, an addition to a branch and one to a level, all at once, against the sum by hand."""
    model.double()
    images = images.double()
    for name in ("lora", "bottleneck", "full"):
        model.add_adapter(name, name)
        randomise(model, name)
    model.double()
    model.set_adapters(["lora", "bottleneck", "full"], [1.0, 0.5, 0.1])
    net = model.backbone
    deltas = lora_deltas(model, "lora")
    full = {name: 0.1 * parameter.detach() for name, parameter in model.adapter_parameters("full").items()}
    changed = {name: full[name] + deltas.get(name, 0) for name in full}
    bottleneck = dict(model.adapter("bottleneck").parts)[net_site(model, "branch", "branch")]
    own = net.branch.weight.detach() + changed["branch.weight"]
    shifted = {name: tensor for name, tensor in changed.items() if name != "branch.weight"}

    def branch(hidden):
        output = functional.conv2d(hidden, own)
        return output + 0.5 * bottleneck(output)

    weights = {name: parameter.detach() + shifted.get(name, 0) for name, parameter in net.named_parameters()}
    features = functional.conv2d(images, weights["enter.weight"], weights["enter.bias"], padding=1)
    hidden = functional.conv2d(features, weights["block.point.weight"], weights["block.point.bias"])
    hidden = functional.conv2d(
        hidden, weights["block.depth.weight"], weights["block.depth.bias"], padding=1, groups=8
    ).relu()
    features = features + branch(hidden)
    expected = images + functional.conv2d(features, weights["leave.weight"], weights["leave.bias"], padding=1)
    torch.testing.assert_close(model(images), expected, rtol=1e-10, atol=1e-10)


def net_site(model, path, kind):
    return next(site for site in model.sites if (site.path, site.kind) == (path, kind))


def test_the_bare_backbone_stays_bare(model, images, randomise):
    before = model.backbone(images)
    model.add_adapter("one", "bottleneck")
    randomise(model, "one")
    model.add_adapter("two", "full")
    randomise(model, "two")
    model.set_adapters(["one", "two"])
    assert not torch.equal(model(images), before)
    assert torch.equal(model.backbone(images), before)
    model.set_adapters([])
    assert torch.equal(model(images), before)


def test_removing(model, images, randomise):
    before = model(images)
    model.add_adapter("one", "prompt")
    randomise(model, "one")
    model.add_adapter("two", "lora")
    randomise(model, "two")
    alone = model(images)
    model.set_adapters(["one", "two"])
    model.remove_adapter("one")
    assert model.adapters == ("two",)
    assert model.active == {"two": 1.0}
    assert torch.equal(model(images), alone)
    model.remove_adapter("two")
    assert torch.equal(model(images), before)
    model.add_adapter("one", "prompt")
    assert torch.equal(model(images), before)


def test_names_with_dots_and_of_methods(model, images):
    for name in ("sigma.25", "items", "a:b"):
        model.add_adapter(name, "lora")
    assert model.adapters == ("sigma.25", "items", "a:b")
    assert "adapter:sigma/25" in dict(model.named_children())["_installed"]


@pytest.mark.parametrize("strength", [math.nan, math.inf])
def test_strengths_must_be_finite(model, strength):
    model.add_adapter("one", "lora")
    with pytest.raises(UsageError, match="finite"):
        model.set_adapters(["one"], [strength])


def test_wrong_names(model):
    model.add_adapter("denoise", "lora")
    with pytest.raises(UnknownNameError, match="did you mean 'denoise'"):
        model.set_adapters("denoize")
    with pytest.raises(UnknownNameError, match="unknown adapter type 'lara'; did you mean 'lora'"):
        model.add_adapter("b", "lara")
    with pytest.raises(UsageError, match="no preset 'huge'; known: "):
        model.add_adapter("b", "lora", preset="huge")
    with pytest.raises(UsageError, match="already an adapter 'denoise'"):
        model.add_adapter("denoise", "lora")
    with pytest.raises(UsageError, match="without '/'"):
        model.add_adapter("a/b", "lora")
    with pytest.raises(UsageError, match="each name once"):
        model.set_adapters(["denoise", "denoise"])
    with pytest.raises(UsageError, match="1 finite numbers"):
        model.set_adapters(["denoise"], [0.5, 0.5])
    with pytest.raises(UsageError, match=r"rank: .*got 0"):
        model.add_adapter("b", "lora", {"rank": 0})
    assert model.active == {"denoise": 1.0}


def test_patterns_must_match(model):
    with pytest.raises(UsageError, match=r"'\*.attn.\*' matches no site.*enter, block.point"):
        model.add_adapter("a", "lora", {"include": ("*.attn.*",)})
    with pytest.raises(UsageError, match="'blok' matches no site"):
        model.add_adapter("a", "lora", {"exclude": ("blok",)})
    with pytest.raises(UsageError, match="leave no site"):
        model.add_adapter("a", "lora", {"include": ("enter",)})
    adapter = model.add_adapter("a", "lora", {"kinds": None, "include": ("block.*", "enter"), "exclude": ("*depth",)})
    assert [site.path for site in adapter.sites] == ["enter", "block.point"]


def test_a_backbone_without_fitting_sites(model):
    bare = RestorationModel(model.backbone, [], info=model.info)
    with pytest.raises(UsageError, match="expected some of kind branch, got whole"):
        bare.add_adapter("a", "bottleneck")
    bare.add_adapter("a", "full")


def test_wrong_sites(model):
    site = model.sites[0]
    with pytest.raises(PluginError, match="'enter' of kind conv3x3 is declared twice"):
        with_whole(model.backbone, [site, site], what="backbone 'net'")
    with pytest.raises(PluginError, match="'nowhere': there is no such module"):
        with_whole(model.backbone, [Site("nowhere", "stage", 8, 1)], what="backbone 'net'")


def test_seeds_decide_and_the_global_generator_is_left_alone(make_model):
    state = torch.random.get_rng_state()
    first, same, other = (make_model() for _ in range(3))
    factors = [
        model.add_adapter("a", "lora", seed=seed).named_adapter_parameters()["branch.lora_A.weight"]
        for model, seed in ((first, 3), (same, 3), (other, 4))
    ]
    assert torch.equal(factors[0], factors[1])
    assert not torch.equal(factors[0], factors[2])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_frozen_backbone_is_never_in_training_mode(make_model):
    model = make_model()
    model.add_adapter("a", "bottleneck")
    model.train()
    assert not any(module.training for module in model.backbone.modules())
    assert all(module.training for module in model.adapter("a").modules())


def test_copies_are_independent(model, images, randomise):
    for kind in TYPES:
        model.add_adapter(kind, kind)
        randomise(model, kind, std=0.05)
    model.set_adapters(TYPES)
    with torch.no_grad():
        before = model(images)
        twin = copy.deepcopy(model)
        assert torch.equal(twin(images), before)
        randomise(twin, "bottleneck", seed=9)
        assert not torch.equal(twin(images), before)
        assert torch.equal(model(images), before)


def test_state_round_trip(make_model, images, randomise):
    first, second = make_model(), make_model()
    for model in (first, second):
        model.add_adapter("a", "full")
    randomise(first, "a")
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(images), second(images))


class Tied(torch.nn.Module):
    """Uses one weight in two places, of which one is a site."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 3, 1, bias=False)
        self.second = torch.nn.Conv2d(3, 3, 1, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x):
        return x + self.second(torch.relu(self.first(x)))


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("per_image", [True, False])
def test_a_weight_that_is_used_twice_changes_in_both_places(gradients, per_image):
    backbone = Tied()
    model = AdaptedBackbone(backbone, [Site.of(backbone, "first", "conv1x1", level=1)])
    model.add_adapter("a", "lora", {"rank": 2})
    with torch.no_grad():
        for parameter in model.adapter_parameters("a").values():
            parameter.fill_(0.3)
    x = torch.rand(2, 3, 4, 5)
    weight = backbone.first.weight.detach()[:, :, 0, 0] + 2 * 0.3 * 0.3
    wanted = x + torch.einsum("oi,bihw->bohw", weight, torch.relu(torch.einsum("oi,bihw->bohw", weight, x)))
    with torch.set_grad_enabled(gradients):
        found = model(x, adapters=[None, "a"] if per_image else None).detach()
    torch.testing.assert_close(found[1], wanted[1])
