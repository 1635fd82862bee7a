from __future__ import annotations

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import Interrupt, ToyPairs, run_toy, toy_job, toy_network
from torch import nn

from adair_core import load
from adair_core.errors import DataError, Interrupted, RunFolderError, UsageError
from adair_core.model import memory, restoring, tiling
from adair_core.training import Callback, Settings
from adair_core.training.callbacks import ValidationRecord
from adair_core.training.checkpoint import Checkpoint
from adair_core.training.loader import batches
from adair_core.training.loop import Loop
from adair_core.training.precision import Precision
from adair_core.training.processes import Processes
from adair_core.training.run_folder import RunFolder
from adair_core.training.schedule import BatchSchedule, learning_rate

pytestmark = pytest.mark.usefixtures("without_pictures")


def _assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], *, rtol: float = 0.0) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(
            a[name], b[name], rtol=rtol, atol=rtol, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_training_is_a_plain_pytorch_loop(tmp_path: Path) -> None:
    options = {"optimizer": "adamw", "precision": "float64", "clip": 0.05, "weight_decay": 0.1, "learning_rate": 0.01}
    trained, _ = run_toy(tmp_path, ema=0.0, **options)

    network = toy_network().double()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.1)
    settings = Settings(steps=6, warmup=2, learning_rate=0.01)
    for step in range(6):
        samples = [ToyPairs()[index, 8] for index in range(4 * step, 4 * step + 4)]
        given, target = (torch.stack([s[name] for s in samples]).double() for name in ("input", "target"))
        optimizer.param_groups[0]["lr"] = learning_rate(step, settings)
        optimizer.zero_grad()
        nn.functional.l1_loss(network(given), target).backward()
        gradients = [parameter.grad for parameter in network.parameters()]
        norm = torch.sqrt(sum(gradient.square().sum() for gradient in gradients))
        assert norm > 0.05  # so that clipping is put to the test
        for gradient in gradients:
            gradient.mul_(0.05 / (norm + 1e-6))
        optimizer.step()
    _assert_same(trained, dict(network.named_parameters()), rtol=1e-12)


@pytest.mark.parametrize("accumulate", [2, 3, 4])
def test_accumulated_parts_are_the_whole_batch(tmp_path: Path, accumulate: int) -> None:
    options = {"optimizer": "sgd", "precision": "float64", "learning_rate": 0.1}
    whole, _ = run_toy(tmp_path / "whole", **options)
    parts, _ = run_toy(tmp_path / "parts", accumulate=accumulate, **options)
    _assert_same(parts, whole, rtol=1e-12)


def test_workers_change_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, _ = run_toy(tmp_path / "alone", steps=3, stages="0:8:4,0.5:12:2")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})  # on one core torch would warn, which is an error here
    helped, _ = run_toy(tmp_path / "helped", steps=3, stages="0:8:4,0.5:12:2", workers=2)
    _assert_same(helped, alone)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_wrong_with_a_sample_is_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    schedule = BatchSchedule(Settings(steps=2, batch_size=2, patch_size=8))
    with batches(ToyPairs(damaged=3), schedule, workers, torch.device("cpu"), Processes("cpu")) as source:
        assert next(source)["index"].tolist() == [0, 1]
        with pytest.raises(DataError) as caught:
            next(source)
    assert str(caught.value) == "photo.png: damaged"


def test_workers_end_with_the_block_that_uses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    before = set(multiprocessing.active_children())
    with batches(
        ToyPairs(), BatchSchedule(Settings(steps=9, patch_size=8)), 1, torch.device("cpu"), Processes("cpu")
    ) as source:
        next(source)
        (worker,) = set(multiprocessing.active_children()) - before
    worker.join(10)  # `source` lives on, as in the frames of a traceback
    assert not worker.is_alive()
    assert next(source, None) is None


def test_stages_give_their_patches(tmp_path: Path) -> None:
    shapes = []
    network = toy_network()
    network.register_forward_pre_hook(
        lambda module, args: shapes.append(tuple(args[0].shape)) if module.training else None
    )
    run_toy(tmp_path, network=network, steps=4, stages="0:8:4,0.5:12:2")
    assert shapes == [(4, 3, 8, 8), (4, 3, 8, 8), (2, 3, 12, 12), (2, 3, 12, 12)]


@pytest.mark.parametrize(("number", "optimizer"), [(signal.SIGINT, "adamw"), (signal.SIGTERM, "muon")])
def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path, number: signal.Signals, optimizer: str) -> None:
    options = {"steps": 7, "validate_every": 3, "checkpoint_every": 100, "optimizer": optimizer}
    whole, uninterrupted = run_toy(tmp_path / "whole", **options)
    with pytest.raises(Interrupted, match=r"stopped after step 3 of 7.*adair pretrain --resume --out /.*/part"):
        run_toy(tmp_path / "part", callbacks=[Interrupt(3, number)], **options)
    resumed, result = run_toy(tmp_path / "part", resume=True, **options)
    _assert_same(resumed, whole)
    assert result.validation == uninterrupted.validation
    assert result.best == uninterrupted.best
    for name in ("weights", "average", "optimizer"):
        _assert_same(
            Checkpoint.read(RunFolder(tmp_path / "part").last).part(name),
            Checkpoint.read(RunFolder(tmp_path / "whole").last).part(name),
        )


class InterruptTwice(Interrupt):
    def on_step(self, run: object, record: object) -> None:
        super().on_step(run, record)
        super().on_step(run, record)


def test_a_second_sigterm_is_the_first_ones_wish_and_a_second_ctrl_c_is_not(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match=r"stopped after step 2"):
        run_toy(tmp_path / "term", callbacks=[InterruptTwice(2, signal.SIGTERM)])
    assert Checkpoint.read(RunFolder(tmp_path / "term").last).state["step"] == 2
    with pytest.raises(KeyboardInterrupt):
        run_toy(tmp_path / "int", callbacks=[InterruptTwice(2, signal.SIGINT)])
    assert not RunFolder(tmp_path / "int").last.exists()


def test_signals_are_as_before_after_a_run(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run_toy(tmp_path, steps=1)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_the_callers_random_state_is_kept(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    run_toy(tmp_path, steps=2)
    assert torch.equal(torch.random.get_rng_state(), state)


class Noisy(nn.Module):
    """Draws from the global generator, as dropout does, and counts its calls in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x * self.scale
        self.calls += 1
        return nn.functional.dropout(x, 0.5) * self.scale


@pytest.mark.parametrize("precision", ["float32", "float64"])  # the latter moves the network to other tensors
def test_dropout_and_buffers_go_on_to_the_same_bits(precision: str, tmp_path: Path) -> None:
    options = {"steps": 6, "checkpoint_every": 2, "validate_every": 0, "precision": precision}
    whole, _ = run_toy(tmp_path / "whole", network=Noisy(), **options)
    with pytest.raises(Interrupted):
        run_toy(tmp_path / "part", network=Noisy(), callbacks=[Interrupt(3)], **options)
    network = Noisy()
    resumed, _ = run_toy(tmp_path / "part", network=network, resume=True, **options)
    _assert_same(resumed, whole)
    assert network.calls.item() == 6


def test_a_full_disk_keeps_the_checkpoint_and_the_run_can_go_on(tmp_path: Path) -> None:
    import resource

    class Fill(Callback):
        def on_step(self, run: object, record: object) -> None:
            if record.step == 5:
                resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))

    options = {"steps": 8, "checkpoint_every": 2, "validate_every": 0}
    whole, _ = run_toy(tmp_path / "whole", **options)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(RunFolderError, match=r"last\.safetensors: cannot be written \(the disk is full.*--resume"):
            run_toy(tmp_path / "part", callbacks=[Fill()], **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert Checkpoint.read(RunFolder(tmp_path / "part").last).state["step"] == 4
    resumed, _ = run_toy(tmp_path / "part", resume=True, **options)
    _assert_same(resumed, whole)


class Watch(Callback):
    def __init__(self) -> None:
        self.events: list[str] = []

    def on_start(self, run: object) -> None:
        self.events.append(f"start {run.start}")

    def on_step(self, run: object, record: object) -> None:
        self.events.append(f"step {record.step}")

    def on_validation(self, run: object, record: object) -> None:
        self.events.append(f"validation {record.step}")

    def on_checkpoint(self, run: object, step: int) -> None:
        self.events.append(f"checkpoint {step}")

    def on_end(self, run: object, result: object) -> None:
        self.events.append("end")

    def on_close(self) -> None:
        self.events.append("close")


def test_callbacks_see_the_run_in_order(tmp_path: Path) -> None:
    watch = Watch()
    run_toy(tmp_path, callbacks=[watch], steps=3, validate_every=2, checkpoint_every=2)
    assert watch.events == [
        "start 0", "step 1", "step 2", "validation 2", "checkpoint 2", "step 3", "validation 3", "checkpoint 3", "end",
        "close",
    ]  # fmt: skip


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    run_toy(tmp_path, steps=3)
    watch = Watch()
    _, result = run_toy(tmp_path, callbacks=[watch], steps=3, resume=True)
    assert watch.events == ["start 3", "end", "close"]
    assert result.step == 3
    assert result.validation is not None


def test_what_callbacks_raise_ends_the_run_and_all_are_closed(tmp_path: Path) -> None:
    class Broken(Callback):
        def on_step(self, run: object, record: object) -> None:
            raise OverflowError

    watch = Watch()
    with pytest.raises(OverflowError):
        run_toy(tmp_path, callbacks=[watch, Broken()])
    assert watch.events == ["start 0", "step 1", "close"]


@pytest.mark.parametrize("stage", ["on_validation", "draw_preview", "best"])
def test_a_validation_that_fails_loses_no_step(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    options = {"steps": 7, "validate_every": 3, "checkpoint_every": 100}
    whole, uninterrupted = run_toy(tmp_path / "whole", **options)
    watch, folder = Watch(), RunFolder(tmp_path / "part")
    with monkeypatch.context() as broken:
        if stage == "on_validation":
            broken.setattr(watch, stage, fail)
        elif stage == "draw_preview":
            broken.setattr("adair_core.training.loop.draw_preview", fail)
        else:
            write = Checkpoint.write
            broken.setattr(Checkpoint, "write", lambda self, path: (fail if path == folder.best else write)(self, path))
        with pytest.raises(MemoryError):
            run_toy(tmp_path / "part", callbacks=[watch], **options)
    assert Checkpoint.read(folder.last).state["step"] == 3
    resumed, result = run_toy(tmp_path / "part", resume=True, **options)
    _assert_same(resumed, whole)
    assert (result.validation, result.best) == (uninterrupted.validation, uninterrupted.best)
    assert folder.best.read_bytes() == RunFolder(tmp_path / "whole").best.read_bytes()


def test_best_is_the_averaged_weights_of_the_best_validation(tmp_path: Path) -> None:
    values = iter([20.0, 25.0, 24.0])
    job = toy_job(steps=3, validate_every=1)
    averages = []

    def better_then_worse(network: object, **where: object) -> object:
        from adair_core.training.validation import Scores

        averages.append({name: parameter.detach().clone() for name, parameter in job.parameters.items()})
        image = torch.zeros(1, 3, 4, 4)
        return Scores("psnr", next(values), {"sigma 25": 0.0}, {"sigma 25": 0.0}, (image, image, image), ("", ""))

    object.__setattr__(job.validation, "run", better_then_worse)
    folder = RunFolder(tmp_path)
    with folder.claim(resume=False):
        result = Loop(job, folder, Processes("cpu"), ()).run()
    assert (result.best.step, result.best.value, result.validation.value) == (2, 25.0, 24.0)
    best = Checkpoint.read(folder.best)
    _assert_same(best.part("weights"), averages[1])
    assert best.state["validation"]["step"] == 2
    last = Checkpoint.read(folder.last)
    _assert_same(last.part("average"), averages[2])


def test_validation_measures_the_noisy_and_the_restored_image(tmp_path: Path) -> None:
    job = toy_job()
    scores = job.validation.run(lambda degraded: torch.zeros_like(degraded))
    _, clean = job.validation.images[0]
    degraded, restored, target = scores.example
    assert torch.equal(target[0], clean)
    assert restored.abs().max() == 0
    rounded = (clean.double() * 255).round() / 255
    psnr = [-10 * np.log10(((x - rounded) ** 2).mean().item()) for x in (
        (degraded.double().clamp(0, 1) * 255).round() / 255, torch.zeros_like(rounded),
    )]  # fmt: skip
    assert scores.inputs["sigma 25"] == pytest.approx(psnr[0], abs=1e-6)
    assert scores.conditions["sigma 25"] == pytest.approx(psnr[1], abs=1e-6)
    assert scores.value == scores.conditions["sigma 25"]


def test_validation_restores_as_the_model_does(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load("restormer-tiny")
    image = torch.rand(3, 144, 160, generator=torch.Generator().manual_seed(0))
    validation = replace(toy_job().validation, images=[("noise", image)])
    whole = validation.run(model).example
    # What is affordable is then less than the image.
    monkeypatch.setattr(memory, "BUDGET", memory.BUDGET // 2000)
    monkeypatch.setattr(restoring, "SMALLEST_TILE", 64)
    monkeypatch.setattr(tiling, "SMALLEST_TILE", 64)
    degraded, restored, _ = validation.run(model).example
    assert torch.equal(degraded, whole[0])
    assert not torch.equal(restored, whole[1])
    assert torch.equal(restored, model.restore(degraded))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_computes_low_and_keeps_float32_weights(tmp_path: Path, precision: str) -> None:
    seen = []
    network = toy_network()
    network.last.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    full, _ = run_toy(tmp_path / "full", steps=3)
    mixed, _ = run_toy(tmp_path / "mixed", network=network, steps=3, precision=precision)
    assert set(seen) == {getattr(torch, precision)}
    assert {tensor.dtype for tensor in mixed.values()} == {torch.float32}
    for name in full:
        torch.testing.assert_close(mixed[name], full[name], rtol=0, atol=4e-3)  # two warm-up steps of 1e-3, and one
        assert not torch.equal(mixed[name], toy_network().get_parameter(name))


def test_float16_scaler_is_resumed(tmp_path: Path) -> None:
    options = {"steps": 4, "precision": "float16", "checkpoint_every": 1}
    whole, _ = run_toy(tmp_path / "whole", **options)
    with pytest.raises(Interrupted):
        run_toy(tmp_path / "part", callbacks=[Interrupt(2)], **options)
    state = Checkpoint.read(RunFolder(tmp_path / "part").last).state["scaler"]
    assert state["scale"] > 1
    assert state["_growth_tracker"] >= 2
    resumed, _ = run_toy(tmp_path / "part", resume=True, **options)
    _assert_same(resumed, whole)


def test_compile_trains_the_compiled_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    compile_ = torch.compile

    def eagerly(network: nn.Module) -> object:
        compiled.append(network)
        return compile_(network, backend="eager")

    monkeypatch.setattr(torch, "compile", eagerly)
    plain, _ = run_toy(tmp_path / "plain", steps=2)
    network = toy_network()
    trained, _ = run_toy(tmp_path / "compiled", network=network, steps=2, compile=True)
    assert compiled == [network]
    _assert_same(trained, plain, rtol=1e-6)


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_the_best_weights_are_kept_and_the_run_itself_goes_on(tmp_path: Path, ema: float) -> None:
    network = Noisy()
    written = {}

    def export(recipe: object, validation: ValidationRecord) -> Path:
        written.update({name: tensor.clone() for name, tensor in network.state_dict().items()})
        written["step"] = validation.step
        return tmp_path

    settings = {"steps": 6, "validate_every": 1, "keep": "best", "ema": ema, "learning_rate": 0.5, "optimizer": "sgd"}
    folder = RunFolder(tmp_path)
    with folder.claim(resume=False):
        result = Loop(replace(toy_job(network=network, **settings), export=export), folder, Processes("cpu"), ()).run()
    best = Checkpoint.read(folder.best)
    assert result.validation == result.best
    assert written.pop("step") == result.best.step == best.state["validation"]["step"] < 6
    assert torch.equal(written["scale"], best.part("weights")["scale"])
    assert written["calls"].item() == best.part("buffers")["calls"].item() == result.best.step
    last = Checkpoint.read(folder.last)
    assert torch.equal(network.scale, last.part("weights")["scale"])
    assert network.calls.item() == 6


def test_no_callback_keeps_others_open_or_hides_why_a_run_ended(tmp_path: Path) -> None:
    closed = []

    class Broken(Callback):
        def on_close(self) -> None:
            raise ValueError("nothing was opened")

    class Last(Callback):
        def on_close(self) -> None:
            closed.append(True)

    with pytest.raises(Interrupted), pytest.warns(RuntimeWarning, match=r"Broken\.on_close: ValueError: nothing was"):
        run_toy(tmp_path / "stopped", callbacks=[Interrupt(2), Broken(), Last()])
    with pytest.raises(ValueError, match="nothing was opened"):
        run_toy(tmp_path / "finished", steps=1, callbacks=[Broken(), Last()])
    assert closed == [True, True]


def test_weights_alone_are_no_run_to_go_on_with(tmp_path: Path) -> None:
    run_toy(tmp_path, steps=2, ema=0.0, optimizer="sgd")
    folder = RunFolder(tmp_path)
    folder.last.write_bytes(folder.best.read_bytes())
    with pytest.raises(RunFolderError, match="expected the state of a run, got weights alone, as best"):
        run_toy(tmp_path, steps=2, ema=0.0, optimizer="sgd", resume=True)


def test_state_is_json(tmp_path: Path) -> None:
    run_toy(tmp_path, steps=2)
    state = Checkpoint.read(RunFolder(tmp_path).last).state
    assert json.loads(json.dumps(state)) == state
    assert state["step"] == 2


def test_cudnn_is_asked_for_equal_bits_while_a_run_lasts(tmp_path: Path) -> None:
    seen = []

    class Look(Callback):
        def on_step(self, run, record) -> None:
            seen.append((torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark))

    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    run_toy(tmp_path, callbacks=[Look()], steps=2, device="cpu")
    assert seen == [(True, False)] * 2
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == before


def test_float64_on_a_device_without_it_is_refused() -> None:
    with pytest.raises(UsageError, match="precision: expected float32, or another device than mps, got float64"):
        Precision("float64", torch.device("mps"))
