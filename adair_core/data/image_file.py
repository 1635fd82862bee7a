"""An image as it is stored in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
from torch import Tensor

from adair_core.data.pixels import from_batch, to_batch
from adair_core.data.png_chunks import Chunk
from adair_core.errors import DataError, expected

Format = Literal["png", "jpeg", "webp", "tiff", "avif", "gif"]
FORMATS: tuple[Format, ...] = get_args(Format)

SUFFIXES: Mapping[str, Format] = MappingProxyType(
    {
        ".png": "png",
        ".jpg": "jpeg",
        ".jpeg": "jpeg",
        ".webp": "webp",
        ".tif": "tiff",
        ".tiff": "tiff",
        ".avif": "avif",
    }
)
"""File name endings, in lower case, of the formats that are read and written."""

READ_SUFFIXES: Mapping[str, Format] = MappingProxyType({**SUFFIXES, ".gif": "gif"})
"""Those of the formats that are read; GIF's 256 colours hold no restored image."""

ORIENTED: tuple[Format, ...] = ("tiff", "avif")
"""Formats that always say themselves how an image is to be turned; in the others, metadata may."""

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
TiffCompression = Literal["none", "lzw", "deflate", "packbits"]


@dataclass(frozen=True)
class Storage:
    """How a file stores an image, for results of the same format to do the same.

    Attributes:
        lossless: whether decoding gave the pixels that were encoded.
        bits: of a value, if not those of the pixels' type.
        resolution: pixels per millimetre, across and down; None if the file does not say.
        jpeg_tables: quantisation tables, 64 numbers each, in the order that Pillow gives and takes.
        subsampling: of a JPEG's colour; None for gray and for kinds without a usual name.
        is_progressive: of a JPEG.
        tiff_compression: of a TIFF.
        png_chunks: a PNG's chunks about colour and its texts.
        jpeg_comment: a JPEG's.
    """

    lossless: bool = True
    bits: int | None = None
    resolution: tuple[float, float] | None = None
    jpeg_tables: tuple[tuple[int, ...], ...] = ()
    subsampling: Subsampling | None = None
    is_progressive: bool = False
    tiff_compression: TiffCompression = "deflate"
    png_chunks: tuple[Chunk, ...] = ()
    jpeg_comment: bytes = b""


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """Everything about an image but its pixels; see `ImageFile`.

    Attributes:
        height: rows, the right way up.
        width: columns.
        colors: 1 (gray) or 3 (RGB).
        has_alpha: whether it has an alpha channel.
        dtype: of the values.
        format: of the file that it came from.
        metadata: what to keep, byte for byte.
        storage: how the file stores it.
        notes: what reading could not keep, for people.
    """

    height: int
    width: int
    colors: int
    has_alpha: bool
    dtype: np.dtype[Any]
    format: Format = "png"
    metadata: Mapping[str, bytes] = field(default_factory=dict)
    storage: Storage = Storage()
    notes: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """Colours, and one for alpha."""
        return self.colors + self.has_alpha

    def image(self, pixels: npt.NDArray[Any], alpha: npt.NDArray[Any] | None) -> ImageFile:
        """Make an image of these pixels, or rows of one."""
        return ImageFile(
            pixels=pixels,
            alpha=alpha,
            format=self.format,
            metadata=self.metadata,
            storage=self.storage,
            notes=self.notes,
        )

    def blank(self) -> ImageFile:
        """Make an image whose pixels are to be set."""
        size = self.height, self.width
        alpha = np.empty(size, self.dtype) if self.has_alpha else None
        return self.image(np.empty((*size, self.colors), self.dtype), alpha)


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageFile:
    """An image as it is stored, the right way up.

    Attributes:
        pixels: ``(H, W, C)`` uint8, uint16 or float32; C = 1 (gray) or 3 (RGB).
        alpha: ``(H, W)`` of the same type as `pixels`, or None.
        format: of the file that it came from.
        metadata: what to keep, byte for byte: ``icc-profile-data``, ``exif-data``, ``xmp-data``, ``iptc-data``.
        storage: how the file stores it.
        notes: what reading could not keep, such as further pages; for people.
    """

    pixels: npt.NDArray[Any]
    alpha: npt.NDArray[Any] | None = None
    format: Format = "png"
    metadata: Mapping[str, bytes] = field(default_factory=dict)
    storage: Storage = Storage()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        pixels, alpha = self.pixels, self.alpha
        if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
            raise DataError(expected("pixels", expected="(H, W, 1) or (H, W, 3), not empty", got=pixels.shape))
        if pixels.dtype not in (np.uint8, np.uint16, np.float32):
            raise DataError(expected("pixels", expected="uint8, uint16 or float32", got=pixels.dtype))
        if alpha is not None and (alpha.shape != pixels.shape[:2] or alpha.dtype != pixels.dtype):
            wanted, got = f"{pixels.shape[:2]} of {pixels.dtype}", f"{alpha.shape} of {alpha.dtype}"
            raise DataError(expected("alpha", expected=wanted, got=got))

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def info(self) -> ImageInfo:
        """Everything but the pixels."""
        return ImageInfo(
            height=self.height,
            width=self.width,
            colors=int(self.pixels.shape[2]),
            has_alpha=self.alpha is not None,
            dtype=self.pixels.dtype,
            format=self.format,
            metadata=self.metadata,
            storage=self.storage,
            notes=self.notes,
        )

    def rows(self, top: int, bottom: int) -> ImageFile:
        """Rows [top, bottom), without a copy."""
        return replace(
            self, pixels=self.pixels[top:bottom], alpha=None if self.alpha is None else self.alpha[top:bottom]
        )

    def copy_into(self, image: ImageFile, top: int) -> None:
        """Copy these rows into a larger image, from its row `top` on."""
        image.pixels[top : top + self.height] = self.pixels
        if self.alpha is not None and image.alpha is not None:
            image.alpha[top : top + self.height] = self.alpha


class ImageRows(Protocol):
    """An image that gives its rows when it is asked for them: an `ImageFile`, or a file that is decoded meanwhile."""

    @property
    def info(self) -> ImageInfo:
        """Everything but the pixels."""

    def rows(self, top: int, bottom: int) -> ImageFile:
        """Rows [top, bottom).

        Raises:
            DataError: they cannot be decoded.
        """


def to_tensor(image: ImageFile) -> Tensor:
    """Return the colours as ``(1, 3, H, W)`` float32 in [0, 1]; gray gives three equal channels.

    Raises:
        DataError: a float image holds NaN or infinite values.
    """
    return to_batch(image.pixels)[0]


def from_tensor(batch: Tensor, like: ImageFile) -> ImageFile:
    """Return `like` with other colours: the same type, number of channels, alpha, profile and other metadata.

    Args:
        batch: ``(1, 3, H, W)`` float, of the size of `like` if that has alpha.
        like: the image that was restored.

    Raises:
        DataError: the batch does not fit.
    """
    if batch.ndim != 4 or batch.shape[0] != 1:
        raise DataError(expected("batch", expected="(1, 3, H, W)", got=tuple(batch.shape)))
    layout = to_batch(like.pixels[:1, :1])[1]
    pixels = from_batch(batch, layout)
    assert isinstance(pixels, np.ndarray)
    return replace(like, pixels=pixels)
