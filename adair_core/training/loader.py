"""Getting the batches of a run from its data set, ahead of time where there are cores for it."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from adair_core.data.workers import worker_context
from adair_core.errors import DataError
from adair_core.training.processes import Processes
from adair_core.training.schedule import BatchSchedule

Batch = Mapping[str, Tensor]
_MOST_WORKERS = 8


def worker_count(device: torch.device, processes: int) -> int:
    """Choose the number of loader processes: the cores that this process's computing leaves free, at most 8.

    With no core to spare the batches are made in this process: a worker would only take turns with the network.

    Args:
        device: that the network computes on.
        processes: of the run, those that share this machine's cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    mine = max(cores // processes, 1)
    computing = torch.get_num_threads() if device.type == "cpu" else 1
    return min(max(mine - computing, 0), _MOST_WORKERS)


@contextmanager
def batches(
    dataset: Dataset[dict[str, Tensor]],
    schedule: BatchSchedule,
    workers: int | None,
    device: torch.device,
    processes: Processes,
) -> Iterator[Iterator[Batch]]:
    """Iterate over the batches of a schedule.

    Args:
        dataset: samples that are pure functions of their index, so that the workers change nothing.
        schedule: which samples.
        workers: loader processes; None = chosen.
        device: that the batches go to.
        processes: that share the machine.

    Raises:
        DataError: a sample cannot be made, when its batch is asked for.
    """
    count = worker_count(device, processes.count_here) if workers is None else workers
    options: dict[str, Any] = {}
    if count:
        context = worker_context()
        options = {"prefetch_factor": 4, "worker_init_fn": _prepare_worker, "multiprocessing_context": context}
    with warnings.catch_warnings():
        # More workers than cores are what the user asked for.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader: DataLoader[dict[str, Tensor] | DataError] = DataLoader(
            _Telling(dataset),
            batch_sampler=schedule,
            num_workers=count,
            pin_memory=device.type == "cuda",
            collate_fn=_collated,
            **options,
        )
        # Closed, a generator lets go of what it iterates over, and with it of the loader processes.
        source = (_whole(batch) for batch in iter(loader))
    try:
        yield source
    finally:
        source.close()


class _Telling(Dataset[dict[str, Tensor] | DataError]):
    """Gives an error as a sample: of one that a loader process raises, torch makes a traceback in its message."""

    def __init__(self, dataset: Dataset[dict[str, Tensor]]) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Any) -> dict[str, Tensor] | DataError:
        try:
            return self.dataset[key]
        except DataError as error:
            return error


def _collated(samples: Sequence[dict[str, Tensor] | DataError]) -> dict[str, Tensor] | DataError:
    for sample in samples:
        if isinstance(sample, DataError):
            return sample
    batch: dict[str, Tensor] = default_collate(list(samples))
    return batch


def _whole(batch: dict[str, Tensor] | DataError) -> Batch:
    if isinstance(batch, DataError):
        raise batch
    return batch


def _prepare_worker(_index: int) -> None:
    # Ctrl-C reaches the whole process group: the main process decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
