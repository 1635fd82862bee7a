"""Losses and gradients that are not finite: they end a run, and what made them is kept."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch
from tiny_runs import ToyPairs, run_toy, toy_network

from adair_core.errors import TrainingError
from adair_core.training.checkpoint import Checkpoint
from adair_core.training.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("without_pictures")


def test_a_broken_batch_stops_the_run_and_is_saved(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"step 3: expected a finite loss, got nan at learning rate 0\.001; its batch"
    ) as e:
        run_toy(tmp_path, broken=9, accumulate=2, checkpoint_every=2)
    file = tmp_path / "diverged-step-3-process-0.safetensors"
    assert str(file) in str(e.value)
    batch = Checkpoint.read(file)
    assert batch.tensors["index"].tolist() == [8, 9, 10, 11]
    assert torch.equal(batch.tensors["target"][1], ToyPairs()[9, 8]["target"])
    assert batch.tensors["input"][1].isnan().all()
    assert Checkpoint.read(RunFolder(tmp_path).last).state["step"] == 2


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    network = toy_network()
    network.first.weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(TrainingError, match=r"step 1: expected a finite gradient norm, got (nan|inf)"):
        run_toy(tmp_path, network=network, clip=None)
    assert all(parameter.isfinite().all() for parameter in network.parameters())


def test_gradients_that_no_scale_makes_finite_stop_a_float16_run(tmp_path: Path) -> None:
    network = toy_network()
    network.first.weight.register_hook(lambda gradient: gradient * torch.inf)
    # The scale begins at 2^16 and is halved by each step that is left out.
    with pytest.raises(TrainingError, match=r"step 18: expected a finite gradient norm, got (nan|inf)"):
        run_toy(tmp_path, network=network, steps=40, precision="float16")


def test_a_full_disk_does_not_hide_a_broken_batch(tmp_path: Path) -> None:
    network = toy_network()

    def fill(gradient: torch.Tensor) -> torch.Tensor:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))
        return gradient * torch.inf

    network.first.weight.register_hook(fill)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(
            TrainingError,
            match=r"step 1: expected a finite gradient norm, got \w+ at .* its batch could not be kept \(.*full.*lower",
        ):
            run_toy(tmp_path, network=network, clip=None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not list(tmp_path.glob("diverged*"))
