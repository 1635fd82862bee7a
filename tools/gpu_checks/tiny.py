"""Every kernel on tiny images: what the sanitizers watch, and what must give equal bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from adair_core import ops
from adair_core.bench.cases.operators import EXPANSION, OPERATORS, RANK, Operator, Shapes
from adair_core.ops.per_image import PerImage
from adair_core.ops.registration import CUDA_KERNELS
from gpu_checks.device import Device
from gpu_checks.operators import DTYPES, LARGE, Problem, problem, problems


@dataclass(frozen=True)
class Form:
    """How an operator is called: each reaches other templates of the kernels.

    Attributes:
        shape: channels, height, width and heads.
        dtypes: float16 takes the roads of bfloat16, so the first forms alone have it.
        layout: of the images.
        late: whether each tensor begins one element after a multiple of 16 bytes, as parts of tensors may.
        rank: of adapters; another than the usual one is for operators that have it.
    """

    shape: tuple[int, int, int, int]
    dtypes: tuple[torch.dtype, ...] = DTYPES[:2]
    layout: torch.memory_format = torch.channels_last
    late: bool = False
    rank: int = RANK


FIRST = torch.contiguous_format
FORMS = (
    Form((8, 5, 7, 2), DTYPES),
    Form((16, 3, 33, 1), DTYPES),
    Form((96, 3, 5, 2)),  # the widest fused feed-forward branch
    Form((100, 3, 5, 1)),  # composed; vectors of 16 bytes in float32 alone
    Form((13, 5, 7, 1)),  # no vectors
    Form((16, 4, 8, 2), layout=FIRST),
    Form((13, 5, 7, 1), layout=FIRST),
    Form((16, 4, 8, 2), late=True),
    Form((16, 4, 8, 2), layout=FIRST, late=True),
    *(Form(shape, rank=rank) for shape in ((16, 9, 17, 1), (13, 5, 7, 1)) for rank in (20, 40)),
)


def _operator(ours: Callable[..., Tensor], shapes: Callable[[int, int, int, int], Shapes], **options: bool) -> Operator:
    return Operator(ours, ours, shapes, **options)


ALL_ARGUMENTS = {
    "depthwise": _operator(ops.depthwise, lambda c, h, w, _: ((1, c, h, w), (c, 1, 3, 3), (c,))),
    "depthwise_gate": _operator(ops.depthwise_gate, lambda c, h, w, _: ((1, 4 * c, h, w), (4 * c, 1, 3, 3), (4 * c,))),
    "feed_forward": _operator(
        ops.feed_forward,
        lambda c, h, w, _: (
            *((1, c, h, w), (c,), (c,), (4 * c, c, 1, 1), (4 * c,)),
            *((4 * c, 1, 3, 3), (4 * c,), (c, 2 * c, 1, 1), (c,)),
        ),
    ),
    "attention_branch": _operator(
        ops.attention_branch,
        lambda c, h, w, n: (
            *((1, c, h, w), (c,), (c,), (3 * c, c, 1, 1), (3 * c,)),
            *((3 * c, 1, 3, 3), (3 * c,), (n, 1, 1), (c, c, 1, 1), (c,)),
        ),
        heads=True,
    ),
    "bottleneck": _operator(
        ops.bottleneck,
        lambda c, h, w, _: (
            *((1, c, h, w), (RANK, c, 1, 1), (RANK,), (RANK, 1, 3, 3), (RANK,)),
            *((c, RANK, 1, 1), (c,), (1,), (1, c, h, w), (1, RANK, h, w)),
        ),
    ),
}
"""Operators with the arguments that are left out where they are timed: biases, and what is added."""
BRANCHES = ("attention_branch", "feed_forward")
SIDES = ((16, 3, 9, 2), (96, 3, 5, 2), (100, 3, 5, 1))
"""Of branches whose images differ in parameters."""


def forms(device: Device) -> Iterator[Problem]:
    """Every operator that has a kernel in every form, with the gradients of all of its arguments."""
    for name, operator in OPERATORS.items():
        if name in CUDA_KERNELS:
            for form in FORMS:
                yield from _in_form(name, operator, form, device)
    for name, operator in ALL_ARGUMENTS.items():
        for form in (FORMS[1], FORMS[3], FORMS[4]):
            for each in _in_form(name, operator, form, device):
                yield replace(each, name=f"{each.name}, all arguments")
    for name in BRANCHES:
        for shape in SIDES:
            for dtype in DTYPES[:2]:
                yield _per_image(name, OPERATORS[name], shape, dtype, device)


def _in_form(name: str, operator: Operator, form: Form, device: Device) -> Iterator[Problem]:
    sizes = _sizes(operator, form)
    if form.rank != RANK and sizes == _sizes(operator, replace(form, rank=RANK)):
        return
    for dtype in form.dtypes:
        made = problem(name, operator, sizes, form.shape, dtype, device)
        tensors = list(made.tensors)
        if tensors[0].ndim == 4:
            tensors[0] = tensors[0].contiguous(memory_format=form.layout)
        if form.late:
            tensors = [_late(value) for value in tensors]
        told = f", {'first' if form.layout is FIRST else 'last'}{', late' if form.late else ''}, rank {form.rank}"
        yield replace(made, name=made.name + told, tensors=tuple(tensors), trained=tuple(range(len(tensors))))


def _sizes(operator: Operator, form: Form) -> list[tuple[int, ...]]:
    """Of the tensors. Hidden channels are twice the others: the usual number never makes whole vectors."""
    channels = form.shape[0]
    hidden = int(EXPANSION * channels)
    numbers = {hidden: 2 * channels, 2 * hidden: 4 * channels}
    if form.rank != RANK:  # these shapes have the usual one nowhere else
        numbers[RANK] = form.rank
    return [tuple(numbers.get(n, n) for n in size) for size in operator.shapes(*form.shape)]


def _late(value: Tensor) -> Tensor:
    """The same values and strides in memory that begins one element after where an allocation does."""
    memory = torch.empty(value.numel() + 1, dtype=value.dtype, device=value.device)
    return memory.as_strided(value.shape, value.stride(), 1).copy_(value)


def _per_image(
    name: str, operator: Operator, shape: tuple[int, int, int, int], dtype: torch.dtype, device: Device
) -> Problem:
    """A branch of three images, of which the last two have other parameters than the first; no gradients."""
    image, *others = operator.shapes(*shape)
    made = problem(name, operator, [(3, *image[1:]), *others], shape, dtype, device)

    def both(ours: Any, *tensors: Tensor) -> Tensor:
        x, *parameters = tensors
        result: Tensor = ours(x, *(PerImage([value, 0.5 * value], (1, 2)) for value in parameters))
        return result

    ours = made.ours
    return replace(made, name=f"{made.name}, per image", ours=lambda *tensors: both(ours, *tensors), trained=())


def once(device: Device) -> dict[str, Any]:
    """Run every form once: what the sanitizers watch."""
    count = 0
    for each in forms(device):
        each.step(each.ours)
        count += 1
    device.wait()
    return {"kernels": count, "failures": []}


def equal_bits(device: Device) -> dict[str, Any]:
    """Every form, and large images, twice, with other memory in between."""
    wrong, count = [], 0
    large = () if device.rehearsal else (LARGE[0], LARGE[3])
    # What cuDNN has a part in is to be equal as well, and is where cuDNN is asked for it.
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=torch.backends.cudnn.allow_tf32):
        for each in (*forms(device), *problems(device, large)):
            first = each.step(each.ours)
            junk = [torch.full_like(value, float("nan")) for value in first]
            del junk
            count += 1
            if not all(torch.equal(*pair) for pair in zip(first, each.step(each.ours), strict=True)):
                wrong.append(each.name)
    return {"kernels": count, "failures": wrong}
