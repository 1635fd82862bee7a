"""How an operator of the namespace ``adair`` is made known to PyTorch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from adair_core.ops.native import NativeKernel, refusal
from adair_core.ops.transforms import need_reference, one_by_one, refuse_tangents

NAMESPACE = "adair"

Operator = Callable[..., Any]


class _Library(torch.library.Library):
    """Operators whose gradients refuse what they would get wrong silently: differentiation in forward mode."""

    def impl(self, op_name: Any, fn: Any, dispatch_key: Any = "", **options: Any) -> Any:
        if dispatch_key == "Autograd":
            fn = refuse_tangents(op_name, fn)
        return super().impl(op_name, fn, dispatch_key, **options)  # type: ignore[no-untyped-call]


_LIBRARY = _Library(NAMESPACE, "FRAGMENT")  # type: ignore[no-untyped-call]

KERNELS: dict[str, NativeKernel] = {}
"""The native kernel for CPUs of each operator that has one."""
CUDA_KERNELS: dict[str, NativeKernel] = {}
"""Likewise for CUDA devices."""


def define(
    schema: str,
    *,
    reference: Operator,
    fake: Operator,
    native: NativeKernel | None = None,
    cuda: NativeKernel | None = None,
) -> Operator:
    """Define an operator with its reference as the kernel of every device, and its native kernels where those fit.

    Args:
        schema: such as ``"scale(Tensor x, float factor) -> Tensor"``.
        reference: the arithmetic in plain PyTorch. Its outputs must have the strides that `fake` says.
        fake: makes outputs of the right shape, dtype and strides, without values.
        native: the kernel for CPUs, for the arguments that it takes.
        cuda: the kernel for CUDA devices, likewise.

    Returns:
        The operator, callable; where PyTorch transforms the call in a way that operators have no rule for, it is the
        reference.
    """
    name = schema.partition("(")[0]
    plain = _without_autocast(reference)
    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))  # type: ignore[no-untyped-call]
    _LIBRARY.impl(name, plain, "CompositeExplicitAutograd")
    for device, key, kernels, kernel in (("cpu", "CPU", KERNELS, native), ("cuda", "CUDA", CUDA_KERNELS, cuda)):
        if kernel is not None:
            kernels[name] = kernel
            _LIBRARY.impl(name, _without_autocast(_choose(kernel, reference, device)), key)
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=_LIBRARY)
    operator: Operator = getattr(getattr(torch.ops, NAMESPACE), name).default
    torch.library.register_vmap(f"{NAMESPACE}::{name}", one_by_one(operator), lib=_LIBRARY)

    @functools.wraps(reference)
    def call(*arguments: Any) -> Any:
        return plain(*arguments) if need_reference(arguments) else operator(*arguments)

    return call


def define_gradient(name: str, *, setup_context: Operator, backward: Operator) -> None:
    """Tie an operator to its gradient.

    Args:
        name: of the operator.
        setup_context: ``setup_context(ctx, inputs, output)`` saves what `backward` needs.
        backward: ``backward(ctx, *gradients)`` returns a gradient, or ``None``, for each input.
    """
    torch.library.register_autograd(f"{NAMESPACE}::{name}", backward, setup_context=setup_context, lib=_LIBRARY)


def refuse_gradient(name: str) -> None:
    """Make differentiating an operator an error; PyTorch would only warn and give no gradient."""

    def backward(ctx: Any, *gradients: Tensor | None) -> Any:  # noqa: ARG001
        raise RuntimeError(
            f"{NAMESPACE}::{name} has no derivative: expected second derivatives to be taken through the public "
            f"function with create_graph=True, got a direct call of the backward operator"
        )

    torch.library.register_autograd(f"{NAMESPACE}::{name}", backward, lib=_LIBRARY)


def reference_gradients(
    reference: Operator, inputs: Sequence[Any], gradient: Tensor, needs: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """Differentiate a reference, so that the result can be differentiated again.

    The backward operators have no derivative of their own; a backward pass with ``create_graph=True`` comes here.

    Args:
        reference: ``reference(*inputs)`` returns a tensor, or a tuple whose first is the differentiable one.
        inputs: its arguments.
        gradient: of the output.
        needs: which arguments need a gradient.

    Returns:
        A gradient for each needed argument, ``None`` for the others.
    """
    with torch.enable_grad():
        # An alias each, so that a tensor that is given as two arguments gets two gradients, not twice their sum.
        aliases = [value.view_as(value) if need else value for value, need in zip(inputs, needs, strict=True)]
        output = reference(*aliases)
        output = output if isinstance(output, Tensor) else output[0]
        wanted = [alias for alias, need in zip(aliases, needs, strict=True) if need]
        if not output.requires_grad:
            # Nothing that the output was made of needs a gradient, such as an adapter that no image uses.
            return tuple(torch.zeros_like(value) if need else None for value, need in zip(inputs, needs, strict=True))
        found = iter(
            torch.autograd.grad(output, wanted, gradient, create_graph=True, allow_unused=True, materialize_grads=True)
        )
    return tuple(next(found) if need else None for need in needs)


def _choose(native: NativeKernel, reference: Operator, device: str) -> Operator:
    """The native kernel for what it takes, the reference for the rest: by the arguments alone, so always the same."""

    @functools.wraps(reference)
    def kernel(*arguments: Any) -> Any:
        refused = refusal(native, *arguments, device=device)
        return native.run(*arguments) if refused is None else reference(*arguments)

    return kernel


def _without_autocast(kernel: Operator) -> Operator:
    """Keep a surrounding autocast from rounding the float32 parts of a reference."""

    @functools.wraps(kernel)
    def wrapper(*arguments: Any) -> Any:
        device = next(argument for argument in arguments if isinstance(argument, Tensor)).device.type
        if not torch.is_autocast_enabled(device):
            return kernel(*arguments)
        with torch.autocast(device, enabled=False):
            return kernel(*arguments)

    return wrapper
