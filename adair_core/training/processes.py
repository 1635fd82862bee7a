"""The processes and machines that share a run, through accelerate.

Started with ``accelerate launch`` or ``torchrun``, every process runs the same program on its part of each batch; one
all-reduce a step averages the gradients. Only the main process writes; all of them read its checkpoint at a resume, so
several machines need the run folder on storage that they share. For example::

    torchrun --nproc-per-node 2 --no-python adair train --task denoise --data photos/ --out runs/denoise
"""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from adair_core.errors import UsageError, expected

if TYPE_CHECKING:
    from accelerate import PartialState


LONGEST_WAIT = timedelta(days=1)
"""How long processes wait for one: the main one validates alone, which may take longer than the usual 10 minutes (on
GPUs) or 30. Where one fails it exits, and torchrun ends the others at once."""


class Processes:
    """This process among those of the run.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; with several processes each takes its own GPU,
            so that none can be named.

    Raises:
        UsageError: there is no such device.
    """

    def __init__(self, device: str = "auto") -> None:
        self._state: PartialState | None = None
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            if device.startswith("cuda:"):
                wanted = "cuda or auto with several processes, of which each takes its own GPU"
                hint = "CUDA_VISIBLE_DEVICES says which"
                raise UsageError(expected("device", expected=wanted, got=device, hint=hint))
            from accelerate import PartialState  # slow to import, and of no use to a single process

            cpu = device == "cpu" or not torch.cuda.is_available()
            self._state = PartialState(cpu=cpu, timeout=LONGEST_WAIT)
            atexit.register(_leave)
        shared = self._state is not None and device in ("auto", "cuda")
        self.device: torch.device = self._state.device if self._state and shared else _device(device)

    @property
    def count(self) -> int:
        """How many processes there are."""
        return int(self._state.num_processes) if self._state else 1

    @property
    def count_here(self) -> int:
        """How many of them share this machine's cores: torchrun and accelerate say so."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", self.count))

    @property
    def index(self) -> int:
        """Which of them this is."""
        return int(self._state.process_index) if self._state else 0

    @property
    def is_main(self) -> bool:
        """Whether this one writes files and reports."""
        return self.index == 0

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self._state:
            self._state.wait_for_everyone()

    def exit_alone(self) -> None:
        """Let this process exit without the others: something failed here, and they may wait for it elsewhere."""
        atexit.unregister(_leave)

    def mean(self, values: Tensor) -> Tensor:
        """Average a tensor over all processes."""
        if self._state is None:
            return values
        from accelerate.utils import reduce

        averaged: Tensor = reduce(values, reduction="mean")
        return averaged

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Average gradients over all processes, in one exchange; a parameter without a gradient counts as zero."""
        if self._state is None:
            return
        trained = list(parameters)
        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in trained])
        pieces = torch.split(self.mean(flat), [p.numel() for p in trained])
        for parameter, piece in zip(trained, pieces, strict=True):
            parameter.grad = piece.view(parameter.shape).clone(memory_format=torch.preserve_format)


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise UsageError(expected("device", expected="auto, cpu, cuda, cuda:N or mps", got=repr(name)))
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            expected("device", expected="one that this machine has", got=f"{name!r} ({reason})", hint="try 'auto'")
        ) from error
    return device


def _leave() -> None:
    """Leave the group, which on GPUs all processes do together."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
