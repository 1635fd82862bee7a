"""Every operator alone: error, equal bits, time, and the sanitizers' tiny shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from adair_core.bench.case import bytes_of, relative_error
from adair_core.bench.cases.operators import OPERATORS, Operator
from adair_core.ops.native import references_only
from gpu_checks.device import Device

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
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
        trained: which get a gradient.
    """

    name: str
    ours: Callable[..., Tensor]
    plain: Callable[..., Tensor]
    tensors: tuple[Tensor, ...]
    trained: tuple[int, ...]

    def step(self, function: Callable[..., Tensor]) -> list[Tensor]:
        """Result and gradients."""
        inputs = [value.detach().requires_grad_(index in self.trained) for index, value in enumerate(self.tensors)]
        result = function(*inputs)
        weights = torch.cos(torch.arange(result.numel(), device=result.device)).view(result.shape).to(result.dtype)
        return [result.detach(), *torch.autograd.grad(result, [inputs[i] for i in self.trained], weights)]


def problems(device: Device, shapes: tuple[tuple[int, int, int, int], ...]) -> Iterator[Problem]:
    """Every operator in every shape and dtype."""
    for name, operator in OPERATORS.items():
        for shape in dict.fromkeys(shapes):
            for dtype in DTYPES:
                yield _problem(name, operator, shape, dtype, device)


def _problem(
    name: str, operator: Operator, shape: tuple[int, int, int, int], dtype: torch.dtype, device: Device
) -> Problem:
    generator = torch.Generator().manual_seed(0)
    tensors = []
    for index, size in enumerate(operator.shapes(*shape)):
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
    """Errors against float64, ours and PyTorch's own; ours may be twice as large."""
    rows, wrong = {}, []
    for problem in problems(device, TINY if device.rehearsal else (*TINY, LARGE[0], LARGE[3])):
        exact = Problem("", problem.plain, problem.plain, tuple(t.double() for t in problem.tensors), problem.trained)
        wanted = exact.step(exact.plain)
        found = [
            max(relative_error(value, right) for value, right in zip(problem.step(function), wanted, strict=True))
            for function in (problem.ours, problem.plain)
        ]
        rows[problem.name] = {"ours": found[0], "PyTorch": found[1]}
        # The floor is a few roundings: PyTorch's own error may be nil where ours is not.
        if not found[0] <= max(2 * found[1], 4 * torch.finfo(problem.tensors[0].dtype).eps):
            wrong.append(problem.name)
    return {"rows": rows, "failures": wrong}


def equal_bits(device: Device) -> dict[str, Any]:
    """Every kernel twice, with other memory in between."""
    wrong, count = [], 0
    for problem in problems(device, TINY if device.rehearsal else (*TINY, *LARGE[:1], LARGE[3])):
        first = problem.step(problem.ours)
        junk = [torch.full_like(value, float("nan")) for value in first]
        del junk
        count += 1
        if not all(torch.equal(*pair) for pair in zip(first, problem.step(problem.ours), strict=True)):
            wrong.append(problem.name)
    return {"kernels": count, "failures": wrong}


def tiny_once(device: Device) -> dict[str, Any]:
    """Every kernel once on tiny odd shapes: what the sanitizers watch."""
    count = 0
    for problem in problems(device, TINY):
        problem.step(problem.ours)
        count += 1
    device.wait()
    return {"kernels": count, "failures": []}


def times(device: Device) -> dict[str, Any]:
    """Ours and eager PyTorch, beside the time of a copy of the bytes that must be moved."""
    rate = copy_rate(device)
    rows = {}
    for problem in problems(device, TINY[:1] if device.rehearsal else LARGE):
        with torch.no_grad():
            forward = device.seconds(
                {
                    "ours": partial(problem.ours, *problem.tensors),
                    "references": partial(_referenced, problem),
                    "eager": partial(problem.plain, *problem.tensors),
                }
            )
        trained = device.seconds(
            {"ours": partial(problem.step, problem.ours), "eager": partial(problem.step, problem.plain)}
        )
        with torch.no_grad():
            moved = bytes_of([*problem.tensors, problem.plain(*problem.tensors)])
        rows[problem.name] = {
            "forward, us": {name: 1e6 * value for name, value in forward.items()},
            "forward and backward, us": {name: 1e6 * value for name, value in trained.items()},
            "copy of the same bytes, us": 1e6 * moved / rate,
        }
    return {"copied bytes a second": rate, "rows": rows, "failures": []}


def _referenced(problem: Problem) -> Tensor:
    with references_only():
        return problem.ours(*problem.tensors)


def copy_rate(device: Device) -> float:
    """Bytes a second of a large copy, those read and those written."""
    count = 2**16 if device.rehearsal else 2**30
    source = torch.ones(count, dtype=torch.uint8, device=device.name)
    target = torch.empty_like(source)
    return 2 * count / device.seconds({"copy": lambda: target.copy_(source)})["copy"]
