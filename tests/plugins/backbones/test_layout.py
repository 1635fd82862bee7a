"""The memory format in which features reach the operators: the kernels copy what is not channels last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from comparing import photo, randomised
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from adair_core.ops.registration import CUDA_KERNELS, KERNELS
from adair_plugins.backbones.layout import fastest_layout
from adair_plugins.backbones.nafnet import NAFNet, NAFNetConfig
from adair_plugins.backbones.restormer import Restormer, RestormerConfig

SHUFFLES = (torch.ops.aten.pixel_shuffle.default, torch.ops.aten.pixel_unshuffle.default)
FEATURES = {"x", "gradient", "qkv", "convolved"}
"""What operators call their arguments that are features."""


def restormer() -> nn.Module:
    return Restormer(RestormerConfig(dim=8, blocks=(1, 1, 2, 1), refinement=1))


def nafnet() -> nn.Module:
    return NAFNet(NAFNetConfig(width=6, encoder=(1, 2), middle=1, decoder=(2, 1)))


class Layouts(TorchDispatchMode):
    """Notes the operators that get features in another order; runs the pixel shuffles of a kind of device.

    PyTorch has pixel shuffles of its own for CPUs, and composes those for all other devices of a view, a permutation
    and a copy. The composed ones run on a CPU, too.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.composed = device != "cpu"
        self.calls: Counter[str] = Counter()
        self.wrong: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.composed and func in SHUFFLES:
            return func._op_dk(torch._C.DispatchKey.CompositeExplicitAutogradNonFunctional, *args)
        if func.namespace == "adair":
            self.calls[func._opname] += 1
            for argument, value in zip(func._schema.arguments, args, strict=False):
                features = argument.name in FEATURES and isinstance(value, Tensor) and value.ndim == 4
                if features and not value.is_contiguous(memory_format=torch.channels_last):
                    self.wrong.append(f"{func._opname}: {argument.name} {tuple(value.shape)} {value.stride()}")
        return func(*args, **(kwargs or {}))


OPERATORS = {"restormer": {"attention_branch": 10, "feed_forward": 10}, "nafnet": {"layer_norm2d": 2 * 7}}
"""What each network calls, and how often: in each of its blocks."""

each_network = pytest.mark.parametrize("make", [restormer, nafnet], ids=["restormer", "nafnet"])
each_size = pytest.mark.parametrize("size", [(32, 48), (21, 9)])


def require_channels_last(found: Layouts, make: Callable[[], nn.Module]) -> None:
    """Every operator of the network was called, forward and backward, and got channels last."""
    assert not found.wrong
    for name, count in OPERATORS[make.__name__].items():
        assert found.calls[name] == found.calls[f"{name}_backward"] == count


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("frozen", [False, True], ids=["all learn", "some learn"])
@each_size
@each_network
def test_operators_get_channels_last_in_training(
    make: Callable[[], nn.Module], size: tuple[int, int], frozen: bool, device: str
) -> None:
    network = randomised(make())
    if frozen:
        for name, value in network.named_parameters():
            value.requires_grad_(name.endswith(("attn.qkv.weight", "conv1.weight", "intro.weight")))
    images = photo(2, 3, *size)
    with Layouts(device) as found:
        network(images).square().mean().backward()
    require_channels_last(found, make)


@each_size
@each_network
def test_operators_of_a_cuda_device_get_channels_last(make: Callable[[], nn.Module], size: tuple[int, int]) -> None:
    with FakeTensorMode(), torch.device("cuda"), torch.no_grad():
        network, images = make(), torch.empty(2, 3, *size)
        with Layouts("cuda") as found:
            assert network(images).device.type == "cuda"
    assert not found.wrong
    assert all(found.calls[name] == count for name, count in OPERATORS[make.__name__].items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@each_size
@each_network
def test_operators_get_channels_last_on_a_device(make: Callable[[], nn.Module], size: tuple[int, int]) -> None:
    network, images = randomised(make()).cuda(), photo(2, 3, *size).cuda()
    with Layouts("cpu") as found:  # the device's own pixel shuffles
        network(images).square().mean().backward()
    require_channels_last(found, make)


@each_size
@each_network
def test_whose_pixel_shuffles_run_does_not_change_a_bit(make: Callable[[], nn.Module], size: tuple[int, int]) -> None:
    network, images = randomised(make()), photo(2, 3, *size)
    with torch.no_grad():
        usual = network(images)
        with Layouts("cuda"):
            assert torch.equal(network(images), usual)


def test_a_cpu_copies_nothing_after_its_pixel_shuffles() -> None:
    features = photo(2, 8, 6, 4).contiguous(memory_format=torch.channels_last)
    for shuffle in (nn.PixelShuffle(2), nn.PixelUnshuffle(2)):
        shuffled = shuffle(features)
        assert fastest_layout(shuffled) is shuffled


def test_every_kind_of_device_with_kernels_has_the_layout() -> None:
    assert {"attention_branch", "feed_forward", "layer_norm2d"} <= KERNELS.keys() & CUDA_KERNELS.keys()
    with FakeTensorMode():
        for device in ("cpu", "cuda"):
            found = fastest_layout(torch.empty(1, 3, 4, 4, device=device))
            assert found.is_contiguous(memory_format=torch.channels_last)
        other = torch.empty(1, 3, 4, 4, device="meta")
        assert fastest_layout(other) is other
