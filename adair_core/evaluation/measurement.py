"""What happens to an image between the network and a metric: quantisation, colour space, border."""

from __future__ import annotations

import torch
from torch import Tensor

from adair_core.data.pixels import LUMA, quantized
from adair_core.errors import DataError, expected
from adair_core.specs import Protocol


def luma(image: Tensor) -> Tensor:
    """Compute the Y channel of BT.601 in studio range, MATLAB's ``rgb2ycbcr``.

    ``Y = (65.481 R + 128.553 G + 24.966 B + 16) / 255``: black is 16/255, white is 235/255.

    Args:
        image: ``(B, 3, H, W)``, float RGB in [0, 1].

    Returns:
        ``(B, 1, H, W)``.

    >>> luma(torch.ones(1, 3, 1, 1)).mul(255).item()
    235.0
    """
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64, device=image.device)
    y = (image.double() * weights.view(3, 1, 1)).sum(1, keepdim=True) + 16
    return (y / 255).to(image.dtype)


def with_mean_of(image: Tensor, target: Tensor) -> Tensor:
    """Scale an image so that its mean gray level is the target's: `Protocol.ground_truth_mean`.

    ``clip(image * mean(gray(target)) / mean(gray(image)))``, as KinD (Zhang, Zhang, Guo 2019) and LLFlow (Wang et al.
    2022) measure low-light enhancement; the result is told what it had to find out.

    Args:
        image: ``(1, 3, H, W)``, float RGB; what lies outside [0, 1] is clipped first.
        target: the same shape.

    Returns:
        The same shape, float64 in [0, 1]; a black image stays black.
    """
    image = image.double().clamp(0, 1)
    weights = torch.tensor(LUMA, dtype=torch.float64, device=image.device).view(3, 1, 1)
    mean, wanted = ((each.double() * weights).sum(1).mean() for each in (image, target))
    return image if mean == 0 else (image * (wanted / mean)).clamp(0, 1)


def measured(image: Tensor, protocol: Protocol, *, name: str = "image") -> Tensor:
    """Bring an image into the form in which a protocol compares it.

    With `Protocol.quantize`, luma is rounded a second time: MATLAB's ``rgb2ycbcr`` of an 8-bit image is 8-bit again,
    and the luma numbers of SRCNN, VDSR and of deraining papers were computed so. Those of RCAN, SwinIR and their
    descendants were not: rounding adds 1/6 to the mean squared error in levels and takes 0.03 dB at 34 dB, 0.07 at 38.

    Args:
        image: ``(1, 3, H, W)``, float RGB.
        protocol: says what to do.
        name: of the image, for messages.

    Returns:
        ``(1, 3 or 1, H - 2 crop, W - 2 crop)``, float64.

    Raises:
        DataError: the border crop leaves nothing.
    """
    image = image.double()
    if protocol.quantize:
        image = quantized(image)
    if protocol.color == "y":
        image = luma(image)
        if protocol.quantize:
            image = quantized(image)
    height, width = image.shape[-2:]
    crop = protocol.crop
    if min(height, width) <= 2 * crop:
        wanted = f"more than {2 * crop} pixels a side, since the protocol removes {crop} from each border"
        raise DataError(expected(name, expected=wanted, got=f"{width} x {height}"))
    return image[..., crop : height - crop, crop : width - crop]


def cropped_to_multiple(image: Tensor, multiple: int, *, name: str = "image") -> Tensor:
    """Remove rows at the bottom and columns at the right until both sides are multiples, as MATLAB's ``modcrop``.

    Args:
        image: ``(B, C, H, W)``.
        multiple: of which H and W are to be multiples.
        name: of the image, for messages.

    Raises:
        DataError: a side is shorter than `multiple`.
    """
    height, width = image.shape[-2:]
    if min(height, width) < multiple:
        raise DataError(expected(name, expected=f"at least {multiple} pixels a side", got=f"{width} x {height}"))
    return image[..., : height - height % multiple, : width - width % multiple]
