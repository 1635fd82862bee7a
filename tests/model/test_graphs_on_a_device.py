"""Replaying a model's calls by CUDA graphs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from tapes import replay_often
from torch import Tensor

from adair_core.model import BaseInfo, RestorationModel, fingerprint
from adair_core.specs import Choice

needs_device = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


@pytest.mark.gpu
@needs_device
@pytest.mark.parametrize("precision", [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["lora", "bottleneck", "prompt", "full"])
def test_a_graph_on_a_device(kind: str, precision: torch.dtype | None) -> None:
    model = restormer(kind)
    batch = torch.rand(2, 3, 40, 56, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    with torch.autocast("cuda", precision, enabled=precision is not None):
        for change in (lambda: None, lambda: model.set_adapters(["a"], [0.5]), lambda: model.set_adapters([])):
            change()
            for x in (batch, batch.flip(0)):
                assert all(torch.equal(found, model(x)) for found in replay_often(model, x))
            assert list(model.replays.values())[-1].startswith("replayed")
        model.set_adapters(["a"])
        for parameter in model.adapter_parameters("a").values():
            parameter.mul_(1.5)
        assert all(torch.equal(found, model(batch)) for found in replay_often(model, batch))


@pytest.mark.gpu
@needs_device
@pytest.mark.parametrize("kind", ["lora", "bottleneck", "prompt"])
def test_a_graph_of_a_mixed_batch_on_a_device(kind: str) -> None:
    model = restormer(kind, ["a", "b"])
    batch, adapters = torch.rand(3, 3, 40, 56, device="cuda"), ["a", None, "b"]
    expected = model(batch, adapters=adapters)
    assert all(torch.equal(found, expected) for found in replay_often(model, batch, adapters))
    assert list(model.replays.values())[-1].startswith("replayed"), model.replays


@pytest.mark.gpu
@needs_device
def test_streams_and_shapes_take_turns_on_a_device() -> None:
    model = restormer("lora")
    batches = [torch.rand(1, 3, side, 48, device="cuda") for side in (24, 32, 40)]
    expected = [model(batch) for batch in batches]
    for batch in batches:
        replay_often(model, batch)
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in batches]
    found = []
    for _ in range(5):
        for batch, stream in zip(batches, streams, strict=True):
            with torch.cuda.stream(stream):
                found.append(model.replay(batch))
    torch.cuda.synchronize()
    assert all(torch.equal(one, expected[place % 3]) for place, one in enumerate(found))


@pytest.mark.gpu
@needs_device
def test_a_capture_that_fails_leaves_the_device_usable() -> None:
    """The check before the capture is left out, so that the capture itself meets what it cannot hold."""
    from adair_core.model.cuda_graph import CudaGraphs

    def waits(x: Tensor) -> Tensor:
        return x + float(x.sum())

    x = torch.ones(4, 4, device="cuda")
    graphs = CudaGraphs()
    with pytest.raises(RuntimeError):
        graphs.record(waits, x)
    torch.cuda.empty_cache()
    torch.rand(3, device="cuda")
    assert torch.equal(graphs.record(lambda x: 2 * x, x)(x), 2 * x)


@pytest.mark.gpu
@needs_device
def test_tiles_on_a_device() -> None:
    model = restormer("bottleneck")
    image = torch.rand(1, 3, 64, 400)
    expected = model.restore(image, tile=64, overlap=16, graphs=False)
    for _ in range(2):
        assert torch.equal(model.restore(image, tile=64, overlap=16), expected)
    assert any(told.startswith("replayed") for told in model.replays.values())


def restormer(kind: str, names: Sequence[str] = ("a",)) -> RestorationModel:
    """A small one with adapters, on the device."""
    from adair_core.bench.cases.networks import BACKBONE, SMOKE, our_network
    from adair_core.plugins import plugins

    network = our_network("paper", **SMOKE)
    info = BaseInfo(name="net@1", backbone=Choice(name="net"), fingerprint=fingerprint(network.state_dict()))
    model = RestorationModel(network, plugins().backbones[BACKBONE].sites(network), info=info)
    generator = torch.Generator().manual_seed(1)
    for name in names:
        model.add_adapter(name, kind)
        for parameter in model.adapter_parameters(name).values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.to("cuda")
