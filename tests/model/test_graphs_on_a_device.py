"""What a model does on a CUDA device alone: replaying its calls by graphs, and going without memory."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import pytest
import torch
from tapes import replay_often
from torch import Tensor

from adair_core.model import BaseInfo, RestorationModel, SmallerTilesWarning, fingerprint
from adair_core.model.cuda_graph import CudaGraphs
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
def test_when_all_graphs_are_gone_their_memory_is_free_and_others_can_be_made() -> None:
    model, graphs = restormer("lora"), CudaGraphs()
    batches = [torch.rand(1, 3, side, 48, device="cuda") for side in (256, 128)]
    expected = [model(batch) for batch in batches]
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    for _ in range(3):
        recordings = [graphs.record(model, batch) for batch in batches]
        for recording, batch, wanted in zip(recordings, batches, expected, strict=True):
            assert torch.equal(recording(batch), wanted)
        del recording, recordings
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        # cuBLAS and cuDNN may keep what they took the first time.
        assert torch.cuda.memory_reserved() <= before + 64 * 2**20


@pytest.mark.gpu
@needs_device
def test_where_the_memory_of_a_device_is_little_tiles_get_smaller() -> None:
    model = restormer("lora")
    image = torch.rand(1, 3, 768, 768)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    model.restore(image, tile=None, graphs=False)
    needed = torch.cuda.max_memory_allocated() - before
    expected = model.restore(image, tile=384, graphs=False)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties("cuda").total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + needed // 2) / total)
    try:
        with pytest.warns(SmallerTilesWarning, match="trying again in tiles of 384 pixels"):
            found = model.restore(image, tile=None, graphs=False)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(model.restore(image, tile=384), expected, rtol=0, atol=1e-5)


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
