"""Every operator alone: errors and times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from adair_core.bench.case import bytes_of, relative_error
from adair_core.bench.cases.operators import OPERATORS, Operator
from gpu_checks.device import Device, full_float32, tf32

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FLOORS = {torch.float32: 2**-20, torch.bfloat16: 2**-5, torch.float16: 2**-8}
"""Errors that are a few roundings, as PyTorch's own may be nil where ours is not. Of float32 it is four times the error
of a product by the matrix instructions (csrc/cuda/mma.cuh)."""
TIMED = (torch.float32, torch.bfloat16)
MOST_CALLS, MOST_BYTES = 16, 2**28
"""Calls in a graph, and what they move, at most, but two calls at least."""
ROUNDS = 10
UNCAPTURED = ("low_rank_convolution",)
"""Operators that look at an index on the host."""
TINY = ((8, 5, 7, 2), (16, 3, 33, 1))
LARGE = ((48, 256, 256, 1), (96, 256, 256, 1), (384, 32, 32, 8), (48, 131, 97, 1))


@dataclass(frozen=True)
class Problem:
    """An operator with tensors on the device.

    Attributes:
        name: operator, shape and dtype.
        ours: adair's.
        plain: of PyTorch's operations.
        tensors: their arguments.
        trained: which get a gradient; if none, there is only a result.
    """

    name: str
    ours: Callable[..., Tensor]
    plain: Callable[..., Tensor]
    tensors: tuple[Tensor, ...]
    trained: tuple[int, ...]

    def step(self, function: Callable[..., Tensor], weights: Tensor | None = None) -> list[Tensor]:
        """Result and gradients; those of a sum with weights, the same for all if they are not given."""
        if not self.trained:
            with torch.no_grad():
                return [function(*self.tensors)]
        inputs = [value.detach().requires_grad_(index in self.trained) for index, value in enumerate(self.tensors)]
        result = function(*inputs)
        if weights is None:
            weights = torch.cos(torch.arange(result.numel(), device=result.device)).view(result.shape).to(result.dtype)
        return [result.detach(), *torch.autograd.grad(result, [inputs[i] for i in self.trained], weights)]

    def again(self) -> Problem:
        """The same with tensors of its own."""
        return replace(self, tensors=tuple(value.clone() for value in self.tensors))


def problems(
    device: Device, shapes: tuple[tuple[int, int, int, int], ...], dtypes: Sequence[torch.dtype] = DTYPES
) -> Iterator[Problem]:
    """Every operator in every shape and dtype."""
    for name, operator in OPERATORS.items():
        for shape in dict.fromkeys(shapes):
            for dtype in dtypes:
                yield problem(name, operator, operator.shapes(*shape), shape, dtype, device)


def problem(
    name: str,
    operator: Operator,
    sizes: Sequence[tuple[int, ...]],
    shape: tuple[int, int, int, int],
    dtype: torch.dtype,
    device: Device,
) -> Problem:
    """An operator with random tensors, the images channels last.

    Args:
        name: of the operator.
        operator: with its rival.
        sizes: of the tensors.
        shape: channels, height, width and heads that they are of.
        dtype: of the tensors.
        device: where they are.
    """
    generator = torch.Generator().manual_seed(0)
    tensors = []
    for index, size in enumerate(sizes):
        values = torch.randn(size, generator=generator)
        if index and len(size) == 4:
            values = values / values[0].numel() ** 0.5
        tensors.append(values.to(device.name, dtype))
    constants: dict[str, Any] = {"heads": shape[3]} if operator.heads else {}
    tensors[0] = tensors[0].contiguous(memory_format=torch.channels_last) if tensors[0].ndim == 4 else tensors[0]
    channels, height, width, heads = shape
    return Problem(
        name=f"{name} {channels}x{height}x{width}, {heads} heads, {str(dtype).removeprefix('torch.')}",
        ours=_on(device, partial(operator.ours, **constants)),
        plain=partial(operator.plain, **constants),
        tensors=tuple(tensors),
        trained=operator.trained,
    )


def _on(device: Device, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(*tensors: Tensor) -> Tensor:
        with torch.device(device.name):  # an index that the function makes
            return function(*tensors)

    return run


def errors(device: Device) -> dict[str, Any]:
    """Errors against float64, ours and PyTorch's own in all bits of float32; ours may be twice as large."""
    with full_float32():
        return _errors(device)


def largest(errors: Sequence[float]) -> float:
    """The largest error; NaN, which no order knows, if any is."""
    return float(torch.tensor(errors, dtype=torch.float64).max())


def _errors(device: Device) -> dict[str, Any]:
    setting, rows, wrong = tf32(), {}, []
    for problem in problems(device, TINY if device.rehearsal else (*TINY, LARGE[0], LARGE[3])):
        exact = Problem("", problem.plain, problem.plain, tuple(t.double() for t in problem.tensors), problem.trained)
        wanted = exact.step(exact.plain)
        found = [
            largest([relative_error(value, right) for value, right in zip(problem.step(function), wanted, strict=True)])
            for function in (problem.ours, problem.plain)
        ]
        rows[problem.name] = {"ours": found[0], "PyTorch": found[1]}
        if not found[0] <= max(2 * found[1], FLOORS[problem.tensors[0].dtype]):
            wrong.append(problem.name)
    return {"PyTorch's TF32 in": setting, "rows": rows, "failures": wrong}


def times(device: Device) -> dict[str, Any]:
    """Ours and eager PyTorch: microseconds of a call, and the bytes that it must move over them, of a copy's rate.

    A call from Python takes longer than many a kernel. So a CUDA graph of several calls is timed, each with tensors of
    its own, which no cache holds.
    """
    rate = copy_rate(device)
    rows = {}
    for problem in problems(device, TINY[:1] if device.rehearsal else LARGE, TIMED):
        with torch.no_grad():
            result = problem.plain(*problem.tensors)
        moved = bytes_of([*problem.tensors, result])
        alike = [problem, *(problem.again() for _ in range(calls_of(device, moved) - 1))]
        weights = torch.randn_like(result)
        ways = {"ours": problem.ours, "eager": problem.plain}
        captured = not problem.name.startswith(UNCAPTURED)
        forward = {name: [partial(_forward, each, way) for each in alike] for name, way in ways.items()}
        trained = {name: [partial(each.step, way, weights) for each in alike] for name, way in ways.items()}
        rows[problem.name] = {
            "forward, us": _microseconds(device, forward, captured=captured),
            "forward and backward, us": _microseconds(device, trained, captured=captured),
            "copy of the same bytes, us": 1e6 * moved / rate,
        }
        found = rows[problem.name]["forward, us"]
        rows[problem.name]["of the copy's rate"] = {name: moved / rate / (1e-6 * found[name]) for name in ways}
    return {"copied bytes a second": rate, "eager's TF32 in": tf32(), "rows": rows, "failures": []}


def calls_of(device: Device, moved: int) -> int:
    """How many calls are timed together that move so many bytes each."""
    return 2 if device.rehearsal else min(MOST_CALLS, max(2, MOST_BYTES // moved))


def _forward(problem: Problem, way: Callable[..., Tensor]) -> Tensor:
    with torch.no_grad():
        return way(*problem.tensors)


def _microseconds(
    device: Device, ways: Mapping[str, list[Callable[[], object]]], *, captured: bool
) -> dict[str, float | str]:
    """The time of a call of each way, and how it was called: in a graph, or from Python where that cannot be."""
    runs, how = {}, {}
    for name, calls in ways.items():
        how[name], runs[name] = "graph", None
        if captured:
            try:
                runs[name] = device.captured_calls(calls)
            except RuntimeError as error:
                how[name] = f"Python, as: {str(error).partition(chr(10))[0]}"
        else:
            how[name] = "Python"
        if runs[name] is None:
            runs[name] = partial(_each, calls)
    found = device.seconds(runs, rounds=ROUNDS)
    times: dict[str, float | str] = {name: 1e6 * found[name] / len(calls) for name, calls in ways.items()}
    return times | {f"{name}, called from": way for name, way in how.items() if way != "graph"}


def _each(calls: Sequence[Callable[[], object]]) -> None:
    for call in calls:
        call()


def copy_rate(device: Device) -> float:
    """Bytes a second of a large copy, those read and those written."""
    count = 2**16 if device.rehearsal else 2**30
    source = torch.ones(count, dtype=torch.uint8, device=device.name)
    target = torch.empty_like(source)
    return 2 * count / device.seconds({"copy": lambda: target.copy_(source)})["copy"]
