"""NAFNet against an independent implementation, at any size, and its sites."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from comparing import photo, randomised, shapes
from torch import nn

from adair_core.errors import UsageError
from adair_core.plugins import parse_config, plugins
from adair_plugins.backbones.nafnet import SPEC, NAFNet, NAFNetConfig

with warnings.catch_warnings():  # it imports deprecated parts of torch
    warnings.simplefilter("ignore")
    from spandrel.architectures.NAFNet import NAFNet as SpandrelNAFNet

SMALL: dict[str, Any] = {"width": 6, "encoder": (1, 2), "middle": 1, "decoder": (2, 1)}


def small(**changed: Any) -> NAFNet:
    return randomised(NAFNet(NAFNetConfig(**(SMALL | changed))))


def spandrel(config: NAFNetConfig) -> nn.Module:
    return SpandrelNAFNet(
        img_channel=config.in_channels,
        width=config.width,
        middle_blk_num=config.middle,
        enc_blk_nums=list(config.encoder),
        dec_blk_nums=list(config.decoder),
    )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(24, 32), (13, 30), (1, 1), (2, 17), (9, 1)])
def test_outputs_equal_an_independent_implementation(size: tuple[int, int], layout: torch.memory_format) -> None:
    model = small().to(memory_format=layout)
    other = spandrel(model.config)
    other.load_state_dict(model.state_dict())
    for dtype, tolerance in ((torch.float32, 5e-5), (torch.float64, 1e-9)):
        images = photo(2, 3, *size, dtype=dtype)
        with torch.no_grad():
            found, truth = model.to(dtype)(images), other.to(dtype)(images)
        assert (found - truth).norm() / (truth - images).norm() < tolerance


@pytest.mark.filterwarnings("ignore:'saved_variables' is deprecated:DeprecationWarning")  # the peer's
def test_gradients_equal_an_independent_implementation() -> None:
    model = small().double()
    other = spandrel(model.config).double()
    other.load_state_dict(model.state_dict())
    images = photo(2, 3, 8, 8, dtype=torch.float64)
    for network in (model, other):
        network(images).square().sum().backward()
    for found, truth in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found.grad, truth.grad, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("preset", "millions"),
    [("width32", 17.11), ("width64", 67.89), ("width32-sidd", 29.16), ("width64-sidd", 115.98), ("tiny", 1.41)],
)
def test_presets_have_the_published_names_and_shapes(preset: str, millions: float) -> None:
    with torch.device("meta"):
        model = NAFNet(NAFNetConfig(**SPEC.presets[preset]))
        published = spandrel(model.config)
    assert shapes(model) == shapes(published)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 2), (0, 4, 4)])
def test_any_size(size: tuple[int, ...]) -> None:
    images = photo(*((2, 3, *size) if len(size) == 2 else (size[0], 3, *size[1:])))
    assert small()(images).shape == images.shape


def test_a_new_one_is_the_identity_around_its_blocks() -> None:
    model = NAFNet(NAFNetConfig(**SMALL))
    block, features = model.encoders[0][0], photo(1, 6, 4, 4)
    assert torch.equal(block(features), features)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(16, 16), (11, 7)])
def test_the_output_has_the_memory_format_of_the_input(size: tuple[int, int], layout: torch.memory_format) -> None:
    assert small()(photo(2, 3, *size).contiguous(memory_format=layout)).is_contiguous(memory_format=layout)


def test_weights_can_be_overridden_and_autocast_and_bfloat16_work() -> None:
    model, images = small(), photo(1, 3, 16, 16)
    zeros = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    assert torch.equal(torch.func.functional_call(model, zeros, (images,)), images)
    with torch.no_grad():
        exact = model(images)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(images)
    output.sum().backward()
    assert all(value.grad is not None and value.grad.dtype == torch.float32 for value in model.parameters())
    assert (output - exact).norm() / (exact - images).norm() < 0.03
    rounded = model.bfloat16()(images.bfloat16())
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).norm() / exact.norm() < 0.03


def test_it_compiles_without_a_graph_break() -> None:
    torch.compiler.reset()
    model, images = small(encoder=(1,), decoder=(1,)), photo(1, 3, 7, 8)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), model(images))


def test_sites_are_complete_and_of_the_right_kind() -> None:
    model = small()
    sites = SPEC.sites(model)
    convolutions = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    found = {site.path: site for site in sites if site.kind in ("conv1x1", "dwconv", "conv3x3")}
    assert found.keys() == convolutions.keys()
    for path, site in found.items():
        module = convolutions[path]
        wanted = "dwconv" if path.endswith("conv2") else "conv1x1" if module.kernel_size == (1, 1) else "conv3x3"
        assert (site.kind, site.groups, site.channels) == (wanted, module.groups, module.out_channels)
    assert {site.path for site in sites if site.kind == "branch"} == {
        name for name, module in model.named_modules() if isinstance(module, nn.Identity)
    }
    stages = [site.path for site in sites if site.kind == "stage"]
    assert stages == ["encoders.0", "encoders.1", "middle_blks", "decoders.0", "decoders.1"]


def test_sites_say_what_their_modules_return() -> None:
    model, sites = small(), SPEC.sites(small())
    returned: dict[str, torch.Size] = {}

    def remember(path: str, output: torch.Tensor) -> None:
        returned[path] = output.shape

    for site in sites:
        module = model.get_submodule(site.path)
        module.register_forward_hook(lambda _, __, output, path=site.path: remember(path, output))
    model(photo(1, 3, 16, 32))
    assert list(returned) == [site.path for site in sites]
    for site in sites:
        size = (1, 1) if ".sca." in site.path else (16 >> site.level - 1, 32 >> site.level - 1)
        assert returned[site.path][1:] == (site.channels, *size)


@pytest.mark.filterwarnings("ignore:'saved_variables' is deprecated:DeprecationWarning")  # the peer's
@pytest.mark.parametrize("listening", [False, True])
def test_a_frozen_network_keeps_no_input_of_depthwise_convolutions(listening: bool) -> None:
    model = small().double().requires_grad_(False)
    other = spandrel(model.config).double().requires_grad_(False)
    other.load_state_dict(model.state_dict())
    inputs: list[torch.Tensor] = []  # held, so that no address is used twice
    kept: list[torch.Tensor] = []
    seen: list[torch.Tensor] = []
    blocks = [module for module in model.modules() if hasattr(module, "conv2")]
    for block in blocks:
        block.conv1.register_forward_hook(lambda _, __, output: inputs.append(output))
        if listening:
            block.conv2.register_forward_hook(lambda _, __, output: seen.append(output))
    images = photo(1, 3, 8, 8, dtype=torch.float64).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        output = model(images)
    assert len(seen) == (len(blocks) if listening else 0)
    shared = {value.data_ptr() for value in inputs} & {value.data_ptr() for value in kept}
    assert len(shared) == (len(blocks) if listening else 0)
    (found,) = torch.autograd.grad(output.square().sum(), images)
    (truth,) = torch.autograd.grad(other(images).square().sum(), images)
    torch.testing.assert_close(found, truth, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": (1, 1)}, "decoder: expected 2 levels, as many as the encoder has, got 4"),
        ({"encoder": (1, 1, -1, 1)}, "expected no negative number of blocks"),
        ({"in_channels": 4}, "in_channels: expected 1 or out_channels = 3"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_config(SPEC.config, options, what="backbone 'nafnet'")


def test_it_is_registered() -> None:
    assert plugins().backbones["nafnet"] is SPEC
    assert SPEC.default_preset == "tiny"
