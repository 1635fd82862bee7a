"""Between a video's frames and arrays of RGB.

    y = Kr R + (1 - Kr - Kb) G + Kb B,   cb = (B - y) / (2 - 2 Kb),   cr = (R - y) / (2 - 2 Kr)
    limited range:  Y = (16 + 219 y) 2^(n-8),   C = (128 + 224 c) 2^(n-8)
    full range:     Y = (2^n - 1) y,            C = 2^(n-1) + (2^n - 1) c
    gray, R, G, B:  V = (2^n - 1) v

swscale only changes how much colour is subsampled and how values are packed, and takes gray for full range, as we do,
whatever a video says. The matrix is applied here, in float32: swscale dithers whatever it
makes of 16 bits, and frames that a network has just denoised should not get a pattern.

Source: ITU-R BT.601-7, BT.709-6 and BT.2020-2; ISO/IEC 23091-2 for the numbers of the matrices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from adair_core.errors import DataError

if TYPE_CHECKING:
    from av import VideoFormat, VideoFrame

Floats = npt.NDArray[np.float32]

BICUBIC, FULL_CHROMA, ACCURATE = 4, 0x2000 | 0x4000, 0x40000
FLAGS = BICUBIC | FULL_CHROMA | ACCURATE
"""swscale's."""

FULL = 2
BT709, BT601 = (0.2126, 0.0722), (0.299, 0.114)
MATRICES: Mapping[int, tuple[float, float]] = {
    1: BT709,
    4: (0.30, 0.11),
    5: BT601,
    6: BT601,
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
"""Kr and Kb by the number that frames have."""

DEPTHS = (8, 9, 10, 12, 14, 16)
"""Bits of the values of formats that hold every value of others."""

FEW_BITS = (5, 6)
"""Bits of RGB in 16, whose largest value swscale makes white on the way to packed RGB, and not to planes."""

HD_ROWS = 720
"""Videos that do not say their matrix are taken for BT.709 from this height on and for BT.601 below, as players do."""


@dataclass(frozen=True)
class ColorCoding:
    """What a video's numbers mean, or would as YUV if they are gray or RGB.

    Attributes:
        weights: Kr and Kb.
        is_full: full range, not limited.
    """

    weights: tuple[float, float] = BT601
    is_full: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> ColorCoding:
        """Read it from a frame."""
        guess = BT709 if frame.height >= HD_ROWS else BT601
        is_full = int(frame.color_range) == FULL or frame.format.name.startswith("yuvj")
        return cls(MATRICES.get(int(frame.colorspace), guess), is_full and family_of(frame.format) == "yuv")

    @property
    def matrix(self) -> int:
        """The number of the weights."""
        return next(number for number, weights in MATRICES.items() if weights == self.weights)


def to_rgb(frame: VideoFrame, coding: ColorCoding) -> Floats:
    """Convert a frame to ``(H, W, 3)``, 0 = black, 1 = white; brighter than white stays so."""
    family, bits = family_of(frame.format), _depth(frame.format)
    if family == "rgb" and bits_of(frame.format) in FEW_BITS:
        frame = frame.reformat(format="rgb24")
    whole = frame.reformat(format=_whole_format(frame.format), interpolation=FLAGS)
    planes = [_values(plane, bits) for plane in whole.planes[:3]]
    if family == "gray":
        return np.repeat((planes[0] / np.float32(2**bits - 1))[..., None], 3, axis=2)
    if family == "rgb":
        green, blue, red = (plane / np.float32(2**bits - 1) for plane in planes)
        return np.stack([red, green, blue], axis=2)
    offsets, spans = _ranges(bits, coding)
    luma, cb, cr = ((plane - offset) / span for plane, offset, span in zip(planes, offsets, spans, strict=True))
    weight_r, weight_b = (np.float32(weight) for weight in coding.weights)
    red = luma + (2 - 2 * weight_r) * cr
    blue = luma + (2 - 2 * weight_b) * cb
    green = (luma - weight_r * red - weight_b * blue) / (1 - weight_r - weight_b)
    return np.stack([red, green, blue], axis=2)


def from_rgb(values: Floats, pixel_format: str, coding: ColorCoding) -> VideoFrame:
    """Convert ``(H, W, 3)`` to a frame of a pixel format, rounded and clipped."""
    import av

    layout = av.VideoFormat(pixel_format)
    family, bits = family_of(layout), _depth(layout)
    top = 2**bits - 1
    red, green, blue = (values[..., channel] for channel in range(3))
    weight_r, weight_b = (np.float32(weight) for weight in coding.weights)
    luma = weight_r * red + (1 - weight_r - weight_b) * green + weight_b * blue
    if family == "rgb":
        planes = [plane * top for plane in (green, blue, red)]
    elif family == "gray":
        planes = [luma * top]
    else:
        parts = (luma, (blue - luma) / (2 - 2 * weight_b), (red - luma) / (2 - 2 * weight_r))
        offsets, spans = _ranges(bits, coding)
        planes = [part * span + offset for part, offset, span in zip(parts, offsets, spans, strict=True)]
    frame = av.VideoFrame(values.shape[1], values.shape[0], _whole_format(layout))
    for target, plane in zip(frame.planes, planes, strict=True):
        _fill(target, np.clip(np.rint(plane), 0, top), bits)
    return frame.reformat(format=pixel_format, interpolation=FLAGS)


def family_of(layout: VideoFormat) -> Literal["rgb", "gray", "yuv"]:
    """How a format says colours; palettes hold RGB."""
    if layout.is_rgb or layout.has_palette:
        return "rgb"
    return "gray" if len(layout.components) < 3 else "yuv"


def bits_of(layout: VideoFormat) -> int:
    """Bits of a value."""
    return max(int(component.bits) for component in layout.components)


def _depth(layout: VideoFormat) -> int:
    """Bits of a value in the whole format."""
    bits = bits_of(layout)
    depth = next((depth for depth in DEPTHS if depth >= bits), None)
    if depth is None:
        raise DataError(f"frames of {layout.name}: expected values of at most {DEPTHS[-1]} bits, got {bits}")
    return depth


def _whole_format(layout: VideoFormat) -> str:
    """The format of planes that holds every value, without subsampling."""
    if layout.name.startswith("yuvj"):
        return "yuvj444p"
    name, bits = {"rgb": "gbrp", "gray": "gray", "yuv": "yuv444p"}[family_of(layout)], _depth(layout)
    return name if bits == 8 else f"{name}{bits}le"


def _ranges(bits: int, coding: ColorCoding) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Where zero is, and how many steps one is, of brightness and of the two differences."""
    if coding.is_full:
        middle, top = 2.0 ** (bits - 1), 2.0**bits - 1
        return (0.0, middle, middle), (top, top, top)
    step = 2.0 ** (bits - 8)
    return (16 * step, 128 * step, 128 * step), (219 * step, 224 * step, 224 * step)


def _values(plane: Any, bits: int) -> Floats:
    dtype = np.dtype(np.uint8 if bits == 8 else "<u2")
    rows = np.frombuffer(plane, dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
    return rows[:, : plane.width].astype(np.float32)


def _fill(plane: Any, values: npt.NDArray[Any], bits: int) -> None:
    dtype = np.dtype(np.uint8 if bits == 8 else "<u2")
    rows = np.zeros((plane.height, plane.line_size // dtype.itemsize), dtype)
    rows[:, : plane.width] = values
    plane.update(rows.tobytes())
