"""XMP data: brought up to date for pixels that were turned, enlarged or restored, and otherwise left byte for byte.

    XMP data = XML; a property of namespace N is <n:Name>value</n:Name>, or n:Name="value" within an element, where
               xmlns:n="N" says what n stands for

Source: ISO 16684-1, section 7; the properties are those of the namespaces tiff and exif in Adobe's XMP specification,
part 2.
"""

from __future__ import annotations

import re

TIFF, EXIF = b"http://ns.adobe.com/tiff/1.0/", b"http://ns.adobe.com/exif/1.0/"
ORIENTATION = (TIFF, b"Orientation")
WIDTHS, HEIGHTS = (
    ((TIFF, b"ImageWidth"), (EXIF, b"PixelXDimension")),
    ((TIFF, b"ImageLength"), (EXIF, b"PixelYDimension")),
)
UPRIGHT = 1


def upright(data: bytes) -> bytes:
    """Say in XMP data that the pixels are the right way up, if they say anything about it.

    For images that say so at another place, too. Where XMP data alone say how an image is to be turned, most programs
    do not turn it, and what they say stays.
    """
    return _with_number(data, *ORIENTATION, UPRIGHT)


def for_pixels(data: bytes, *, height: int, width: int) -> bytes:
    """Say in XMP data how many pixels there are, if they say anything about it.

    What is not written in UTF-8 stays as it is.
    """
    for names, number in ((WIDTHS, width), (HEIGHTS, height)):
        for namespace, name in names:
            data = _with_number(data, namespace, name, number)
    return data


def _with_number(data: bytes, namespace: bytes, name: bytes, number: int) -> bytes:
    for prefix in set(re.findall(rb"""xmlns:([\w.-]+)\s*=\s*["']%b["']""" % re.escape(namespace), data)):
        value = rb"""(?<![\w.:-])(%b:%b(?:\s*=\s*["']|\s*>)\s*)\d+""" % (re.escape(prefix), name)
        data = re.sub(value, rb"\g<1>%d" % number, data)
    return data
