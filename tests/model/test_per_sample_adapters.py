from __future__ import annotations

import copy

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.overrides import TorchFunctionMode

from adair_core.errors import UnknownNameError, UsageError
from adair_core.model.adapted_backbone import AdaptedBackbone
from adair_core.model.backbone import build_backbone
from adair_core.model.cuda_graph import Capturable
from adair_core.model.per_sample import images_at
from adair_core.plugins import plugins
from adair_core.specs import Site


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
@pytest.mark.parametrize("gradients", [True, False])
def test_each_image_is_as_if_alone(zoo, images, adapters, gradients):
    images = images.double()
    with torch.set_grad_enabled(gradients):
        together = zoo(images, adapters=adapters)
    check_alone(zoo, images, adapters, together)


def check_alone(model, images, adapters, together, tolerance=1e-12):
    for index, chosen in enumerate(adapters):
        blend = {} if chosen is None else {chosen: 1.0} if isinstance(chosen, str) else chosen
        model.set_adapters(list(blend), list(blend.values()))
        with torch.no_grad():
            alone = model(images[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone, rtol=tolerance, atol=tolerance)


@torch.no_grad()
def test_blends(zoo, images):
    zoo.add_adapter("wide", "bottleneck", {"width": 3}, seed=9)
    adapters = [
        {"lora": 0.5, "bottleneck": -1.5, "wide": 0.25},
        {"prompt": 2.0, "full": 0.1},
        {"bottleneck": 0.5},
        {"wide": 1.0, "bottleneck": 0.3},
    ]
    check_alone(zoo, images.double(), adapters, zoo(images.double(), adapters=adapters))
    assert not zoo._indivisible


@pytest.mark.parametrize("kind", ["bottleneck", "prompt"])
@pytest.mark.parametrize("options", [{}, {"bottleneck": {"width": 3}, "prompt": {"size": 5}}])
@torch.no_grad()
def test_several_feature_adapters_of_a_type(zoo, images, randomise, kind, options):
    zoo.add_adapter("other", kind, options.get(kind, {}))
    randomise(zoo, "other", seed=30)
    adapters = [kind, "other", None, {kind: 0.3, "other": 2.0}]
    check_alone(zoo, images.double(), adapters, zoo(images.double(), adapters=adapters))


class FromPython(TorchFunctionMode):
    """Notes what makes tensors of Python's numbers, and what lays parameters side by side."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        listed = func is torch.Tensor.__getitem__ and isinstance(args[1], list)
        if listed or func in (torch.tensor, torch.as_tensor, torch.full, torch.stack, torch.Tensor.new_tensor):
            self.found.append(func.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["bottleneck", "prompt"])
@torch.no_grad()
def test_a_second_batch_makes_no_tensor_of_numbers_and_stacks_nothing(zoo, images, randomise, kind):
    images = images.double()
    zoo.add_adapter("other", kind)
    randomise(zoo, "other", seed=30, std=0.1)
    adapters = [{"other": 0.5}, kind, None, {"other": 0.5}]  # not in the order in which they run
    with FromPython() as first:
        once = zoo(images, adapters=adapters)
    assert {"full", "stack"} <= set(first.found)
    assert not {"tensor", "as_tensor", "new_tensor", "__getitem__"} & set(first.found)
    with FromPython() as second:
        again = zoo(images, adapters=adapters)
    assert second.found == []
    assert torch.equal(once, again)


@pytest.mark.parametrize("kind", ["bottleneck", "prompt"])
@torch.no_grad()
def test_what_changes_a_feature_adapter_is_seen(zoo, images, randomise, kind):
    images, adapters = images.double(), [kind, "other", "other", kind]
    for seed, options in enumerate([{}, {}, {"bottleneck": {"width": 3}, "prompt": {"channels": 3}}[kind]]):
        zoo.add_adapter("other", kind, options)
        randomise(zoo, "other", seed=40 + seed, std=0.1)
        for _ in range(2):
            check_alone(zoo, images, adapters, zoo(images, adapters=adapters))
        randomise(zoo, kind, seed=50 + seed, std=0.1)
        check_alone(zoo, images, adapters, zoo(images, adapters=adapters))
        zoo.remove_adapter("other")  # its memory is free for the next


def check_capturable(device):
    """Mixed batches on a device whose operations a CUDA graph has to hold."""
    features = torch.rand(4, 8, 6, 5, device=device)
    counts, order = (1, 2, 1), [2, 0, 3, 1]
    with torch.device(device):
        site = Site.of(torch.nn.Conv2d(8, 8, 1), "", "branch", level=1, channels=8)
        specs = [plugins().adapters[name] for name in ("bottleneck", "prompt")]
        pairs = [[spec.build(spec.config(), site) for _ in range(2)] for spec in specs]
    with Capturable(features.device):
        for first, second in pairs:
            features = type(first).add_to_each(features, features, [(first, 1.0), (second, 0.5), None], counts)
        return images_at(features, order)


@torch.no_grad()
def test_mixed_batches_can_be_captured():
    with FakeTensorMode():
        assert check_capturable(torch.device("cuda", 0)).shape == (4, 8, 6, 5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.no_grad()
def test_mixed_batches_can_be_captured_on_a_device():
    torch.cuda.set_sync_debug_mode("error")
    try:
        check_capturable(torch.device("cuda", 0))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_one_pass_without_gradients_one_for_each_adapter_with_them(zoo, images):
    before = zoo.backbone.calls
    with torch.no_grad():
        zoo(images.double(), adapters=["lora", "bottleneck", "prompt", "full"])
        zoo(images.double(), adapters=["lora", None, "lora", None])
    assert zoo.backbone.calls == before + 2
    zoo(images.double(), adapters=["lora", None, "lora", None])
    assert zoo.backbone.calls == before + 4


@torch.no_grad()
def test_what_changes_a_weight_is_seen(zoo, images, randomise):
    images, adapters = images.double(), ["full", "lora", None, "lora"]
    before = zoo(images, adapters=adapters)
    randomise(zoo, "lora", seed=20)
    after = zoo(images, adapters=adapters)
    check_alone(zoo, images, adapters, after)
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True, False]
    zoo.backbone.enter.weight = torch.nn.Parameter(zoo.backbone.enter.weight * 2, requires_grad=False)
    check_alone(zoo, images, adapters, zoo(images, adapters=adapters))
    twin = copy.deepcopy(zoo)
    zoo.backbone.enter.weight.mul_(2)
    twin.backbone.branch.weight.mul_(2)
    check_alone(twin, images, adapters, twin(images, adapters=adapters))


class Unusual(torch.nn.Module):
    """Does with its weights, or with the batch, what cannot be done image by image."""

    def __init__(self, what):
        super().__init__()
        self.what, self.calls = what, 0
        self.first = torch.nn.Conv2d(3, 8, 1)
        self.second = torch.nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x):
        self.calls += 1
        if self.what == "weight":
            hidden = torch.einsum("oi,bihw->bohw", self.first.weight[:, :, 0, 0], x)
        elif self.what == "batch":
            hidden = self.first(torch.cat([x, x.flip(3)]))
            hidden = hidden[: len(x)] + hidden[len(x) :].flip(3)
        else:
            hidden = self.first(x.sum(0, keepdim=True)) + self.first(x)[:1]
            hidden = self.first(x) + 0 * hidden
        return x + self.second(hidden)


@pytest.mark.parametrize("what", ["weight", "batch", "sum"])
@pytest.mark.parametrize("kind", ["lora", "bottleneck"])
@torch.no_grad()
def test_a_backbone_that_cannot_runs_each_adapter_by_itself(images, randomise, what, kind):
    backbone = Unusual(what).double()
    sites = [
        Site.of(backbone, "first", "conv1x1", level=1),
        Site.of(backbone, "first", "branch", level=1, channels=8),
    ]
    model = AdaptedBackbone(backbone, sites)
    for seed, name in enumerate("ab"):
        model.add_adapter(name, kind, {"blocks_only": False})
        randomise(model, name, seed=seed)
    images, adapters = images.double(), ["a", "b", None, "a"]
    for passes in (4, 3):  # the first time it is tried
        before = backbone.calls
        together = model(images, adapters=adapters)
        assert backbone.calls - before == (1 if (what, kind) == ("weight", "bottleneck") else passes)
        check_alone(model, images, adapters, together)


@pytest.mark.parametrize("backbone", ["restormer", "nafnet"])
@pytest.mark.parametrize("mode", ["double", "float", "channels last", "autocast", "bfloat16"])
@pytest.mark.parametrize(
    "adapters",
    [
        ["lora1", "lora2", None, "lora1", "lora3"],
        ["bottleneck", "lora1", "prompt", {"lora2": 0.5, "bottleneck": 0.5}, None],
        ["full", "lora3", "lora1", "full", "prompt"],
    ],
)
@torch.no_grad()
def test_backbones_at_odd_sizes(backbone, mode, adapters, randomise):
    torch.manual_seed(0)
    network = build_backbone(backbone, preset="tiny")
    if backbone == "nafnet":  # a new one's branches are multiplied by zero
        for name, parameter in network.named_parameters():
            if name.endswith(("beta", "gamma")):
                parameter.fill_(0.5)
    model = AdaptedBackbone(network, plugins().backbones[backbone].sites(network))
    kinds = {"lora1": {}, "lora2": {"rank": 3}, "lora3": {"kinds": None}, "bottleneck": {}, "prompt": {}, "full": {}}
    for seed, (name, options) in enumerate(kinds.items()):
        model.add_adapter(name, name.rstrip("123"), options)
        randomise(model, name, seed=seed, std=0.02)
    images = torch.rand(5, 3, 19, 13)
    if mode == "double":
        model.double()
        images = images.double()
    if mode == "channels last":
        images = images.contiguous(memory_format=torch.channels_last)
    if mode == "bfloat16":
        model.to(torch.bfloat16)
        images = images.to(torch.bfloat16)
    tolerance = {"double": 1e-10, "autocast": 0.03, "bfloat16": 0.03}.get(mode, 1e-4)
    with torch.autocast("cpu", torch.bfloat16, enabled=mode == "autocast"):
        together = model(images, adapters=adapters)
        assert bool(model._indivisible) == (backbone == "nafnet" and "full" in adapters)
        check_alone(model, images, adapters, together, tolerance)


@torch.no_grad()
def test_what_kept_images_apart_goes_with_its_adapter(randomise):
    network = build_backbone("nafnet", preset="tiny")
    model = AdaptedBackbone(network, plugins().backbones["nafnet"].sites(network))
    model.add_adapter("other", "lora")
    images = torch.rand(2, 3, 16, 16)
    for kind in ("full", "lora"):
        model.add_adapter("one", kind)
        randomise(model, "one", seed=1, std=0.02)
        model(images, adapters=["one", "other"])
        assert bool(model._indivisible) == (kind == "full")
        model.remove_adapter("one")


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
    with pytest.raises(UsageError, match=r"finite numbers, got \{'lora': nan}"):
        zoo(images, adapters=[{"lora": float("nan")}, None, None, None])
    with pytest.raises(UsageError, match="a sequence"):
        zoo(images, adapters="lora")
    with pytest.raises(UnknownNameError, match="did you mean 'lora'"):
        zoo(images, adapters=["lore", None, None, None])


def test_an_empty_batch(zoo):
    assert zoo(torch.empty(0, 3, 8, 8, dtype=torch.float64), adapters=[]).shape == (0, 3, 8, 8)
