from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from adair_core.model import memory, restoration_model
from adair_core.model.backbone import build_backbone
from adair_core.model.memory import HIDDEN, affordable_pixels


def bytes_per_pixel(network, images):
    return memory.BUDGET / HIDDEN / affordable_pixels(network, images)


def three_tensors(x):
    wide = torch.cat([x, x, x, x], 1)
    wider = wide * 2
    return (wide + wider)[:, : x.shape[1]] + x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_lives_at_the_same_time_is_counted(dtype):
    images = torch.zeros(5, 8, 10, 10, dtype=dtype)
    # Three tensors of 32 channels, and the result of 8.
    assert bytes_per_pixel(three_tensors, images) == pytest.approx(104 * dtype.itemsize, rel=1e-3)


def test_a_view_is_not_counted_again():
    def views(x):
        doubled = x * 2
        return doubled.flatten(2).transpose(1, 2).transpose(1, 2).view_as(doubled)

    assert bytes_per_pixel(views, torch.zeros(1, 48, 9, 9)) == pytest.approx(192, rel=1e-3)


def test_tensors_that_are_gone_are_not_counted():
    def long_chain(x):
        for _ in range(100):
            x = x + 1
        return x

    assert bytes_per_pixel(long_chain, torch.zeros(1, 48, 9, 9)) == pytest.approx(384, rel=1e-3)


def test_what_the_first_pass_keeps_is_not_counted():
    kept = []

    def network(x):
        if not kept:
            kept.append(torch.zeros(10**6))
        return x + 1

    assert bytes_per_pixel(network, torch.zeros(1, 48, 9, 9)) == pytest.approx(192, rel=1e-3)


def test_the_layouts_of_a_convolution_of_few_channels_are_counted():
    """The peak of a process: one convolution of three channels took 130 bytes a pixel, in tensors of 12."""
    one = nn.Conv2d(3, 3, 3, padding=1)
    for network in (one, lambda x: x):
        affordable = affordable_pixels(network, torch.zeros(1, 3, 9, 9))
        assert memory.BUDGET / 150 < affordable < memory.BUDGET / 120


def test_the_count_is_the_same_every_time_and_leaves_the_network_as_it_was():
    network = build_backbone("restormer", preset="tiny").eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    counts = {affordable_pixels(network, torch.rand(2, 3, side, side)) for side in (8, 300, 8)}
    assert len(counts) == 1
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_wider_networks_need_more():
    narrow, wide = (nn.Conv2d(3, channels, 3, padding=1) for channels in (80, 800))
    images = torch.zeros(1, 3, 9, 9)
    assert affordable_pixels(narrow, images) == pytest.approx(10 * affordable_pixels(wide, images), rel=1e-3)


def test_restoring_keeps_to_the_budget(model, monkeypatch):
    image = np.random.default_rng(0).random((500, 700, 3), np.float32)
    whole = model.restore(image, tile=None)
    sizes = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[-2:]))
    assert np.array_equal(model.restore(image), whole)
    assert (500, 700) in sizes
    affordable = affordable_pixels(model, torch.zeros(1, 3, 8, 8))
    monkeypatch.setattr(memory, "BUDGET", memory.BUDGET * 320 * 320 // affordable)
    sizes.clear()
    np.testing.assert_allclose(model.restore(image), whole, rtol=1e-5, atol=1e-6)
    assert 4 < len(sizes) < 12
    assert max(height * width for height, width in sizes) <= 320 * 320


def test_batches_are_split_to_keep_to_the_budget(model, monkeypatch):
    images = torch.rand(7, 3, 64, 96)
    at_once = model.restore(images, tile=None)
    affordable = affordable_pixels(model, images)
    monkeypatch.setattr(memory, "BUDGET", memory.BUDGET * 3 * 64 * 96 // affordable + 10**4)
    sizes = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape))
    torch.testing.assert_close(model.restore(torch.cat([images] * 4)[:20]), torch.cat([at_once] * 4)[:20])
    assert [shape[0] for shape in sizes if shape[-1] == 96] == [3] * 6 + [2]


def test_one_measurement_serves_many_images(model, monkeypatch):
    model.add_adapter("small", "bottleneck", {"width": 2})
    model.add_adapter("large", "bottleneck", {"width": 64})
    image = np.random.default_rng(0).random((260, 270, 3), np.float32)
    probes = []
    monkeypatch.setattr(restoration_model, "probed", lambda *given: probes.append(memory.probed(*given)) or probes[-1])

    def count(**options):
        before = len(probes)
        model.restore(image, **options)
        return len(probes) - before

    assert [count(), count(), count()] == [1, 0, 0]
    model.set_adapters(["small"])
    assert [count(), count()] == [1, 0]
    assert [count(precision="bfloat16"), count(), count(precision="bfloat16")] == [1, 0, 0]
    model.set_adapters(["large"])  # which was the active one at first
    assert count() == 0
    model.backbone.double()
    assert count() == 1
    assert probes[-1] > 1.5 * probes[0]
    assert copy.deepcopy(model).restore(image).shape == image.shape
