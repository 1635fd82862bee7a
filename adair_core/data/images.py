"""Image files: find, read, write, and turn into tensors; what the other parts of adair import."""

from __future__ import annotations

from adair_core.data.decoding import MAX_PIXELS, ImageHeader, open_image, read_header, read_image
from adair_core.data.encoding import write_image, writing_rows
from adair_core.data.folders import find_images, find_others
from adair_core.data.image_file import (
    FORMATS,
    READ_SUFFIXES,
    SUFFIXES,
    Format,
    ImageFile,
    ImageInfo,
    ImageRows,
    Storage,
    Subsampling,
    from_tensor,
    to_tensor,
)

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "READ_SUFFIXES",
    "SUFFIXES",
    "Format",
    "ImageFile",
    "ImageHeader",
    "ImageInfo",
    "ImageRows",
    "Storage",
    "Subsampling",
    "find_images",
    "find_others",
    "from_tensor",
    "open_image",
    "read_header",
    "read_image",
    "to_tensor",
    "write_image",
    "writing_rows",
]
