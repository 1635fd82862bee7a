"""From an image to a file, a function for each format.

Pillow writes JPEG, where it takes quantisation tables and any subsampling, and WebP; libvips the others, PNG and TIFF
row by row. What libvips would add by itself (72 dpi, EXIF data that say so) is kept out: a file says what its source
said.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, BinaryIO, Literal

import numpy as np
import pyvips
from PIL import Image
from PIL import ImageFile as ImageFileModule

from adair_core.data import exif, iptc
from adair_core.data.image_file import ImageFile, ImageInfo, Subsampling
from adair_core.data.iptc import LONGEST_IN_JPEG
from adair_core.data.pixels import Array
from adair_core.data.png_chunks import Chunk, WithChunks, profile_chunk, resolution_chunk, xmp_chunk
from adair_core.data.tiff_directory import RESOLUTION_UNIT, X_RESOLUTION, Y_RESOLUTION
from adair_core.data.tiff_writing import GrowingTiff
from adair_core.data.vips_target import writing_to

JPEG_QUALITY = 95
XMP_IN_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
"""What XMP data begin with in a segment of a JPEG."""
EXIF_IN_AVIF = 65_000
"""Bytes; libexif, by which libvips writes them, has little more room."""
MM_PER_INCH = 25.4
BAND_FORMATS = {
    "uint8": ("uchar", "b-w", "srgb"),
    "uint16": ("ushort", "grey16", "rgb16"),
    "float32": ("float", "b-w", "scrgb"),
}


def save_png(vips: Any, info: ImageInfo, file: BinaryIO) -> None:
    """Write libvips' image of 8 or 16 bit into a file, row by row.

    Raises:
        pyvips.Error: it cannot be computed.
        OSError: it cannot be written.
    """
    metadata = info.metadata
    chunks = [chunk for chunk in info.storage.png_chunks if chunk.is_about_color]
    if "icc-profile-data" in metadata:
        chunks = [chunk for chunk in chunks if chunk.name != b"sRGB"]  # the standard allows one of the two
        chunks.append(profile_chunk(metadata["icc-profile-data"]))
    if info.storage.resolution is not None:
        chunks.append(resolution_chunk(info.storage.resolution))
    if "exif-data" in metadata:
        chunks.append(Chunk(b"eXIf", metadata["exif-data"].removeprefix(exif.HEADER)))
    if "xmp-data" in metadata:
        chunks.append(xmp_chunk(metadata["xmp-data"]))
    chunks += [chunk for chunk in info.storage.png_chunks if not chunk.is_about_color]
    with writing_to(WithChunks(file, chunks)) as target:
        vips.pngsave_target(target, keep="none")


def too_long_for_jpeg(metadata: Mapping[str, bytes]) -> list[str]:
    """Name the data that a segment of a JPEG cannot hold; profiles may have several."""
    longest = {"XMP": LONGEST_IN_JPEG - len(XMP_IN_JPEG), "EXIF": LONGEST_IN_JPEG}
    return [name for name, most in longest.items() if len(metadata.get(f"{name.lower()}-data", b"")) > most]


def encode_jpeg(image: ImageFile, quality: int | Literal["keep"] | None, subsampling: Subsampling | None) -> bytes:
    """Encode 8 bit without alpha; see `adair_core.data.encoding.Coding`."""
    left_out = [f"{name.lower()}-data" for name in too_long_for_jpeg(image.metadata)]
    image = replace(image, metadata={name: data for name, data in image.metadata.items() if name not in left_out})
    storage = image.storage
    tables = {index: list(table) for index, table in enumerate(storage.jpeg_tables)}
    options: dict[str, Any] = {"quality": quality if isinstance(quality, int) else JPEG_QUALITY}
    if tables and (quality == "keep" or (quality is None and _are_finer(storage.jpeg_tables))):
        options = {"qtables": tables}
    if image.pixels.shape[2] == 3:
        options["subsampling"] = subsampling or storage.subsampling or "4:4:4"
    if storage.resolution is not None:
        options["dpi"] = tuple(value * MM_PER_INCH for value in storage.resolution)
    if storage.is_progressive:
        options["progressive"] = True
    if storage.jpeg_comment:
        options["comment"] = storage.jpeg_comment
    if "xmp-data" in image.metadata:
        options["xmp"] = image.metadata["xmp-data"]
    content = iptc.for_jpeg(image.metadata["iptc-data"]) if "iptc-data" in image.metadata else None
    if content is not None:
        options["extra"] = b"\xff\xed" + (len(content) + 2).to_bytes(2, "big") + content
    return _by_pillow(image, "JPEG", optimize=True, **options, **_exif_and_profile(image))


def encode_webp(image: ImageFile, quality: int | None) -> bytes:
    """Encode 8 bit; without a quality, without loss."""
    options: dict[str, Any] = {"quality": quality}
    if quality is None:
        options = {"lossless": True, "exact": True}  # exact: colours under full transparency too
    if "xmp-data" in image.metadata:
        options["xmp"] = image.metadata["xmp-data"]
    return _by_pillow(image, "WEBP", **options, **_exif_and_profile(image))


def encode_avif(image: ImageFile, quality: int | None) -> bytes:
    """Encode 8 bit, or 10 or 12 of 16; without a quality, without loss."""
    bits = 8
    if image.pixels.dtype == np.uint16:
        bits = image.storage.bits if image.storage.bits in (10, 12) else 12
        image = ImageFile(
            pixels=_narrowed(image.pixels, bits),
            alpha=None if image.alpha is None else _narrowed(image.alpha, bits),
            metadata=image.metadata,
        )
    vips = to_vips(image)
    for name in ("icc-profile-data", "xmp-data"):
        if name in image.metadata:
            vips.set_type(pyvips.GValue.blob_type, name, image.metadata[name])
    vips.set_type(pyvips.GValue.gint_type, "orientation", 1)
    choice: dict[str, Any] = {"lossless": True} if quality is None else {"Q": quality}
    options: dict[str, Any] = {"compression": "av1", "bitdepth": bits, "keep": "icc:xmp", **choice}
    own = image.metadata.get("exif-data", b"")
    if not 0 < len(own) <= EXIF_IN_AVIF:
        return _bytes(vips.heifsave_buffer(**options))
    # libvips writes EXIF data anew, with a resolution and more that it makes up; these are where the own ones fit.
    vips.set_type(pyvips.GValue.blob_type, "exif-data", exif.blank(len(own)))
    content = _bytes(vips.heifsave_buffer(**{**options, "keep": "exif:icc:xmp"}))
    written = pyvips.Image.new_from_buffer(content, "").get("exif-data")
    before, _, after = content.partition(written)
    return before + own.ljust(len(written), b"\0") + after


def save_tiff(vips: Any, info: ImageInfo, file: GrowingTiff) -> None:
    """Write libvips' image of 8 or 16 bit or floats as a file's next page, row by row and without loss.

    Raises:
        pyvips.Error: it cannot be computed.
        OSError: it cannot be written.
    """
    resolution, compression = info.storage.resolution, info.storage.tiff_compression
    across, down = resolution or (1.0, 1.0)  # which libvips writes in any case
    vips = vips.copy(xres=across, yres=down)
    for name in ("icc-profile-data", "xmp-data"):
        if name in info.metadata:
            vips.set_type(pyvips.GValue.blob_type, name, info.metadata[name])
    predictor = "float" if vips.format == "float" else "horizontal"
    page = file.page()
    with writing_to(page) as target:
        vips.tiffsave_target(
            target,
            compression=compression,
            predictor="none" if compression in ("none", "packbits") else predictor,
            bigtiff=file.is_big,
            resunit="inch",
        )
    dropped = (X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT) if resolution is None else ()
    # libvips writes a quarter of the bytes, by a count of 32 bit numbers that libtiff takes for one of bytes.
    told = iptc.for_tiff(info.metadata.get("iptc-data", b""))
    file.finish(page, info.metadata.get("exif-data"), iptc=told, dropped=dropped)


def _are_finer(tables: tuple[tuple[int, ...], ...]) -> bool:
    """Whether JPEG tables keep more than those of `JPEG_QUALITY` do, by the brightness' table."""
    probe = io.BytesIO()
    Image.new("L", (8, 8)).save(probe, "JPEG", quality=JPEG_QUALITY)
    with Image.open(probe) as peer:
        return sum(tables[0]) < sum(peer.quantization[0])  # type: ignore[attr-defined]


def _by_pillow(image: ImageFile, name: str, **options: Any) -> bytes:
    planes = planes_of(image)
    if name == "WEBP" and image.pixels.shape[2] == 1:
        planes = planes[..., [0, 0, 0, 1][: 3 if image.alpha is None else 4]]
    content = io.BytesIO()
    with _room_for(planes.size, sum(map(len, image.metadata.values()))):
        Image.fromarray(planes[..., 0] if planes.shape[2] == 1 else planes).save(content, name, **options)
    return content.getvalue()


@contextlib.contextmanager
def _room_for(values: int, metadata_bytes: int) -> Iterator[None]:
    """Let Pillow's JPEG encoder, which has to have room for all of an optimised file, have that for noise, too."""
    usual = ImageFileModule.MAXBLOCK
    ImageFileModule.MAXBLOCK = max(usual, 2 * values) + metadata_bytes
    try:
        yield
    finally:
        ImageFileModule.MAXBLOCK = usual


def _exif_and_profile(image: ImageFile) -> dict[str, bytes]:
    names = {"exif-data": "exif", "icc-profile-data": "icc_profile"}
    return {names[name]: value for name, value in image.metadata.items() if name in names}


def _narrowed(values: Array, bits: int) -> Array:
    """Round 16 bits to fewer, which stand in the upper bits, where libvips' AVIF writer takes them from."""
    top = 2**bits - 1
    rounded = (values.astype(np.uint32) * top + 32767) // 65535
    narrowed: Array = (rounded << (16 - bits)).astype(np.uint16)
    return narrowed


def to_vips(image: ImageFile) -> Any:
    """Give an image to libvips, which shares its memory."""
    planes = planes_of(image)
    height, width, bands = planes.shape
    return interpreted(pyvips.Image.new_from_memory(planes.data, width, height, bands, band_format(planes.dtype)))


def interpreted(vips: Any) -> Any:
    """Say of libvips' values that they are gray or RGB."""
    _, gray, color = next(row for row in BAND_FORMATS.values() if row[0] == vips.format)
    return vips.copy(interpretation=gray if vips.bands < 3 else color)


def band_format(dtype: np.dtype[Any]) -> str:
    """Libvips' name of a type."""
    return BAND_FORMATS[dtype.name][0]


def planes_of(image: ImageFile) -> Array:
    """Colours and alpha together, ``(H, W, 1 to 4)``."""
    if image.alpha is None:
        return np.ascontiguousarray(image.pixels)
    return np.concatenate([image.pixels, image.alpha[..., None]], axis=2)


def _bytes(content: Any) -> bytes:
    assert isinstance(content, bytes)
    return content
