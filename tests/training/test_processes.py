from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import run_toy, toy_job

from adair_core.errors import DataError, Interrupted, UsageError
from adair_core.training import processes
from adair_core.training.loader import worker_count
from adair_core.training.loop import Job
from adair_core.training.processes import Processes
from adair_core.training.running import conduct

pytestmark = pytest.mark.usefixtures("without_pictures")

CHILD = """
import sys
from pathlib import Path
from safetensors.torch import save_file
import tiny_runs
from adair_core.training.loop import Loop
from adair_core.training.processes import Processes
from adair_core.training.run_folder import RunFolder

job = tiny_runs.toy_job(optimizer="sgd", precision="float64", batch_size=5, accumulate=int(sys.argv[2]),
                        device=sys.argv[3], learning_rate=0.1, checkpoint_every=3, validate_every=2)
processes = Processes(sys.argv[3])
out = Path(sys.argv[1])
folder = RunFolder(out / "run")
if processes.is_main:
    folder.checkpoints.mkdir(parents=True)
processes.wait()
Loop(job, folder, processes, ()).run()
save_file(dict(job.parameters), out / f"{processes.index}.safetensors")
assert processes.count == 2
"""


def test_several_processes_do_not_share_a_gpu_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"device: expected cuda or auto with several processes, .* got cuda:1"):
        Processes("cuda:1")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_two_processes_train_as_one_with_the_whole_batch(tmp_path: Path) -> None:
    check_two_processes("cpu", tmp_path)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_devices_train_as_one_with_the_whole_batch(tmp_path: Path) -> None:
    check_two_processes("cuda", tmp_path)


def check_two_processes(device: str, tmp_path: Path) -> None:
    alone, _ = run_toy(
        tmp_path / "alone", optimizer="sgd", precision="float64", batch_size=5, learning_rate=0.1, device=device
    )
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **shared, "PYTHONPATH": str(Path(__file__).parent)}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), "1", device],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [child.communicate(timeout=300)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], errors
    for rank in range(2):
        weights = load_file(tmp_path / f"{rank}.safetensors")
        for name, value in alone.items():
            torch.testing.assert_close(weights[name], value.cpu(), rtol=0, atol=1e-10)
            assert value.dtype == torch.float64
    assert (tmp_path / "run" / "checkpoints" / "last.safetensors").exists()


PATIENT = """
import datetime
import time
from torch.distributed import distributed_c10d
distributed_c10d.default_pg_timeout = datetime.timedelta(seconds=2)  # in place of the usual 30 minutes
from adair_core.training.processes import Processes

processes = Processes("cpu")
if processes.is_main:
    time.sleep(5)  # as it would for a long validation
processes.wait()
"""


def test_processes_wait_as_long_as_the_main_one_takes() -> None:
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "OMP_NUM_THREADS": "1"}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", PATIENT],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [child.communicate(timeout=300)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], errors


def test_a_single_process() -> None:
    processes = Processes("cpu")
    assert (processes.count, processes.index, processes.is_main) == (1, 0, True)
    processes.wait()
    values = torch.ones(2)
    assert processes.mean(values) is values


@pytest.mark.parametrize("device", ["nonsense", "meta", "cpu:x", "cuda:-1", ""])
def test_a_device_of_no_kind_that_is_known(device: str) -> None:
    with pytest.raises(UsageError, match=rf"device: expected auto, cpu, cuda, cuda:N or mps, got '{device}'$"):
        Processes(device)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"device: expected one that this machine has, got 'cuda:99' .*try 'auto'"):
        Processes("cuda:99")


def test_workers_are_the_cores_that_computing_leaves_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 14)
    assert worker_count(torch.device("cpu"), 1) == 2
    assert worker_count(torch.device("cpu"), 2) == 0
    assert worker_count(torch.device("cuda"), 1) == 8
    assert worker_count(torch.device("cuda"), 4) == 3


def test_processes_of_other_machines_leave_the_cores_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Processes("cpu").count_here == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert Processes("cpu").count_here == 4


@pytest.mark.parametrize(("error", "alone"), [(DataError("damaged"), True), (Interrupted("stopped"), False)])
def test_who_fails_exits_without_the_others(
    error: Exception, alone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On GPUs leaving the group waits for all, of which the others may wait for this one elsewhere."""
    dropped: list[object] = []
    monkeypatch.setattr(processes.atexit, "unregister", dropped.append)

    def prepare(*_: object) -> Job:
        raise error

    recipe = toy_job(device="cpu").recipe
    with pytest.raises(type(error)):
        conduct(recipe, tmp_path / "run", prepare, title="toy", resume=False, progress=False, callbacks=())
    assert dropped == ([processes._leave] if alone else [])
