"""Replaying a model's calls: when, for how long, and what becomes of what cannot be recorded.

On a CPU, a tape stands in for CUDA graphs. It repeats operators on the memory that they used when it was recorded, so a
recording that is out of date, or reads what is not kept, gives wrong results here too.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

import pytest
import torch
from tapes import Tapes, replay_often
from torch import Tensor, nn

from adair_core.model import BaseInfo, RestorationModel, fingerprint
from adair_core.model.captures import FIRST, KEPT, Captures
from adair_core.model.cuda_graph import Capturable, NotCapturableError
from adair_core.model.restoring import REPLAYED_PIXELS
from adair_core.specs import Choice, Site


@pytest.fixture
def tapes(model: RestorationModel) -> Tapes:
    made = Tapes()
    model._captures = Captures(made)
    return made


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("kind", ["lora", "bottleneck", "prompt", "full", None])
def test_a_replay_is_what_the_model_gives(model, images, randomise, tapes, kind):
    if kind is not None:
        model.add_adapter("a", kind)
        randomise(model, "a", std=0.05)
    assert all(torch.equal(found, model(images)) for found in replay_often(model, images))
    calls = model.backbone.calls
    other = images.flip(0)
    found = model.replay(other)
    assert model.backbone.calls == calls
    assert torch.equal(found, model(other))
    assert len(tapes.made) == 1


def test_results_and_batches_are_ones_own(model, images, tapes):
    replay_often(model, images)
    given, other = images.clone(), images.flip(0)
    first = model.replay(given)
    expected = first.clone()
    assert not torch.equal(model.replay(other), first)
    assert torch.equal(first, expected)
    assert torch.equal(given, images)


def test_a_recording_reads_the_batch_and_parameters_alone(model, images, randomise, tapes):
    """Under autocast too, whose cache of rounded weights is gone when it is left."""
    model.add_adapter("a", "lora")
    model.add_adapter("b", "bottleneck")
    randomise(model, "a")
    randomise(model, "b")
    model.set_adapters(["a", "b"])
    with torch.autocast("cpu", torch.bfloat16):
        replay_often(model, images)
    (tape,) = tapes.made
    kept = [*model.parameters(), *next(iter(model._captures._kinds.values())).laid.values()]
    kept.append(next(iter(model._captures._kinds.values())).recording._batch)
    assert tape.outside() <= {tensor.untyped_storage().data_ptr() for tensor in kept}


def in_place(model):
    model.adapter_parameters("a")["branch.lora_B.weight"].add_(1)


def feature_in_place(model):
    next(iter(model.adapter_parameters("b").values())).mul_(1.5)


def base_in_place(model):
    model.backbone.enter.weight.mul_(1.5)


def replaced_base_data(model):
    model.backbone.enter.weight.data = model.backbone.enter.weight * 1.5


def replaced_data(model):
    parameter = model.adapter_parameters("a")["branch.lora_B.weight"]
    parameter.data = parameter.data + 1


def new_state(model):
    model.load_state_dict({name: value * 1.5 for name, value in model.state_dict().items()})


def other_strength(model):
    model.set_adapters(["a", "b"], [0.5, 0.5])


def other_adapters(model):
    model.set_adapters(["b"])


def merged(model):
    model.set_adapters(["a"])
    model.merge()


def remade(model):
    model.remove_adapter("a")
    model.add_adapter("a", "lora", seed=5)
    in_place(model)


@pytest.mark.parametrize(
    "change",
    [
        *(in_place, feature_in_place, base_in_place, replaced_data, replaced_base_data, new_state),
        *(other_strength, other_adapters, merged, remade),
    ],
)
def test_what_changes_the_result_is_seen(model, images, randomise, tapes, change):
    model.add_adapter("a", "lora")
    model.add_adapter("b", "bottleneck")
    randomise(model, "a")
    randomise(model, "b")
    model.set_adapters(["a", "b"])
    before = replay_often(model, images)[-1]
    change(model)
    expected = model(images)
    assert not torch.equal(expected, before)
    assert all(torch.equal(found, expected) for found in replay_often(model, images))
    assert len(tapes.made) == 2


def test_what_was_recorded_is_still_there_after_other_strengths(model, images, randomise, tapes):
    model.add_adapter("a", "lora")
    randomise(model, "a")
    first = replay_often(model, images)[-1]
    model.set_adapters(["a"], [0.5])
    assert not torch.equal(replay_often(model, images)[-1], first)
    model.set_adapters(["a"])
    assert torch.equal(model.replay(images), first)
    assert len(tapes.made) == 2


def test_precision_and_layout_are_part_of_the_kind(model, images, tapes):
    full = replay_often(model, images)[-1]
    with torch.autocast("cpu", torch.bfloat16):
        half = replay_often(model, images)[-1]
        assert torch.equal(half, model(images))
    assert not torch.equal(half, full)
    replay_often(model, images.contiguous(memory_format=torch.channels_last))
    replay_often(model, images[:2])
    assert len(tapes.made) == 4
    assert torch.equal(model.replay(images), full)


def test_a_batch_with_an_adapter_for_each_image(model, images, randomise, tapes):
    for seed, name in enumerate("ab"):
        model.add_adapter(name, "lora")
        randomise(model, name, seed=seed)
    chosen = ["b", None, "a", "b"]
    assert all(torch.equal(found, model(images, chosen)) for found in replay_often(model, images, chosen))
    other = images.flip(0)
    assert torch.equal(model.replay(other, chosen), model(other, chosen))
    assert len(tapes.made) == 1


def test_inference_mode(model, images, tapes):
    with torch.inference_mode():
        inside = replay_often(model, images)[-1]
    assert torch.equal(model.replay(images), inside)
    assert len(tapes.made) == 1


def test_a_conversion_begins_anew(model, images, tapes):
    replay_often(model, images)
    model.double()
    assert model.replays == {}
    assert all(torch.equal(found, model(images.double())) for found in replay_often(model, images.double()))


def test_few_recordings_are_kept(model, tapes):
    for side in range(8, 8 + KEPT + 2):
        replay_often(model, torch.ones(1, 3, side, side))
    assert len(tapes.made) == KEPT + 2
    assert len(model.replays) == KEPT
    assert all("replayed 1 times" in told for told in model.replays.values())


def test_copies_record_for_themselves(model, images, tapes):
    expected = replay_often(model, images)[-1]
    twin = copy.deepcopy(model)
    assert twin.replays == {}
    twin.backbone.enter.weight.mul_(2)
    assert torch.equal(model.replay(images), expected)
    assert not torch.equal(twin.replay(images), expected)


def test_what_cannot_be_recorded_is_computed_and_explained(model, images, tapes, caplog):
    tapes.error = RuntimeError("operation not permitted when stream is capturing\nCompile with ...")
    with caplog.at_level(logging.DEBUG, "adair_core"):
        assert all(torch.equal(found, model(images)) for found in replay_often(model, images))
    reason = "not recorded: operation not permitted when stream is capturing"
    assert model.replays == {"4 x 3 x 11 x 9 in float32 on cpu, the base": reason}
    assert [record.getMessage() for record in caplog.records] == [
        f"batches of 4 x 3 x 11 x 9 in float32 on cpu, the base: {reason}"
    ]
    tapes.error = None
    replay_often(model, images)
    assert tapes.made == []  # not tried again and again
    model.backbone.enter.weight.mul_(2)
    replay_often(model, images)
    assert len(tapes.made) == 1


class Waiting(nn.Module):
    """A network that needs to know something before it goes on."""

    def __init__(self, ask: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.ask = ask

    def forward(self, x: Tensor) -> Tensor:
        self.ask(x)
        return x + 1


ASK = {
    "aten._local_scalar_dense.default": lambda x: float(x.sum()),
    "aten.nonzero.default": lambda x: x.nonzero(),
    "aten.index.Tensor": lambda x: x[x > 0],
    "aten._to_copy.default": lambda x: x.to("meta"),
    "aten.copy_.default": lambda x: torch.empty(x.shape, device="meta").copy_(x),
}


@pytest.mark.parametrize("operator", ASK)
def test_a_network_that_waits_for_the_device_is_found_before_it_is_recorded(operator, images):
    network = Waiting(ASK[operator])
    info = BaseInfo(name="net@1", backbone=Choice(name="net"), fingerprint=fingerprint(network.state_dict()))
    model = RestorationModel(network, [Site.of(network, "", "stage", level=1, channels=3)], info=info)
    tapes = Tapes()
    model._captures = Captures(tapes)
    assert all(torch.equal(found, images + 1) for found in replay_often(model, images))
    assert tapes.made == []
    assert f"not recorded: {operator}" in next(iter(model.replays.values()))


def test_what_a_graph_can_hold_is_let_through(images):
    with Capturable(torch.device("cpu")):
        images[torch.tensor([1, 0])] * torch.tensor(2.0)
        torch.zeros(3, device="meta") + 1
    with pytest.raises(NotCapturableError, match="works on several devices"), Capturable(torch.device("meta")):
        torch.zeros(3, device="meta") + torch.zeros(3)


def test_hooks_are_called(model, images, tapes):
    seen = []
    handle = model.backbone.enter.register_forward_hook(lambda *_: seen.append(1))
    replay_often(model, images)
    assert len(seen) == FIRST + 2
    assert model.replays == {
        "the last batch": "not recorded: module 'enter' has a hook, which a recording would not call"
    }
    handle.remove()
    replay_often(model, images)
    assert len(tapes.made) == 1
    model.backbone.enter.register_forward_pre_hook(lambda *_: seen.append(2))
    model.replay(images)
    assert seen[-1] == 2


def test_gradients_are_computed(model, images, tapes):
    model.add_adapter("a", "lora")
    with torch.enable_grad():
        for found in replay_often(model, images):
            found.mean().backward()
    assert tapes.made == []
    assert "gradients are wanted" in model.replays["the last batch"]
    assert all(parameter.grad is not None for parameter in model.adapter_parameters("a").values())


def test_on_a_cpu_nothing_is_recorded(model, images):
    assert all(torch.equal(found, model(images)) for found in replay_often(model, images))
    reason = "not recorded: the batch is on cpu, and only CUDA devices have graphs"
    assert model.replays == {"the last batch": reason}


def test_where_memory_runs_out_while_recording_it_is_computed(model, images, tapes):
    tapes.error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    assert all(torch.equal(found, model(images)) for found in replay_often(model, images))
    assert list(model.replays.values()) == ["not recorded: memory ran out"]


def test_recordings_give_their_memory_up(model, images, tapes):
    replay_often(model, images)
    usual, full = model.backbone.forward, [True]

    def forward(x):
        if full.pop() if full else False:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return usual(x)

    model.backbone.forward = forward
    large = torch.ones(1, 3, 30, 30)
    assert torch.equal(model.replay(large), usual(large))
    assert "not recorded: its memory was needed" in model.replays.values()
    assert torch.equal(model.replay(images), model(images))


def test_other_failures_remain(model, images, tapes):
    def fail(x):
        raise RuntimeError("shapes cannot be multiplied")

    model.backbone.forward = fail
    with pytest.raises(RuntimeError, match="multiplied"):
        model.replay(images)


def test_tiles_of_one_shape_are_replayed(model, tapes):
    image = torch.rand(1, 3, 64, 400, generator=torch.Generator().manual_seed(0))
    expected = model.restore(image, tile=64, overlap=16, graphs=False)
    calls = model.backbone.calls
    assert tapes.made == []
    assert torch.equal(model.restore(image, tile=64, overlap=16), expected)
    assert len(tapes.made) == 1
    assert model.backbone.calls - calls == FIRST + 2  # of eight tiles: the fifth is computed and recorded
    calls = model.backbone.calls
    assert torch.equal(model.restore(image, tile=64, overlap=16), expected)
    assert model.backbone.calls == calls


def test_images_of_one_size_are_replayed_as_long_as_they_are_small(model, tapes):
    small, large = torch.rand(1, 3, 20, 30), torch.rand(1, 3, 16, REPLAYED_PIXELS // 16 + 16)
    for image in (small, large):
        expected = model.restore(image, tile=None, graphs=False)
        assert all(torch.equal(model.restore(image, tile=None), expected) for _ in range(FIRST + 2))
    assert list(model.replays) == ["1 x 3 x 20 x 30 in float32 on cpu, the base"]


def test_the_probe_of_memory_is_computed(model, tapes):
    """A recording makes no tensors, and a network would seem to need no memory."""
    image = torch.rand(1, 3, 300, 300)
    for _ in range(FIRST + 2):
        model.restore(image, tile="auto")
    assert not any(name.startswith("1 x 3 x 64 x 64") for name in model.replays)


def test_how_convolutions_round_float32_is_looked_at(model, images, tapes):
    replay_often(model, images)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        replay_often(model, images)
    assert len(tapes.made) == 1
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        replay_often(model, images)
    assert len(tapes.made) == 2
