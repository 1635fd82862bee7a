"""Writing image files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyvips
import torch

from adair_core.atomic_file import replacing
from adair_core.data.decoding import reason_of
from adair_core.data.image_file import SUFFIXES, Format, ImageFile
from adair_core.data.pixels import Array, from_unit, to_unit
from adair_core.data.workers import before_computing
from adair_core.errors import DataError

JPEG_QUALITY = 95
BLOB_METADATA = ("exif-data", "icc-profile-data", "xmp-data", "iptc-data")


def write_image(path: Path | str, image: ImageFile, *, overwrite: bool = False, quality: int | None = None) -> None:
    """Write an image, in the format that the file name's ending says, whole or not at all.

    PNG and TIFF keep every bit of 8 and 16 bit images, TIFF of float images too, WebP (without `quality`) of 8 bit
    images. A deeper image than the format can hold is rounded: JPEG and WebP hold 8 bits, PNG 16. The colour profile is
    kept, and so are EXIF data (not in TIFF) and resolution (not in WebP). WebP stores gray as RGB.

    Args:
        path: the new file.
        image: what to write.
        overwrite: replace an existing file.
        quality: 1 to 100, for JPEG (95 if None) and WebP (lossless if None).

    Raises:
        DataError: the file exists, its ending is not known, the format cannot hold the image, or writing failed; an
            existing file is then as it was.
    """
    path = Path(path)
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{path}: expected a file name that ends with {', '.join(SUFFIXES)}")
    if quality is not None and not 1 <= quality <= 100:
        raise DataError(f"quality: expected 1 to 100, got {quality}")
    if kind == "jpeg" and image.alpha is not None:
        raise DataError(f"{path}: JPEG cannot hold the image's alpha channel; write PNG, WebP or TIFF")
    if not path.parent.is_dir():
        raise DataError(f"{path}: cannot be written: there is no folder {path.parent}")
    if path.exists() and not overwrite:
        raise _exists(path)
    before_computing()
    try:
        with replacing(path, overwrite=overwrite) as temporary:
            _save(temporary, _to_vips(image, kind), kind, quality)
    except pyvips.Error as error:
        reason = reason_of(error).replace(str(temporary), path.name)
        raise DataError(f"{path}: cannot be written: {reason}") from error
    except FileExistsError as error:  # since we looked
        raise _exists(path) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error


def _exists(path: Path) -> DataError:
    return DataError(
        f"{path}: exists already and is not overwritten; choose another name, or overwrite it (--overwrite)"
    )


def _save(path: Path, image: Any, kind: Format, quality: int | None) -> None:
    name = str(path)
    if kind == "png":
        image.pngsave(name)
    elif kind == "jpeg":
        image.jpegsave(name, Q=quality or JPEG_QUALITY)
    elif kind == "webp" and quality is None:
        image.webpsave(name, lossless=True, exact=True)  # exact: colours under full transparency too
    elif kind == "webp":
        image.webpsave(name, Q=quality)
    else:
        predictor = "float" if image.format == "float" else "horizontal"
        image.tiffsave(name, compression="deflate", predictor=predictor)


def _to_vips(image: ImageFile, kind: Format) -> Any:
    planes = image.pixels if image.alpha is None else np.concatenate([image.pixels, image.alpha[..., None]], axis=2)
    planes = np.ascontiguousarray(_rounded(planes, kind))
    height, width, bands = planes.shape
    names = {
        "uint8": ("uchar", "b-w", "srgb"),
        "uint16": ("ushort", "grey16", "rgb16"),
        "float32": ("float", "b-w", "scrgb"),
    }
    band_format, gray, color = names[planes.dtype.name]
    vips = pyvips.Image.new_from_memory(planes.data, width, height, bands, band_format)
    horizontal, vertical = image.resolution
    vips = vips.copy(interpretation=gray if bands < 3 else color, xres=horizontal, yres=vertical)
    for name, value in image.metadata.items():
        is_blob = name in BLOB_METADATA
        vips.set_type(pyvips.GValue.blob_type if is_blob else pyvips.GValue.gstr_type, name, value)
    if "exif-data" in image.metadata:
        vips.set_type(pyvips.GValue.gint_type, "orientation", 1)  # or the old tag inside the EXIF data would live on
    return vips


def _rounded(planes: Array, kind: Format) -> Array:
    """Round to the deepest type that the format holds."""
    deepest = {"png": 2, "jpeg": 1, "webp": 1, "tiff": 4}[kind]
    if planes.dtype.itemsize <= deepest:
        return planes
    dtype = torch.uint8 if deepest == 1 else torch.uint16
    rounded: Array = from_unit(to_unit(torch.from_numpy(np.ascontiguousarray(planes))), dtype).numpy()
    return rounded
