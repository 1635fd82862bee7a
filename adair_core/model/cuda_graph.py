"""Recording what is computed on a CUDA device as a graph: one launch for all of its kernels.

A graph repeats the kernels that were launched while it was captured, on the memory that they used then
(https://docs.pytorch.org/docs/stable/notes/cuda.html, "CUDA Graphs"). So a batch is copied into memory of the graph and
the result out of it, and whoever keeps a graph keeps what it reads.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Computation = Callable[[Tensor], Tensor]


def unavailable() -> str | None:
    """Why nothing can be captured on this machine; ``None`` if it can."""
    return None if torch.cuda.is_available() else "PyTorch sees no CUDA device"


_CAPTURING = threading.Lock()
"""PyTorch captures one graph at a time; models in several threads take turns."""


class NotCapturableError(RuntimeError):
    """A computation does what no graph can hold."""


class Recording:
    """A computation on fixed memory, which can be called with other batches of the same shape and layout.

    Args:
        batch: from which the computation reads.
        result: to which it writes.
        replay: computes again.
        turn: a context in which nobody else uses this memory.
    """

    def __init__(
        self,
        batch: Tensor,
        result: Tensor,
        replay: Callable[[], None],
        turn: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        self._batch, self._result, self._replay, self._turn = batch, result, replay, turn

    def __call__(self, x: Tensor) -> Tensor:
        """Compute, and return a tensor of one's own."""
        with self._turn():
            self._batch.copy_(x)
            self._replay()
            return self._result.clone()

    def repeat(self) -> Tensor:
        """Compute for the batch of the last call, and return what the next call overwrites."""
        with self._turn():
            self._replay()
        return self._result


class Recorder(Protocol):
    """What makes recordings."""

    def obstacle(self, x: Tensor) -> str | None:
        """Why nothing that is done with a tensor can be recorded; ``None`` if it can."""

    def record(self, compute: Computation, x: Tensor) -> Recording:
        """Record a computation on batches like `x`; it runs, but what it computes meanwhile may be nothing.

        Raises:
            RuntimeError: it cannot be recorded, or memory ran out.
        """


class CudaGraphs:
    """Records CUDA graphs. Those of a device share the memory of what lies between batch and result.

    They may, as they run one after the other, and results are copied at once: memory is that of the largest.
    """

    def __init__(self) -> None:
        self._places: dict[torch.device, _Place] = {}

    def obstacle(self, x: Tensor) -> str | None:
        """Why nothing that is done with a tensor can be recorded; ``None`` if it can."""
        if not x.is_cuda:
            return f"the batch is on {x.device}, and only CUDA devices have graphs"
        if torch.cuda.is_current_stream_capturing():
            return "another graph is being captured, of which this becomes a part"
        return None

    def record(self, compute: Computation, x: Tensor) -> Recording:
        """Capture a computation on batches like `x`.

        Raises:
            RuntimeError: it cannot be captured, or memory ran out.
        """
        batch = batch_like(x)
        with _CAPTURING, torch.cuda.device(x.device):
            place = self._places.get(x.device)
            if place is None:
                place = self._places[x.device] = _Place()
            before = torch.cuda.current_stream()
            place.stream.wait_stream(before)
            # Around all: `torch.cuda.graph` stays on its stream if the capture cannot be ended.
            with torch.cuda.stream(place.stream):
                compute(batch)  # libraries make what they need for this stream
                try:
                    graph, result = _captured(compute, batch, place)
                except Exception:
                    del self._places[x.device]  # later captures get other memory: nobody knows the state of this one
                    raise
            before.wait_stream(place.stream)
        return Recording(batch, result, graph.replay, place.turn)


@dataclass
class _Place:
    """What the graphs of a device share. Made while the device is the current one."""

    stream: torch.cuda.Stream = field(default_factory=torch.cuda.Stream)
    pool: Any = field(default_factory=torch.cuda.graph_pool_handle)
    free: torch.cuda.Event = field(default_factory=torch.cuda.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait, on the device alone, for whoever used the memory last on another stream.

        Only while work is handed to the device do other threads wait on the host, too.
        """
        with self.lock, torch.cuda.device(self.stream.device):
            torch.cuda.current_stream().wait_event(self.free)
            yield
            self.free.record()


def _captured(compute: Computation, batch: Tensor, place: _Place) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    # cuBLAS keeps a workspace for each stream. It has to be one of the graph's memory, which nobody frees before it.
    torch._C._cuda_clearCublasWorkspaces()
    graph = torch.cuda.CUDAGraph()
    try:
        # Other threads may go on using the device.
        with torch.cuda.graph(graph, pool=place.pool, stream=place.stream, capture_error_mode="thread_local"):
            result = compute(batch)
    except Exception:
        with contextlib.suppress(RuntimeError):
            _abandon(graph, place)
        raise
    finally:
        torch._C._cuda_clearCublasWorkspaces()
    return graph, result


def _abandon(graph: torch.cuda.CUDAGraph, place: _Place) -> None:
    """Tell PyTorch that a capture is over that CUDA could not end, as PyTorch does itself for those that it could."""
    try:
        graph.pool()
    except RuntimeError:  # it has not ended
        device = place.stream.device.index
        for end in (torch._C._cuda_endAllocateToPool, torch._C._cuda_releasePool):
            with contextlib.suppress(RuntimeError):  # later versions have ended the allocation
                end(device, place.pool)
        # PyTorch 2.11 goes on refusing random numbers outside of a capture; the end of any capture ends that.
        with torch.cuda.graph(torch.cuda.CUDAGraph(), stream=place.stream, capture_error_mode="thread_local"):
            torch.zeros(1, device=place.stream.device)


def batch_like(x: Tensor) -> Tensor:
    """A copy in memory of its own, for recordings that are made in inference mode and used outside of it, too."""
    with torch.inference_mode(False):
        batch = torch.empty_like(x)
    return batch.copy_(x)


def uncached_autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Autocast as it is, but without its cache: its rounded weights are gone when it is left, and a recording stays."""
    kind = device.type
    return torch.autocast(
        kind, dtype=torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind), cache_enabled=False
    )


class Capturable(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Lets only operations through that a graph can hold: a capture that fails may leave PyTorch's allocator confused.

    Args:
        device: on which the graph would be.

    Raises:
        NotCapturableError: an operation needs a value on the host, or copies between the host and the device.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        if _waits(func, given):
            raise NotCapturableError(f"{func} makes the host wait for a value of the device")
        self._check(func, given)
        result = func(*args, **(kwargs or {}))
        self._check(func, [*given, *(value for value in tree_leaves(result) if isinstance(value, Tensor))])
        return result

    def _check(self, func: Any, tensors: list[Tensor]) -> None:
        # A number in a tensor of the host is read when a kernel is launched; it is then one of the graph's numbers.
        copies = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        here = [value.device == self._device for value in tensors if copies or value.dim() > 0]
        if any(here) and not all(here):
            raise NotCapturableError(f"{func} works on several devices")


def _waits(func: Any, given: list[Tensor]) -> bool:
    if func is torch.ops.aten.index.Tensor:  # it has the tag for masks' sake
        return any(value.dtype in (torch.bool, torch.uint8) for value in given[1:])
    return torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags
