"""The kernels of ``torch.ops.adair_native`` for CUDA devices that the branches are made of, emulated on a CPU.

They take the same arguments, so that all that is composed of them in Python is tested without a device.
"""

from __future__ import annotations

from typing import Any

import emulator
from torch import Tensor


def _call(
    library: str,
    entry: str,
    numbers: dict[str, Any],
    inputs: dict[str, Tensor | None],
    outputs: dict[str, Tensor | None],
) -> None:
    dtype = next(value for value in inputs.values() if value is not None).dtype
    numbers = {"dtype": emulator.DTYPES[dtype], **numbers}
    emulator.run(emulator.library(library, float_only=True), entry, numbers, inputs, outputs, seed=1)


def _sizes(x: Tensor, last: str = "channels") -> dict[str, int]:
    images, height, width, channels = x.shape
    return {"images": images, "height": height, "width": width, "pixels": height * width, last: channels}


def layer_norm2d(x, weight, bias, eps, channels_last, y, mean, rstd) -> None:
    numbers = {**_sizes(x), "channels_last": channels_last, "eps": eps}
    inputs = {"x": x, "weight": weight, "bias": bias}
    _call("layer_norm2d", "layer_norm2d", numbers, inputs, {"y": y, "mean": mean, "rstd": rstd})


def layer_norm2d_backward(gradient, x, weight, mean, rstd, bias_free, channels_last, to_x, to_weight, to_bias) -> None:
    numbers = {**_sizes(x), "channels_last": channels_last, "bias_free": bias_free}
    inputs = {"gradient": gradient, "x": x, "weight": weight, "mean": mean, "rstd": rstd}
    outputs = {"to_x": to_x, "to_weight": to_weight, "to_bias": to_bias}
    _call("layer_norm2d", "layer_norm2d_backward", numbers, inputs, outputs)


def depthwise(x, weight, bias, flipped, channels_last, y) -> None:
    inputs = {"x": x, "weight": weight, "bias": bias}
    numbers = {**_sizes(x), "flipped": flipped, "channels_last": channels_last}
    _call("depthwise", "depthwise", numbers, inputs, {"y": y})


def depthwise_gradients(gradient, x, channels_last, to_weight, to_bias) -> None:
    outputs = {"to_weight": to_weight, "to_bias": to_bias}
    numbers = {**_sizes(gradient), "channels_last": channels_last}
    _call("depthwise", "depthwise_gradients", numbers, {"gradient": gradient, "x": x}, outputs)


def depthwise_gate(x, weight, bias, channels_last, y, convolved) -> None:
    numbers = {**_sizes(y, "hidden"), "channels_last": channels_last}
    inputs = {"x": x, "weight": weight, "bias": bias}
    _call("depthwise_gate", "depthwise_gate", numbers, inputs, {"y": y, "convolved": convolved})


def depthwise_gate_backward(gradient, convolved, x, weight, channels_last, to_x, to_weight, to_bias) -> None:
    numbers = {**_sizes(gradient, "hidden"), "channels_last": channels_last}
    inputs = {"gradient": gradient, "convolved": convolved, "x": x, "weight": weight}
    outputs = {"to_x": to_x, "to_weight": to_weight, "to_bias": to_bias}
    _call("depthwise_gate", "depthwise_gate_backward", numbers, inputs, outputs)


def channel_attention(qkv, temperature, out_weight, out_bias, base, y, cosines, lengths) -> None:
    inputs = {"qkv": qkv, "temperature": temperature, "out_weight": out_weight, "out_bias": out_bias, "base": base}
    numbers = {**_sizes(y), "heads": cosines.shape[1]}
    outputs = {"y": y, "cosines": cosines, "lengths": lengths}
    _call("channel_attention", "channel_attention", numbers, inputs, outputs)


def channel_attention_backward(
    gradient, qkv, temperature, out_weight, cosines, lengths, to_qkv, to_temperature, to_out_weight
) -> None:
    inputs = {"gradient": gradient, "qkv": qkv, "temperature": temperature, "out_weight": out_weight}
    inputs |= {"cosines": cosines, "lengths": lengths}
    numbers = {**_sizes(gradient), "heads": temperature.numel()}
    outputs = {"to_qkv": to_qkv, "to_temperature": to_temperature, "to_out_weight": to_out_weight}
    _call("channel_attention", "channel_attention_backward", numbers, inputs, outputs)


def feed_forward_in_tiles(
    x,
    norm_weight,
    norm_bias,
    eps,
    in_weight,
    in_bias,
    depthwise_weight,
    depthwise_bias,
    out_weight,
    out_bias,
    residual,
    y,
    convolved,
) -> None:
    numbers = {**_sizes(x), "hidden": out_weight.shape[-3], "eps": eps, "residual": residual}
    inputs = {"x": x, "norm_weight": norm_weight, "norm_bias": norm_bias, "in_weight": in_weight, "in_bias": in_bias}
    inputs |= {"depthwise": depthwise_weight, "depthwise_bias": depthwise_bias}
    inputs |= {"out_weight": out_weight, "out_bias": out_bias}
    _call("feed_forward", "feed_forward", numbers, inputs, {"y": y, "convolved": convolved})
