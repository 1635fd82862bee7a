"""A strength for every pixel, from the gray values of an image.

out = in + m (restored - in),   m = 0 where the map is black, 1 where it is white
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adair_core.data.document import open_document
from adair_core.data.images import ImageInfo, ImageRows, find_images, to_tensor
from adair_core.errors import DataError, expected, listing


class StrengthMap:
    """A map that was opened for an image.

    Args:
        image: the map: gray, of 8 or 16 bits; read by rows.
        height: of the image that is restored.
        width: of the image that is restored.
    """

    def __init__(self, image: ImageRows, height: int, width: int) -> None:
        self._image, self._height, self._width = image, height, width

    def rows(self, top: int, bottom: int) -> Tensor:
        """Rows [top, bottom) of the strengths, ``(1, 1, rows, W)`` in [0, 1]."""
        info = self._image.info
        if (info.height, info.width) == (self._height, self._width):
            return to_tensor(self._image.rows(top, bottom))[:, :1]
        first, below, down = _neighbours(top, bottom, self._height, info.height)
        start = int(first.min())
        values = to_tensor(self._image.rows(start, int(below.max()) + 1))[:, :1]
        # lerp is exact where both values are the same, so black and white stay what they are
        band = torch.lerp(values[:, :, first - start], values[:, :, below - start], down[:, None])
        left, right, across = _neighbours(0, self._width, self._width, info.width)
        return torch.lerp(band[..., left], band[..., right], across)

    def mixed(self, given: Tensor, restored: Tensor, top: int) -> Tensor:
        """Mix rows from `top` on, ``(1, 3, rows, W)``, bit for bit `given` at 0 and `restored` at 1."""
        strengths = self.rows(top, top + restored.shape[2])
        return torch.lerp(given, restored.to(given), strengths.to(given).expand_as(given))


def open_map(path: Path, info: ImageInfo, *, resize: bool, page: int = 0, pages: int = 1) -> StrengthMap:
    """Open a map for an image, or for a page of several.

    Args:
        path: of the map.
        info: about the image.
        resize: whether a map of another size is stretched over the image, bilinearly.
        page: the image's place among its file's pages; a map of several pages has one for each.
        pages: of the image's file.

    Raises:
        DataError: it cannot be read, is not gray of 8 or 16 bits, or is of another size or number of pages.
    """
    maps = open_document(path)
    if len(maps) not in (1, pages):
        wanted = "one page" if pages == 1 else f"one page, or {pages} as the image has"
        raise DataError(expected(f"strength map {path}", expected=wanted, got=f"{len(maps)} pages"))
    image = maps.open(page if len(maps) > 1 else 0)
    own = image.info
    if own.colors != 1 or own.has_alpha or own.dtype.kind != "u":
        kind = f"{'gray' if own.colors == 1 else 'colour'}{' with alpha' if own.has_alpha else ''} of {own.dtype}"
        hint = "convert it to plain gray; white restores, black keeps the input"
        raise DataError(expected(f"strength map {path}", expected="a gray image of 8 or 16 bits", got=kind, hint=hint))
    if not resize and (own.height, own.width) != (info.height, info.width):
        wanted, got = f"{info.width} x {info.height} pixels, as the image", f"{own.width} x {own.height}"
        hint = "--resize-strength-map stretches it"
        raise DataError(expected(f"strength map {path}", expected=wanted, got=got, hint=hint))
    return StrengthMap(image, info.height, info.width)


def maps_for(maps: Path, names: Sequence[Path]) -> list[Path]:
    """Find the map of each image.

    Args:
        maps: a map for all images, or a folder with one of the same name for each, whatever its ending.
        names: of the images, relative to their own folder.

    Raises:
        DataError: there are none, or there are several for an image.
    """
    if not maps.exists():
        raise DataError(f"strength map {maps}: there is no such file or folder")
    if not maps.is_dir():
        return [maps] * len(names)
    found: dict[Path, list[Path]] = {}
    for path in find_images(maps):
        found.setdefault(path.relative_to(maps).with_suffix(""), []).append(path)
    missing = [name for name in names if name.with_suffix("") not in found]
    if missing:
        wanted = f"a map of the same name for each of {len(names)} images"
        raise DataError(expected(f"strength maps in {maps}", expected=wanted, got=f"none for {listing(missing)}"))
    for name in names:
        several = found[name.with_suffix("")]
        if len(several) > 1:
            raise DataError(expected(f"strength maps in {maps}", expected=f"one for {name}", got=listing(several)))
    return [found[name.with_suffix("")][0] for name in names]


def _neighbours(top: int, bottom: int, length: int, own: int) -> tuple[Tensor, Tensor, Tensor]:
    """For places [top, bottom) of `length`, the two of `own` that lie around each, and how far it is to the second."""
    places = ((np.arange(top, bottom) + 0.5) * own / length - 0.5).clip(0, own - 1)
    first = np.floor(places).astype(np.int64)
    second = np.minimum(first + 1, own - 1)
    return torch.from_numpy(first), torch.from_numpy(second), torch.from_numpy((places - first).astype(np.float32))
