"""Replaying a network's computation where batches of one shape come again and again.

A small batch keeps a GPU busy for less time than the host takes to launch its kernels. A recording
(`adair_core.model.cuda_graph`) is one launch. Recording costs about as much as four computations, so a kind of batch is
computed as often before it is recorded: whatever comes, that takes at most twice the time of the better choice.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from adair_core.derived import Version, version
from adair_core.errors import is_out_of_memory
from adair_core.model.cuda_graph import (
    Capturable,
    Computation,
    CudaGraphs,
    Recorder,
    Recording,
    uncached_autocast,
)
from adair_core.model.per_sample import Runs
from adair_core.ops.native import switched_off

logger = logging.getLogger(__name__)

KEPT = 4
"""Kinds of batches that are counted, and recordings that are kept."""

FIRST = 4
"""Computations of a kind of batch before it is recorded."""


@dataclass(frozen=True)
class Reads:
    """What a computation reads beside its batch.

    Attributes:
        runs: the adapters, and whether they train.
        laid: parameters that are laid over the network's own; the same object as long as they are the same.
        tensors: parameters and buffers of the network, and of adapters that change its features.
        hook: a module with a hook that a recording would not call, if there is one.
    """

    runs: tuple[Runs, bool]
    laid: Mapping[str, Tensor]
    tensors: Sequence[Tensor]
    hook: str | None = None


@dataclass
class _Kind:
    """A kind of batch, and the parameters with which it was computed so far."""

    laid: Mapping[str, Tensor]  # kept, as a recording reads their memory
    versions: list[Version]
    computed: int = 0
    replayed: int = 0
    obstacle: str | None = None
    recording: Recording | None = None

    def holds(self, laid: Mapping[str, Tensor], versions: list[Version]) -> bool:
        """Whether the parameters are these."""
        return (self.laid is laid or not (self.laid or laid)) and self.versions == versions

    def __str__(self) -> str:
        if self.recording is not None:
            return f"replayed {self.replayed} times"
        if self.obstacle is not None:
            return f"not recorded: {self.obstacle}"
        return f"computed {self.computed} times; to be recorded after {FIRST}"


class Captures:
    """The recordings of a network.

    One holds as long as the adapters, their strengths, every parameter and the precision are what they were; a change
    begins a new count. What cannot be recorded is computed.

    Args:
        recorder: makes recordings.
    """

    def __init__(self, recorder: Recorder | None = None) -> None:
        self._recorder = CudaGraphs() if recorder is None else recorder
        self._kinds: OrderedDict[tuple[object, ...], _Kind] = OrderedDict()
        self._refused: str | None = None

    def run(self, compute: Computation, x: Tensor, reads: Callable[[], Reads]) -> Tensor:
        """Compute, or replay.

        Args:
            compute: ``(B, C, H, W)`` to ``(B, D, H, W)``, always the same for the same batch and `reads`.
            x: ``(B, C, H, W)``.
            reads: says what else is read; called if that matters.
        """
        self._refused = self._obstacle(x)
        if self._refused is not None:
            return compute(x)
        found = reads()
        if found.hook is not None:
            self._refused = f"module {found.hook!r} has a hook, which a recording would not call"
            return compute(x)
        kind = self._kind(x, found)
        if kind.recording is not None:
            kind.replayed += 1
            return kind.recording(x)
        kind.computed += 1
        if kind.computed <= FIRST or kind.obstacle is not None:
            return self._computed(compute, x)
        try:
            with Capturable(x.device):
                result = compute(x)
            with uncached_autocast(x.device):
                kind.recording = self._recorder.record(compute, x)
        except RuntimeError as error:
            kind.obstacle = "memory ran out" if is_out_of_memory(error) else str(error).partition("\n")[0]
        logger.debug("batches of %s: %s", _name(next(reversed(self._kinds))), kind)
        # Not in the except clause, whose exception holds tensors.
        return self._computed(compute, x) if kind.recording is None else result

    def explain(self) -> dict[str, str]:
        """Tell what becomes of the kinds of batches that came lately.

        Returns:
            Kind of batch -> what is done with it, and if it is not replayed, why.
        """
        told = {_name(key): str(kind) for key, kind in self._kinds.items()}
        return told if self._refused is None else {**told, "the last batch": f"not recorded: {self._refused}"}

    def clear(self) -> None:
        """Forget everything, and give up the memory of the recordings."""
        self._kinds.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Copies of a network begin without: they have parameters of their own."""
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin."""
        Captures.__init__(self)

    def _obstacle(self, x: Tensor) -> str | None:
        if torch.compiler.is_compiling():
            return "the call is compiled"
        if torch.is_grad_enabled():
            return "gradients are wanted (torch.no_grad() says that they are not)"
        if is_in_torch_dispatch_mode():
            return "a mode of PyTorch watches the operations"
        return self._recorder.obstacle(x)

    def _kind(self, x: Tensor, reads: Reads) -> _Kind:
        key = (tuple(x.shape), x.dtype, x.device, reads.runs, x.stride(), kernel_settings(x.device.type))
        versions = [version(tensor) for tensor in reads.tensors]
        kind = self._kinds.get(key)
        if kind is None or not kind.holds(reads.laid, versions):
            kind = self._kinds[key] = _Kind(reads.laid, versions)
        self._kinds.move_to_end(key)
        while len(self._kinds) > KEPT:
            self._kinds.popitem(last=False)
        return kind

    def _computed(self, compute: Computation, x: Tensor) -> Tensor:
        """Compute; if memory runs out, once more without what recordings hold of it."""
        recorded = [kind for kind in self._kinds.values() if kind.recording is not None]
        try:
            return compute(x)
        except (MemoryError, RuntimeError) as error:
            if not recorded or not is_out_of_memory(error):
                raise
        for kind in recorded:
            kind.recording, kind.obstacle = None, "its memory was needed"
        return compute(x)


def kernel_settings(device: str) -> tuple[object, ...]:
    """What changes the kernels that PyTorch and adair choose on a kind of device, and so what these allocate."""
    backends = torch.backends
    return (
        torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device),
        *(backends.cuda.matmul.fp32_precision, backends.cudnn.fp32_precision),
        backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
        backends.cudnn.benchmark,
        backends.cudnn.deterministic,
        torch.are_deterministic_algorithms_enabled(),
        switched_off(),
    )


def _name(key: tuple[Any, ...]) -> str:
    shape, dtype, device, (runs, _), _, (autocast, *_) = key
    precision = str(autocast or dtype).removeprefix("torch.")
    adapters = [" + ".join(f"{name} {strength:g}" for name, strength in each) or "the base" for each, _ in runs]
    return f"{' x '.join(map(str, shape))} in {precision} on {device}, {', '.join(adapters)}"
