"""Writing image files, whole or not at all."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from adair_core.atomic_file import replacing
from adair_core.data import exif, iptc, xmp
from adair_core.data.encoders import EXIF_IN_AVIF, JPEG_QUALITY, too_long_for_jpeg
from adair_core.data.image_file import ORIENTED, SUFFIXES, Format, ImageFile, ImageInfo
from adair_core.data.page_writing import DEEPEST, ROWWISE, Coding, PageRows, Quality, held_type
from adair_core.data.png_chunks import meaningful_color
from adair_core.data.tiff_writing import GrowingTiff
from adair_core.data.workers import before_computing
from adair_core.errors import DataError, expected

__all__ = ["JPEG_QUALITY", "ROWWISE", "Coding", "Quality", "write_image", "writing_pages", "writing_rows"]

PAGED: tuple[Format, ...] = ("tiff",)
"""Formats that hold several pages."""

COLOR_ALONE: tuple[Format, ...] = ("webp", "avif")
"""Formats that store gray as RGB."""

SPACE_OF_PROFILE = slice(16, 20)
"""Where an ICC profile says what it is of."""

LONGEST: Mapping[Format, int] = {"jpeg": 65500, "webp": 16383, "avif": 16384}
"""Rows and columns that a format holds at most, where that is told before hours of work."""

CLASSIC_TIFF = 2**32 - 2**24
"""Bytes of images from which on a TIFF file gets offsets of 64 bits."""

WriteRows = Callable[[ImageFile], None]
"""Takes the next rows of an image, which its file gets."""

NextPage = Callable[[ImageInfo], AbstractContextManager[WriteRows]]
"""Begins a file's next page; what is to know about its image is known then."""


def write_image(path: Path | str, image: ImageFile, *, overwrite: bool = False, coding: Coding | None = None) -> None:
    """Write an image, in the format that the file name's ending says, whole or not at all.

    PNG, TIFF, WebP and AVIF keep every bit of 8 bit images (the latter two if they are written without loss), PNG and
    TIFF of 16 bit images, TIFF of floats. A deeper image than the format can hold is rounded: JPEG and WebP hold 8
    bits, AVIF 12, PNG 16. Colour profile, EXIF (made to say that the pixels are upright, without its preview), XMP and
    resolution are kept where the format has a place for them, and so is how a file of the same format was stored:
    see `adair_core.data.image_file.Storage`. WebP and AVIF store gray as RGB, and without a profile of gray values.

    Args:
        path: the new file.
        image: what to write.
        overwrite: replace an existing file.
        coding: what is chosen about lossy formats.

    Raises:
        DataError: the file exists, its ending is not known, the format cannot hold the image, or writing failed; an
            existing file is then as it was.
    """
    with writing_rows(path, image.info, overwrite=overwrite, coding=coding) as write:
        write(image)


@contextlib.contextmanager
def writing_rows(
    path: Path | str, info: ImageInfo, *, overwrite: bool = False, coding: Coding | None = None
) -> Iterator[WriteRows]:
    """Write an image as `write_image` does, whose rows come one after another.

    PNG and TIFF are encoded while they come, in a thread of its own and in memory for a few of them. The encoders of
    the other formats take all rows at once, which are kept for them as they will be stored.

    Args:
        path: the new file.
        info: about the image.
        overwrite: replace an existing file.
        coding: what is chosen about lossy formats.

    Yields:
        What takes the rows, in their order. The file gets its name when the context ends well.

    Raises:
        DataError: as `write_image`; rows missing at the end are one, too.
    """
    metadata_bytes = sum(map(len, info.metadata.values()))
    options: dict[str, Any] = {"overwrite": overwrite, "coding": coding, "metadata_bytes": metadata_bytes}
    with writing_pages(path, [info], **options) as next_page, next_page(info) as write:
        yield write


@contextlib.contextmanager
def writing_pages(
    path: Path | str,
    pages: Sequence[ImageInfo],
    *,
    metadata_bytes: int = 0,
    overwrite: bool = False,
    coding: Coding | None = None,
) -> Iterator[NextPage]:
    """Write images as the pages of one file, whose rows come one after another; a TIFF holds more than one.

    Args:
        path: the new file.
        pages: about each image, as far as it is known before: its size, channels and type of values.
        metadata_bytes: of all pages together.
        overwrite: replace an existing file.
        coding: what is chosen about lossy formats.

    Yields:
        What begins a page, and gives what takes its rows. The file gets its name when the context ends well.

    Raises:
        DataError: as `writing_rows`; the format holds one page, or pages are missing at the end.
    """
    path = Path(path)
    kind = _checked(path, pages, overwrite=overwrite)
    before_computing()
    begun = 0
    with _new_file(path, overwrite=overwrite) as file:
        is_big = metadata_bytes + sum(map(_pixel_bytes, pages)) > CLASSIC_TIFF
        target = GrowingTiff(file, is_big=is_big, is_document=len(pages) > 1) if kind == "tiff" else file

        @contextlib.contextmanager
        def next_page(info: ImageInfo) -> Iterator[WriteRows]:
            nonlocal begun
            begun += 1
            metadata = {**info.metadata, **_current_exif(info), **_current_xmp(info, kind)}
            if _stores_gray_of_profile(kind, info):
                del metadata["icc-profile-data"]
            held = replace(info, dtype=held_type(info.dtype, kind), metadata=metadata)
            rows = PageRows(path, kind, held, coding or Coding(), target)
            try:
                yield rows.write
                rows.finish()
            finally:
                rows.close()

        yield next_page
        if begun != len(pages):
            raise DataError(expected(str(path), expected=f"{len(pages)} pages", got=begun))


def copy_image(source: Path, path: Path, *, overwrite: bool = False) -> None:
    """Copy a file byte for byte, whole or not at all.

    Raises:
        DataError: as `write_image`.
    """
    with _new_file(path, overwrite=overwrite) as file, source.open("rb") as content:
        shutil.copyfileobj(content, file)


def losses(info: ImageInfo, kind: Format) -> tuple[str, ...]:
    """Tell what a format cannot keep of an image, for people."""
    notes = []
    size, held = info.dtype.itemsize, 12 if kind == "avif" else 8 * DEEPEST[kind]
    given = info.storage.bits if info.storage.bits in (10, 12) else 8 * size
    if size > 1 and given > held:
        what = "floats were clipped to 0 to 1 and" if size == 4 else f"{given} bits were"
        notes.append(f"{what} rounded to {held} bits")
    if "iptc-data" in info.metadata and not _holds_iptc(kind, info.metadata["iptc-data"]):
        notes.append("without IPTC data")
    if kind == "jpeg":
        notes += [f"without {name} data, which are too long for JPEG" for name in too_long_for_jpeg(info.metadata)]
    if kind == "avif" and len(info.metadata.get("exif-data", b"")) > EXIF_IN_AVIF:
        notes.append("without EXIF data, which are too long for AVIF")
    if _stores_gray_of_profile(kind, info):
        notes.append(f"without the colour profile, which is of gray values: {kind.upper()} stores RGB")
    if info.storage.resolution is not None and kind in ("webp", "avif"):
        notes.append("without the resolution")
    if kind != "jpeg" and info.storage.jpeg_comment:
        notes.append("without the JPEG's comment")
    if kind != "png" and "icc-profile-data" not in info.metadata:
        notes += [f"without PNG's {name.decode()}" for name in meaningful_color(info.storage.png_chunks)]
    return tuple(notes)


def _stores_gray_of_profile(kind: Format, info: ImageInfo) -> bool:
    """Whether the image's profile says what gray values mean, where gray is stored as RGB: no program takes both."""
    return kind in COLOR_ALONE and info.metadata.get("icc-profile-data", b"")[SPACE_OF_PROFILE] == b"GRAY"


def _holds_iptc(kind: Format, data: bytes) -> bool:
    held = {"jpeg": iptc.for_jpeg, "tiff": iptc.for_tiff}.get(kind)
    return held is not None and held(data) is not None


def _checked(path: Path, pages: Sequence[ImageInfo], *, overwrite: bool) -> Format:
    """Find what can be found wrong before anything is written."""
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{path}: expected a file name that ends with {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise DataError(f"{path}: cannot be written: there is no folder {path.parent}")
    if path.exists() and not overwrite:
        raise _exists(path)
    if len(pages) > 1 and kind not in PAGED:
        wanted = f"one page, as {kind.upper()} holds no more"
        raise DataError(expected(str(path), expected=wanted, got=f"{len(pages)} pages", hint="write a TIFF"))
    for info in pages:
        if kind == "jpeg" and info.has_alpha:
            raise DataError(f"{path}: JPEG cannot hold the image's alpha channel; write PNG, WebP, TIFF or AVIF")
        if max(info.height, info.width) > LONGEST.get(kind, math.inf):
            wanted, got = f"at most {LONGEST[kind]:,} rows and columns", f"{info.width} x {info.height}"
            raise DataError(expected(f"{path}: cannot be written", expected=wanted, got=got, hint="write PNG or TIFF"))
    return kind


def _pixel_bytes(info: ImageInfo) -> int:
    return info.height * info.width * info.channels * info.dtype.itemsize


@contextlib.contextmanager
def _new_file(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file that gets its name when it is whole.

    Raises:
        DataError: it exists, or cannot be written; its cause is then the system's error.
    """
    try:
        with replacing(path, overwrite=overwrite) as temporary, temporary.open("r+b") as file:
            yield file
    except FileExistsError as error:  # since somebody looked
        raise _exists(path) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error


def _exists(path: Path) -> DataError:
    return DataError(
        f"{path}: exists already and is not overwritten; choose another name, or overwrite it (--overwrite)"
    )


def _current_exif(info: ImageInfo) -> dict[str, bytes]:
    found = info.metadata.get("exif-data")
    return {} if found is None else {"exif-data": exif.for_pixels(found, height=info.height, width=info.width)}


def _current_xmp(info: ImageInfo, kind: Format) -> dict[str, bytes]:
    found = info.metadata.get("xmp-data")
    if found is None:
        return {}
    found = xmp.for_pixels(found, height=info.height, width=info.width)
    return {"xmp-data": xmp.upright(found) if kind in ORIENTED else found}
