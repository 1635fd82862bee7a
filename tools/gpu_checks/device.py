"""The device that is checked, and how time is measured on it.

A rehearsal runs the same code on a CPU with small tensors, so that a visit to a GPU does not fail for a wrong name.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from adair_core.bench.rounds import interleave
from adair_core.model.cuda_graph import CudaGraphs

ROUNDS = 30
WARM_UPS = 3
L2_BYTES = 256 * 2**20
"""Written between two measurements: more than any second-level cache holds."""


@dataclass(frozen=True)
class Device:
    """A GPU, or a CPU that stands in for one.

    Attributes:
        name: ``cuda`` or ``cpu``.
    """

    name: str

    @property
    def rehearsal(self) -> bool:
        """Whether it only stands in."""
        return self.name == "cpu"

    def side(self, length: int, small: int = 24) -> int:
        """A length in pixels; a small one in a rehearsal."""
        return small if self.rehearsal else length

    def wait(self) -> None:
        """Wait until everything that was asked of it is done."""
        if not self.rehearsal:
            torch.cuda.synchronize()

    def peak(self, run: Callable[[], object]) -> int | None:
        """Bytes of the tensors that `run` adds to those that live already, at most; ``None`` in a rehearsal.

        Networks that only wait for their turn do not count, nor do the parameters of the one that runs.
        """
        if self.rehearsal:
            run()
            return None
        self.wait()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        self.wait()
        return torch.cuda.max_memory_allocated() - before

    def captured(self, compute: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], Tensor]:
        """Capture a computation on `x` as a CUDA graph; in a rehearsal, what is captured is called.

        Returns:
            Computes again; the result is the same tensor each time.
        """
        return partial(compute, x) if self.rehearsal else CudaGraphs().record(compute, x).repeat

    def captured_calls(self, calls: Sequence[Callable[[], object]]) -> Callable[[], object]:
        """Capture several calls, one after the other, as one CUDA graph; in a rehearsal, they are called.

        Returns:
            Calls them again. Each has results in memory of its own.

        Raises:
            RuntimeError: they cannot be captured.
        """
        held: list[object] = []

        def all_of(x: Tensor) -> Tensor:
            held[:] = [call() for call in calls]
            return x

        return self.captured(all_of, torch.zeros(1, device=self.name))

    def seconds(self, competitors: Mapping[str, Callable[[], object]], *, rounds: int = ROUNDS) -> dict[str, float]:
        """Time competitors in turn: the median of rounds, each with cold caches.

        Args:
            competitors: name -> what is timed; each is warmed up first.
            rounds: of one call to each.
        """
        count = 2 if self.rehearsal else rounds
        flushed = torch.empty(8 if self.rehearsal else L2_BYTES, dtype=torch.uint8, device=self.name)
        timed = {name: _Timed(self, run, flushed) for name, run in competitors.items()}
        for competitor in timed.values():
            competitor.warm_up()
        times = interleave(timed, least=count, most=count, budget=0)
        return {name: statistics.median(found) for name, found in times.items()}

    def once(self, run: Callable[[], object]) -> float:
        """Seconds of one call."""
        if self.rehearsal:
            begun = time.perf_counter()
            run()
            return time.perf_counter() - begun
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """PyTorch's float32 without TF32, to compare errors with: by default its convolutions keep 10 bits of 23."""
    libraries = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [library.allow_tf32 for library in libraries]
    try:
        for library in libraries:
            library.allow_tf32 = False
        yield
    finally:
        for library, allowed in zip(libraries, before, strict=True):
            library.allow_tf32 = allowed


def tf32() -> dict[str, bool]:
    """Whether PyTorch rounds float32 to TF32 now."""
    return {"convolutions": torch.backends.cudnn.allow_tf32, "products": torch.backends.cuda.matmul.allow_tf32}


class _Timed:
    """A competitor whose caches are cold in every round."""

    def __init__(self, device: Device, run: Callable[[], object], flushed: Tensor) -> None:
        self._device, self._run, self._flushed = device, run, flushed

    def warm_up(self) -> None:
        for _ in range(1 if self._device.rehearsal else WARM_UPS):
            self._run()
        self._device.wait()

    def seconds(self) -> float:
        self._flushed.zero_()
        return self._device.once(self._run)

    def close(self) -> None:
        """Nothing is held."""


def chosen(*, dry_run: bool) -> Device:
    """The GPU, or the CPU for a rehearsal.

    Raises:
        RuntimeError: there is no GPU, and it is no rehearsal.
    """
    if not dry_run and not torch.cuda.is_available():
        raise RuntimeError("no CUDA device is visible to PyTorch; --dry-run rehearses on the CPU")
    return Device("cpu" if dry_run else "cuda")
