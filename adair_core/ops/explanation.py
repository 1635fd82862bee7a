"""Which kernel an operator runs on a device, and why not the native one: for people, by trying arguments."""

from __future__ import annotations

from typing import Any

import torch

from adair_core.ops.native import refusal, unsuitable
from adair_core.ops.registration import CUDA_KERNELS, KERNELS, NAMESPACE

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
REFERENCE_ONLY = "there is no native kernel"


def operators() -> list[str]:
    """The names of all operators, without the namespace."""
    names: list[str] = torch._C._dispatch_get_all_op_names()
    return sorted(name.partition("::")[2] for name in names if name.startswith(f"{NAMESPACE}::"))


def why_reference(
    operator: str, dtype: torch.dtype, layout: torch.memory_format = torch.channels_last, device: str = "cpu"
) -> str | None:
    """Why an operator runs its reference for a small image; ``None``: its native kernel runs.

    Args:
        operator: without the namespace.
        dtype: of the image and all parameters.
        layout: of the image.
        device: ``"cpu"`` or ``"cuda"``.

    Raises:
        UsageError: ADAIR_CPU_CAPABILITY names no instruction set.
    """
    kernel = (KERNELS if device == "cpu" else CUDA_KERNELS).get(operator)
    if kernel is None:
        return REFERENCE_ONLY
    schema = getattr(getattr(torch.ops, NAMESPACE), operator).default._schema
    image = torch.zeros(1, 8, 8, 8, dtype=dtype, device=device).contiguous(memory_format=layout)
    arguments = [_sample(str(argument.type), image) for argument in schema.arguments]
    try:
        return refusal(kernel, *arguments, device=device)
    except (IndexError, RuntimeError, TypeError, ZeroDivisionError):
        # It looks at how shapes fit together, and these do not.
        return unsuitable(image)


def _sample(kind: str, image: torch.Tensor) -> Any:
    if kind.startswith("Optional"):
        return None  # what is left out in most calls
    if "Tensor" in kind:
        return [image] if "List" in kind else image
    value: Any = {"float": 1.0, "bool": True}.get(kind.removeprefix("List[").rstrip("]"), 1)
    return [value] * 16 if kind.startswith("List") else value
