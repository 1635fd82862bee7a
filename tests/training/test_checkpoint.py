from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch
from torch import nn

from adair_core.errors import RunFolderError
from adair_core.training.checkpoint import Checkpoint, optimizer_tensors, prefixed, restore, restore_optimizer
from adair_core.training.optimizers import build_optimizer
from adair_core.training.recipe import Settings


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    nan = torch.tensor([float("nan"), -0.0, 1e-45])
    strided = torch.arange(6.0).view(2, 3).t()
    Checkpoint(prefixed("weights", {"a.b": nan, "c": strided}), {"step": 3, "best": None}).write(path)
    read = Checkpoint.read(path)
    assert read.state == {"step": 3, "best": None}
    assert list(read.part("weights")) == ["a.b", "c"]
    assert torch.equal(read.part("weights")["a.b"].view(torch.int32), nan.view(torch.int32))
    assert torch.equal(read.part("weights")["c"], strided)
    assert read.part("average") == {}


def test_equal_states_are_equal_files_with_usual_permissions(tmp_path: Path) -> None:
    for name in ("one", "two"):
        Checkpoint({"a": torch.ones(3)}, {"x": 1, "y": 2}).write(tmp_path / name)
    (tmp_path / "usual").touch()
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    Checkpoint({"a": torch.zeros(10)}, {"step": 1}).write(path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(RunFolderError, match=r"the disk is full.*file from before is still there.*--resume"):
            Checkpoint({"a": torch.zeros(10_000)}, {"step": 2}).write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert Checkpoint.read(path).state == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.safetensors"]


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign"])
def test_a_damaged_checkpoint(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "last.safetensors"
    Checkpoint({"a": torch.zeros(100)}).write(path)
    if damage == "foreign":
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(1)}, path)
    else:
        path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else -50])
    with pytest.raises(RunFolderError, match=r"last\.safetensors: cannot be read .*delete it to start"):
        Checkpoint.read(path)


@pytest.mark.parametrize("values", [{}, {"a": torch.ones(3)}, {"a": torch.ones(2), "b": torch.ones(1)}])
def test_tensors_of_another_network(values: dict[str, torch.Tensor]) -> None:
    with pytest.raises(RunFolderError, match=r"of another network: 1 tensors differ"):
        restore({"a": torch.zeros(2)}, values, source=Path("last"))


@pytest.mark.parametrize("kind", ["adamw", "muon", "sgd"])
def test_a_restored_optimizer_goes_on_to_the_same_bits(tmp_path: Path, kind: str) -> None:
    def build() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        module = nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
        return module, build_optimizer(module.parameters(), Settings(optimizer=kind, learning_rate=0.01))

    def steps(module: nn.Module, optimizer: torch.optim.Optimizer, seeds: range) -> None:
        for seed in seeds:
            x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
            optimizer.zero_grad()
            module(x).square().mean().backward()
            optimizer.step()

    with torch.random.fork_rng():
        whole, optimizer = build()
        steps(whole, optimizer, range(6))
        first, optimizer = build()
        steps(first, optimizer, range(3))
        names = [name for name, _ in first.named_parameters()]
        Checkpoint(
            {**prefixed("weights", first.state_dict()), **prefixed("optimizer", optimizer_tensors(optimizer, names))}
        ).write(tmp_path / "c")
        second, optimizer = build()
    checkpoint = Checkpoint.read(tmp_path / "c")
    restore(dict(second.named_parameters()), checkpoint.part("weights"), source=tmp_path)
    restore_optimizer(optimizer, names, checkpoint.part("optimizer"))
    steps(second, optimizer, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))
    state = optimizer.state[next(second.parameters())]
    moment = state[{"adamw": "exp_avg", "muon": "mean_gradient", "sgd": "momentum_buffer"}[kind]]
    assert moment.is_contiguous(memory_format=torch.channels_last)
