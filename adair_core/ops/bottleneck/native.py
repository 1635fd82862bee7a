"""The bottleneck's native kernels (csrc/bottleneck): a stack of adapters, and the index of each image's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adair_core.ops.layout import memory_format
from adair_core.ops.native import NativeKernel, empty_pixels, gradients, images, parameter, pixels, unsuitable


def run_stack(
    x: Tensor,
    index: Tensor | None,
    stack: tuple[Tensor | None, ...],
    scale: Tensor,
    base: Tensor | None,
    injected: Tensor | None,
    residual: bool,
) -> Tensor:
    """Compute the sums.

    Args:
        x: ``(B, C, H, W)``.
        index: ``(B,)`` int64, the adapter of each image; ``None``: all use the first.
        stack: weights and biases in the order of `bottleneck`, each with a first dimension of K adapters, if K > 1.
        scale: K values.
        base: ``(B, C, H, W)``, what is added.
        injected: ``(B, r, H, W)``, what is added inside.
        residual: whether x is added.
    """
    result = empty_pixels(x, x.shape[1])
    torch.ops.adair_native.bottleneck(
        pixels(x),
        _index(index, x),
        *map(parameter, stack),
        parameter(scale),
        None if injected is None else pixels(injected),
        None if base is None else pixels(base),
        residual,
        result,
    )
    return images(result, memory_format(x))


def differentiate_stack(
    gradient: Tensor,
    x: Tensor,
    index: Tensor | None,
    stack: tuple[Tensor | None, ...],
    scale: Tensor,
    needs_x: bool,
    residual: bool,
) -> tuple[Tensor, ...]:
    """Gradients with respect to x, the stack and the scale; empty where there is nothing."""
    to_x = empty_pixels(x, x.shape[1]) if needs_x else None
    found = [None if value is None else value.new_empty(value.shape, dtype=torch.float32) for value in stack]
    torch.ops.adair_native.bottleneck_backward(
        pixels(gradient), pixels(x), _index(index, x), *map(parameter, stack), parameter(scale), residual, to_x, *found
    )
    # The kernel's gradients are those of s W_up and s b_up.
    wide_scale = scale.to(torch.float32)
    to_scale = torch.zeros_like(wide_scale)
    for place in (4, 5):
        value, to_scaled = stack[place], found[place]
        if value is not None and to_scaled is not None:
            to_scale += (to_scaled * value).flatten(1).sum(1)
            found[place] = to_scaled * _along(wide_scale, value)
    if index is not None:
        # Zero times what is not finite would not be zero.
        unused = torch.isin(torch.arange(len(scale), device=x.device), index.to(x.device), invert=True)
        for value in (*found[4:], to_scale):
            if value is not None:
                value.masked_fill_(_along(unused, value), 0)
    return *gradients(x, to_x, found, stack), to_scale.to(scale.dtype)


def _index(index: Tensor | None, x: Tensor) -> Tensor | None:
    return None if index is None else index.to(x.device).contiguous()


def _along(of_adapters: Tensor, value: Tensor) -> Tensor:
    return of_adapters.view(-1, *[1] * (value.dim() - 1))


def _stack(parameters: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    return tuple(None if value is None else value[None] for value in parameters)


def _forward(x: Tensor, *arguments: Any) -> Tensor:
    *parameters, scale, base, injected, residual = arguments
    return run_stack(x, None, tuple(parameters), scale, base, injected, residual)


def _backward(gradient: Tensor, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    *parameters, scale, _, needs_x, residual = arguments
    found = differentiate_stack(gradient, x, None, _stack(tuple(parameters)), scale.reshape(1), needs_x, residual)
    to_x, *to_parameters, to_scale = found
    return (
        to_x,
        *(value if value.dim() < 2 else value[0] for value in to_parameters),
        to_scale.reshape(scale.shape),
        x.new_empty(0),
    )


_LARGEST_CUDA_RANK = 64


def refusal(x: Tensor, down_weight: Tensor, *_: Any) -> str | None:
    """Why the kernels do not take these images and adapters; `down_weight` is ``(..., r, C, 1, 1)``."""
    if x.is_cuda:
        # More hidden channels do not fit into shared memory, and are the library's matrix products' to win.
        rank = down_weight.shape[-4]
        too_many = f"CUDA kernels take up to {_LARGEST_CUDA_RANK} hidden channels, not {rank}"
        return too_many if rank > _LARGEST_CUDA_RANK else unsuitable(x)
    # Measured on one core with AVX-512, C = 48, 128 x 128, float32: PyTorch 1.3 ms channels first; the kernel 1.2 ms
    # channels last, and 4.7 ms with the two conversions.
    if memory_format(x) != torch.channels_last and x.shape[2] * x.shape[3] > 1:
        return "channels first, PyTorch's convolutions are faster"
    return unsuitable(x)


def backward_refusal(gradient: Tensor, *arguments: Any) -> str | None:  # noqa: ARG001
    """Likewise of the backward pass, whose last arguments are what is injected and two flags."""
    injected = arguments[-3]
    return refusal(*arguments) if injected is None else "the backward kernel takes nothing injected"


FORWARD = NativeKernel(_forward, refusal)
BACKWARD = NativeKernel(_backward, backward_refusal)
