"""What one measurement is made of: a computation, and the competitors that all do it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

Precision = Literal["float32", "bfloat16", "autocast"]
"""``bfloat16``: weights and activations; ``autocast``: float32 weights, and PyTorch's autocast to bfloat16."""

Size = Literal["full", "quick", "smoke"]
"""``full``: those of the targets; ``quick``: smaller, for a first impression; ``smoke``: whether it runs at all."""

Run = Callable[[], Tensor]
"""What is timed. Its result is compared with float64: the output, or the gradients."""

Row = Callable[[], Run]
"""Builds what is timed: networks, compiled code."""

EAGER = "eager"
EAGER_LAST = "eager, channels last"
COMPILED = "compile"
COMPILED_LAST = "compile, channels last"
WHOLE = "compile whole"
WHOLE_LAST = "compile whole, channels last"
STOCK = "stock eager"
PEFT = "PEFT"
OURS = "adair"
REFERENCES = "adair, references"

OPTIONAL = (WHOLE, WHOLE_LAST)
"""Take minutes to compile, and run on request."""

TORCH = (EAGER, EAGER_LAST, COMPILED, COMPILED_LAST)
"""PyTorch's ways."""

OTHERS = (*TORCH, *OPTIONAL)
"""Among which the targets look for the best other; all with the tuned allocator, as adair is."""


@dataclass(frozen=True)
class Subject:
    """A case with its tensors.

    Attributes:
        rows: competitor -> builds what is timed.
        exact: computes the result in float64; ``None`` where that takes too long.
        flops: of the plain form; a convolution's multiply and add are two.
        bytes: that must be moved however it is computed: the inputs, the parameters and the result.
        saved: measures the bytes that a training step keeps for its backward pass, by competitor.
        images: in a batch.
        features: bytes of the features that go into the blocks, all blocks together, for `saved`.
        shares: additional operations of a competitor, as a fraction of `flops`.
        unjudged: competitors that compute something else than `exact`, and have no error.
    """

    rows: Mapping[str, Row]
    exact: Run | None
    flops: int
    bytes: int
    saved: Mapping[str, Callable[[], int]] = field(default_factory=dict)
    images: int = 1
    features: int | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    unjudged: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Case:
    """Something to measure.

    Attributes:
        group: op, block, model, adapter, train or mixed.
        what: operator, branch, network or step.
        shape: of the input, as text, such as ``"1x48x256x256"``.
        precision: of the arithmetic.
        make: makes the tensors.
        stock: whether the stock allocator is measured too, in a process of its own.
    """

    group: str
    what: str
    shape: str
    precision: Precision
    make: Callable[[], Subject]
    stock: bool = False

    @property
    def name(self) -> str:
        """Unique among the cases of a size."""
        return f"{self.group}/{self.what}/{self.shape}/{self.precision}"


def dtype_of(precision: Precision) -> torch.dtype:
    """The dtype of parameters and inputs."""
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def compute_dtype(precision: Precision) -> torch.dtype:
    """The dtype of the matrix products."""
    return torch.float32 if precision == "float32" else torch.bfloat16


def arithmetic(precision: Precision, device: str = "cpu") -> AbstractContextManager[Any]:
    """The context in which a competitor runs on a kind of device; where operations are counted (meta), a CPU's."""
    kind = "cpu" if device == "meta" else device
    return torch.autocast(kind, torch.bfloat16) if precision == "autocast" else contextlib.nullcontext()


def text_of(shape: Sequence[int]) -> str:
    """A shape as text: ``(1, 48, 8, 8)`` -> ``"1x48x8x8"``."""
    return "x".join(map(str, shape))


def channels_last(value: Tensor) -> Tensor:
    """Images in channels last; tensors of other dimensions as they are."""
    return value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value


def flops_of(run: Callable[[], object]) -> int:
    """Count the operations of convolutions and matrix products, backward ones too, while `run` runs.

    Of adair's operators it knows the one that adapters use, the bottleneck.
    """
    with FlopCounterMode(display=False, custom_mapping={torch.ops.adair.bottleneck: _bottleneck_flops}) as counter:
        run()
    return int(counter.get_total_flops())


def _bottleneck_flops(x: Sequence[int], *arguments: Sequence[int], **_options: Any) -> int:
    pixels = math.prod(x) // x[1]
    weights = arguments[:6:2]  # of the two 1x1 convolutions and the depthwise one
    return 2 * pixels * sum(math.prod(shape) for shape in weights)


def bytes_of(tensors: Sequence[Tensor | None]) -> int:
    """The memory that tensors need."""
    return sum(value.numel() * value.element_size() for value in tensors if value is not None)


def saved_bytes(forward: Callable[[], Tensor], known: Sequence[Tensor]) -> int:
    """Measure the activations that a forward pass keeps for the backward pass.

    Args:
        forward: with gradients.
        known: parameters and inputs. They live anyway, and neither do tensors of a parameter's shape count: those are
            copies of it in another dtype or with an adapter folded in.

    Returns:
        Bytes of the storages that are kept, each counted once.
    """
    anyway = {value.untyped_storage().data_ptr() for value in known}
    shapes = {tuple(value.shape) for value in known}
    kept: dict[int, int] = {}
    held: list[Tensor] = []

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in anyway and tuple(value.shape) not in shapes:
            kept[storage.data_ptr()] = storage.nbytes()
            held.append(value.detach())  # so that no address is used twice
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        output = forward()
    del output
    return sum(kept.values())


def relative_error(result: Tensor, exact: Tensor) -> float:
    """|result - exact| / |exact|, both root mean squares."""
    exact = exact.double()
    return float((result.double() - exact).norm() / exact.norm().clamp_min(1e-300))
