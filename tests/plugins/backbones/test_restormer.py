"""Restormer against independent implementations, at any size, in every dtype, and its sites."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from comparing import photo, randomised, shapes
from torch import nn
from torch.nn import functional

from adair_core.errors import UsageError
from adair_core.plugins import parse_config, plugins
from adair_plugins.backbones.restormer import SPEC, Restormer, RestormerConfig

with warnings.catch_warnings():  # they import deprecated parts of torch and torchvision
    warnings.simplefilter("ignore")
    from deepinv.models import Restormer as DeepinvRestormer
    from spandrel_extra_arches.architectures.Restormer import Restormer as SpandrelRestormer

SMALL: dict[str, Any] = {"dim": 8, "blocks": (1, 1, 2, 1), "refinement": 1}


def small(**changed: Any) -> Restormer:
    return randomised(Restormer(RestormerConfig(**(SMALL | changed))))


def spandrel(config: RestormerConfig) -> nn.Module:
    return SpandrelRestormer(
        inp_channels=config.in_channels,
        out_channels=config.out_channels,
        dim=config.dim,
        num_blocks=list(config.blocks),
        num_refinement_blocks=config.refinement,
        heads=list(config.heads),
        ffn_expansion_factor=config.expansion,
        bias=config.bias,
        LayerNorm_type={"biased": "WithBias", "bias-free": "BiasFree"}[config.norm],
        dual_pixel_task=config.dual_pixel,
    )


def deepinv(config: RestormerConfig) -> nn.Module:
    return DeepinvRestormer(
        dim=config.dim,
        num_blocks=list(config.blocks),
        num_refinement_blocks=config.refinement,
        heads=list(config.heads),
        LayerNorm_type={"biased": "WithBias", "bias-free": "BiasFree"}[config.norm],
        pretrained=None,
    )


@pytest.mark.parametrize("peer", [spandrel, deepinv])
@pytest.mark.parametrize("norm", ["biased", "bias-free"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_outputs_equal_an_independent_implementation(peer: Any, norm: str, layout: torch.memory_format) -> None:
    model = small(norm=norm).to(memory_format=layout)
    other = peer(model.config)
    other.load_state_dict(model.state_dict())
    for dtype, tolerance in ((torch.float32, 5e-5), (torch.float64, 1e-9)):
        images = photo(2, 3, 24, 32, dtype=dtype).contiguous(memory_format=layout)
        with torch.no_grad():
            found, truth = model.to(dtype)(images), other.to(dtype)(images)
        assert found.dtype == dtype
        # Of what the network adds: the input, which is most of the output, would hide an error.
        assert (found - truth).norm() / (truth - images).norm() < tolerance


@pytest.mark.parametrize("options", [{"bias": True}, {"dual_pixel": True, "in_channels": 6}, {"expansion": 1.5}])
def test_variants_equal_an_independent_implementation(options: dict[str, Any]) -> None:
    model = small(**options).double()
    other = spandrel(model.config).double()
    other.load_state_dict(model.state_dict())
    images = photo(1, model.config.in_channels, 16, 24, dtype=torch.float64)
    torch.testing.assert_close(model(images), other(images), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("norm", ["biased", "bias-free"])
def test_gradients_equal_an_independent_implementation(norm: str) -> None:
    model = small(norm=norm).double()
    other = spandrel(model.config).double()
    other.load_state_dict(model.state_dict())
    images, target = photo(2, 3, 16, 16, dtype=torch.float64), torch.zeros(2, 3, 16, 16, dtype=torch.float64)
    for network in (model, other):
        functional.mse_loss(network(images), target).backward()
    for (name, found), truth in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(
            found.grad, truth.grad, rtol=1e-8, atol=1e-12, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.parametrize(
    ("norm", "count"), [("biased", 26_126_644), ("bias-free", 26_111_668)], ids=["26.13M", "26.11M"]
)
def test_the_paper_preset_has_the_published_names_and_shapes(norm: str, count: int) -> None:
    with torch.device("meta"):
        model = Restormer(RestormerConfig(**SPEC.presets["paper"], norm=norm))
        published = spandrel(model.config)
    assert shapes(model) == shapes(published)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_the_default_is_a_tiny_one() -> None:
    assert SPEC.default_preset == "tiny"
    model = Restormer(RestormerConfig(**SPEC.presets["tiny"]))
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_348_939
    assert not any(name.endswith("norm1.body.bias") for name, _ in model.named_parameters())


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 3), (8, 8), (17, 24), (13, 40)])
def test_any_size(size: tuple[int, int]) -> None:
    model, images = small(), photo(2, 3, *size)
    output = model(images)
    assert output.shape == images.shape
    # Mirrored along a side that is longer than what it lacks, else its last line repeated, then cropped: by numpy.
    padded = images.numpy()
    for axis in (2, 3):
        lacking = -padded.shape[axis] % 8
        mode = "reflect" if lacking < padded.shape[axis] else "edge"
        padded = np.pad(padded, [(0, lacking if a == axis else 0) for a in range(4)], mode=mode)
    truth = model(torch.from_numpy(padded))[..., : size[0], : size[1]]
    torch.testing.assert_close(output, truth)


def test_an_empty_batch() -> None:
    assert small()(torch.zeros(0, 3, 9, 10)).shape == (0, 3, 9, 10)


def test_gray_in_colour_out() -> None:
    assert small(in_channels=1)(photo(1, 1, 8, 8)).shape == (1, 3, 8, 8)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(16, 16), (11, 7)])
def test_the_output_has_the_memory_format_of_the_input(size: tuple[int, int], layout: torch.memory_format) -> None:
    assert small()(photo(2, 3, *size).contiguous(memory_format=layout)).is_contiguous(memory_format=layout)


def test_weights_can_be_overridden_for_one_call() -> None:
    model, images = small(norm="biased"), photo(1, 3, 8, 8)
    other = small(norm="biased")
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    overridden = torch.func.functional_call(model, dict(other.named_parameters()), (images,))
    assert torch.equal(overridden, other(images))
    assert not torch.equal(overridden, model(images))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_training_step_under_autocast(layout: torch.memory_format) -> None:
    model = small(norm="bias-free").to(memory_format=layout)
    images = photo(2, 3, 16, 16).contiguous(memory_format=layout)
    with torch.no_grad():
        exact = model(images)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(images)
    output.square().mean().backward()
    assert output.dtype == torch.float32
    assert (output - exact).norm() / (exact - images).norm() < 0.03
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.any(), name


def test_a_bfloat16_copy() -> None:
    model, images = small(), photo(1, 3, 16, 16)
    with torch.no_grad():
        exact = model(images)
        output = model.bfloat16()(images.bfloat16())
    assert output.dtype == torch.bfloat16
    assert (output.float() - exact).norm() / exact.norm() < 0.02


def test_it_compiles_without_a_graph_break() -> None:
    torch.compiler.reset()
    model = Restormer(RestormerConfig(dim=4, blocks=(1, 0, 0, 1), refinement=0, heads=(1, 1, 1, 2)))
    images = photo(1, 3, 11, 16)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    compiled(images).sum().backward()
    found = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    model(images).sum().backward()
    for gradient, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


def test_sites_are_complete_and_of_the_right_kind() -> None:
    model = small()
    sites = SPEC.sites(model)
    convolutions = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    found = {site.path: site for site in sites if site.kind in ("conv1x1", "dwconv", "conv3x3")}
    assert len({(site.path, site.kind) for site in sites}) == len(sites)
    assert found.keys() == convolutions.keys()
    for path, site in found.items():
        module = convolutions[path]
        wanted = "dwconv" if "dwconv" in path else "conv1x1" if module.kernel_size == (1, 1) else "conv3x3"
        assert site.kind == wanted
        assert (site.channels, site.groups) == (module.out_channels, module.groups)
        assert site.shapes["weight"] == tuple(module.weight.shape)
    branches = [site.path for site in sites if site.kind == "branch"]
    assert branches == [name for name, _ in model.named_modules() if name.endswith((".attn", ".ffn"))]
    stages = [site.path for site in sites if site.kind == "stage"]
    assert stages == [name for name, module in model.named_children() if isinstance(module, nn.Sequential)]


def test_sites_say_what_their_modules_return() -> None:
    model, sites = small(), SPEC.sites(small())
    returned: dict[str, torch.Size] = {}

    def remember(path: str, output: torch.Tensor) -> None:
        returned[path] = output.shape

    for site in sites:
        module = model.get_submodule(site.path)
        # The depthwise convolution of the feed-forward network is fused, unless somebody listens.
        module.register_forward_hook(lambda _, __, output, path=site.path: remember(path, output))
    model(photo(1, 3, 32, 64))
    order = [site.path for site in sites]
    assert list(returned) == order
    for site in sites:
        assert returned[site.path][1:] == (site.channels, 32 >> site.level - 1, 64 >> site.level - 1)


@pytest.mark.parametrize(("branch", "name"), [("ffn", "dwconv"), ("attn", "qkv"), ("attn", "project_out")])
def test_a_replaced_or_hooked_convolution_is_called(branch: str, name: str) -> None:
    model, images = small(), photo(1, 3, 8, 8)
    plain = model(images)
    part = model.get_submodule(f"latent.0.{branch}")
    handle = getattr(part, name).register_forward_hook(lambda _, __, output: output.square())
    hooked = model(images)
    handle.remove()
    torch.testing.assert_close(model(images), plain, rtol=0, atol=0)
    setattr(part, name, nn.Sequential(getattr(part, name)))
    torch.testing.assert_close(model(images), plain)
    assert not torch.allclose(hooked, plain)


@pytest.mark.parametrize("branch", ["ffn", "attn"])
def test_a_hook_on_a_branch_sees_it_without_the_residual(branch: str) -> None:
    block = small().latent[0]
    x = torch.randn(1, block.norm1.body.weight.numel(), 4, 4, generator=torch.Generator().manual_seed(0))
    getattr(block, branch).register_forward_hook(lambda _, __, output: 0 * output)
    other = "attn" if branch == "ffn" else "ffn"
    getattr(block, other).register_forward_hook(lambda _, __, output: 0 * output)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 7}, "dim: expected an even number, got 7"),
        ({"dim": 10, "heads": (3, 1, 1, 1)}, "heads: expected a divisor of 10 at level 1, got 3"),
        ({"blocks": (1, 1, -1, 1)}, "expected blocks >= 0 and heads >= 1"),
        ({"expansion": 0.01}, "expansion: expected at least one hidden channel, got 48 x 0.01"),
        ({"in_channels": 6}, "in_channels: expected 1 or out_channels = 3"),
        ({"norm": "batch"}, "norm: Input should be 'biased' or 'bias-free'"),
        ({"depth": 3}, "depth: there is no such option"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_config(SPEC.config, options, what="backbone 'restormer'")


def test_it_is_registered() -> None:
    assert plugins().backbones["restormer"] is SPEC
