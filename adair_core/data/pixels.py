"""Between the images that people hold, arrays and tensors of any usual kind, and the ``(B, 3, H, W)`` float inside.

    uint8, uint16:  x = v / (2**bits - 1),  v = round(clip(x, 0, 1) * (2**bits - 1))
    float:          x = v, and back unclipped

A gray image becomes three equal channels, and the mean of the three restored channels on the way back. An alpha
channel is no colour: it is put aside and comes back as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from einops import rearrange
from torch import Tensor

from adair_core.errors import DataError, expected

Array: TypeAlias = npt.NDArray[Any]
Image: TypeAlias = Array | Tensor

FULL_SCALE = {torch.uint8: 255.0, torch.uint16: 65535.0}
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
KINDS = "uint8, uint16 or floating point"
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the gray of BT.601, in full range, as OpenCV converts colour to gray."""


@dataclass(frozen=True, eq=False)
class Layout:
    """What an image looked like before `to_batch`: what `from_batch` needs to give the same kind back.

    Attributes:
        is_array: a numpy array ``(H, W)`` or ``(H, W, C)``, else a tensor ``(B, C, H, W)``.
        ndim: dimensions of the image.
        dtype: of the image.
        array_dtype: of the array, which may have another byte order than `dtype` can say.
        device: of the tensor.
        colors: 1 or 3.
        alpha: ``(B, 1, H, W)`` of `dtype`, or None.
    """

    is_array: bool
    ndim: int
    dtype: torch.dtype
    array_dtype: np.dtype[Any] | None
    device: torch.device
    colors: int
    alpha: Tensor | None


def to_batch(image: Image) -> tuple[Tensor, Layout]:
    """Turn an image into the network's input.

    Args:
        image: array ``(H, W)`` or ``(H, W, C)`` or tensor ``(B, C, H, W)``; C is 1 (gray), 2 (gray and alpha), 3 (RGB)
            or 4 (RGB and alpha); uint8, uint16 or float. Floats mean [0, 1]; values outside are kept.

    Returns:
        ``(B, 3, H, W)`` float32 on the image's device, and what `from_batch` needs.

    Raises:
        DataError: another shape or type, an empty image, or floats that are not finite.
    """
    is_array = isinstance(image, np.ndarray)
    array_dtype = image.dtype if isinstance(image, np.ndarray) else None
    if isinstance(image, np.ndarray):
        tensor = _tensor_of(image)
    elif isinstance(image, Tensor):
        tensor = image.detach()
    else:
        raise DataError(expected("image", expected="a numpy array or a torch tensor", got=type(image).__name__))
    if tensor.dtype not in (*FULL_SCALE, *FLOATS):
        raise DataError(expected("image", expected=KINDS, got=tensor.dtype, hint="convert it first"))
    if tensor.ndim != 4 or tensor.shape[1] not in (1, 2, 3, 4) or 0 in tensor.shape:
        wanted = "an array (H, W) or (H, W, C) or a tensor (B, C, H, W), with C = 1, 2, 3 or 4 and no empty side"
        raise DataError(expected("image", expected=wanted, got=f"shape {tuple(image.shape)}"))
    colors = 1 if tensor.shape[1] <= 2 else 3
    alpha = tensor[:, colors:].clone() if tensor.shape[1] in (2, 4) else None
    batch = to_unit(tensor[:, :colors])
    if tensor.dtype in FLOATS and not bool(torch.isfinite(batch).all()):
        raise DataError("image: holds NaN or infinite values; replace them before restoring")
    layout = Layout(is_array, image.ndim, tensor.dtype, array_dtype, tensor.device, colors, alpha)
    return batch.expand(-1, 3, -1, -1).contiguous(), layout


def from_batch(batch: Tensor, layout: Layout) -> Image:
    """Turn the network's output into the kind of image that `to_batch` was given.

    Args:
        batch: ``(B, 3, H, W)`` float; H and W may differ from the original's if that had no alpha channel.
        layout: what `to_batch` returned.

    Returns:
        An array or tensor of the original's type, device and number of channels; integers rounded and clipped.

    Raises:
        DataError: the batch's shape does not fit.
    """
    if batch.ndim != 4 or batch.shape[1] != 3:
        raise DataError(expected("batch", expected="(B, 3, H, W)", got=tuple(batch.shape)))
    if layout.alpha is not None and layout.alpha.shape[-2:] != batch.shape[-2:]:
        wanted = f"the alpha channel's size {tuple(layout.alpha.shape[-2:])}"
        raise DataError(expected("batch", expected=wanted, got=tuple(batch.shape[-2:])))
    colors = from_unit(to_gray(batch) if layout.colors == 1 else batch, layout.dtype).to(layout.device)
    image = colors if layout.alpha is None else torch.cat([colors, layout.alpha], dim=1)
    if not layout.is_array:
        return image
    array: Array = rearrange(image, "1 c h w -> h w c").contiguous().cpu().numpy()
    array = array.astype(layout.array_dtype, copy=False)
    return array[..., 0] if layout.ndim == 2 else array


def to_unit(image: Tensor) -> Tensor:
    """Scale integers to float32 in [0, 1]; convert floats to float32 as they are."""
    scale = FULL_SCALE.get(image.dtype)
    values = image.to(torch.float32)
    return values if scale is None else values / scale


def from_unit(image: Tensor, dtype: torch.dtype) -> Tensor:
    """Scale [0, 1] to an integer type, clipped and rounded to the nearest; convert to a float type as it is."""
    scale = FULL_SCALE.get(dtype)
    if scale is None:
        return image.to(dtype)
    # fp16 and bf16 cannot hold every 8 or 16 bit level
    return image.to(torch.float32).nan_to_num(0.0).clamp(0, 1).mul(scale).round().to(torch.int32).to(dtype)


def quantized(image: Tensor) -> Tensor:
    """Round to the nearest of 256 levels, as saving to 8 bits does.

    Args:
        image: any shape, float; what lies outside [0, 1] is clipped.
    """
    return (image.clamp(0, 1) * 255).round() / 255


def to_gray(image: Tensor) -> Tensor:
    """Average ``(B, 3, H, W)`` to ``(B, 1, H, W)``; exact where the three channels are equal."""
    red, green, blue = image[:, 0:1], image[:, 1:2], image[:, 2:3]
    return red + ((green - red) + (blue - red)) / 3


def _tensor_of(array: Array) -> Tensor:
    """View or copy an array as ``(1, C, H, W)``."""
    if array.ndim not in (2, 3) or array.dtype.kind not in "uf" or array.dtype.itemsize > 8:
        got = f"shape {array.shape} of {array.dtype}"
        raise DataError(expected("image", expected=f"(H, W) or (H, W, C), {KINDS}", got=got))
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    if not native.flags.writeable:  # torch warns about sharing memory that it may not write to
        native = native.copy()
    tensor = torch.from_numpy(native)
    return rearrange(tensor, "h w -> 1 1 h w" if tensor.ndim == 2 else "h w c -> 1 c h w")
