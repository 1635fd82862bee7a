"""Images, and the features of images, that may be larger than memory: read and written by rows.

A map of one image is held in memory while there is room, else in a temporary file without a name, which the system
removes whatever happens to the process. Views (channels, windows, borders, maps beside each other) hold nothing.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from adair_core.errors import AdairError

Border = Literal["reflect", "replicate", "constant"]


class Map(ABC):
    """An image or its features, by rows.

    Attributes:
        channels: C.
        height: H.
        width: W.
        dtype: of the values.
    """

    channels: int
    height: int
    width: int
    dtype: torch.dtype

    @abstractmethod
    def read(self, top: int, bottom: int) -> Tensor:
        """Rows [top, bottom): ``(1, C, bottom - top, W)``; it may not be written to."""

    def _is(self, channels: int, height: int, width: int, dtype: torch.dtype) -> None:
        self.channels, self.height, self.width, self.dtype = channels, height, width, dtype


class Store:
    """Where maps are kept.

    Args:
        room: bytes of maps in memory; those for which there is no room are files.
        working: bytes that the computation of a band of rows may take, about.
        folder: of the files; ``None`` = the system's for temporary files.
    """

    def __init__(self, room: int, working: int, folder: str | None = None) -> None:
        self.room, self.working, self._folder = room, working, folder
        self.written = 0

    def new(self, channels: int, height: int, width: int, dtype: torch.dtype) -> StoredMap:
        """Make a map without values.

        Raises:
            AdairError: there is no file to be had.
        """
        size = channels * height * width * dtype.itemsize
        if size <= self.room:
            self.room -= size
            made = StoredMap(channels, height, width, dtype, None)
            weakref.finalize(made, self._give_back, size)
            return made
        self.written += size
        try:
            file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 (it lives as long as the map)
            # A full disk is found now, and not after an hour.
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise AdairError(_no_file(size, self._folder or tempfile.gettempdir(), error)) from error
        made = StoredMap(channels, height, width, dtype, file.fileno())
        weakref.finalize(made, file.close)
        return made

    def _give_back(self, size: int) -> None:
        self.room += size


def _no_file(size: int, folder: str, error: OSError) -> str:
    return (
        f"features of the whole image: expected {size / 1e9:.2f} GB of room in {folder}, got {error.strerror!r}; point "
        f"TMPDIR to a folder with more room, or restore in tiles"
    )


class StoredMap(Map):
    """A map with values of its own; see `Store.new`."""

    def __init__(self, channels: int, height: int, width: int, dtype: torch.dtype, descriptor: int | None) -> None:
        self._is(channels, height, width, dtype)
        self._descriptor = descriptor
        shape = (0 if descriptor is not None else height, width, channels)
        self._values = torch.empty(shape, dtype=dtype)

    def read(self, top: int, bottom: int) -> Tensor:
        """See `Map.read`."""
        if self._descriptor is None:
            return self._values[top:bottom].permute(2, 0, 1)[None]
        rows = torch.empty((bottom - top, self.width, self.channels), dtype=self.dtype)
        view = rows.flatten().view(torch.uint8).numpy().data
        offset, done = top * self._row_bytes(), 0
        while done < len(view):
            done += os.preadv(self._descriptor, [view[done:]], offset + done)
        return rows.permute(2, 0, 1)[None]

    def write(self, top: int, band: Tensor) -> None:
        """Write rows from `top` on: ``(1, C, rows, W)``."""
        rows = band[0].detach().permute(1, 2, 0).to("cpu", self.dtype)
        if self._descriptor is None:
            self._values[top : top + len(rows)] = rows
            return
        view = rows.contiguous().flatten().view(torch.uint8).numpy().data
        offset, done = top * self._row_bytes(), 0
        while done < len(view):
            done += os.pwrite(self._descriptor, view[done:], offset + done)

    def _row_bytes(self) -> int:
        return self.width * self.channels * self.dtype.itemsize


class Values(Map):
    """A tensor as a map; of several images, too."""

    def __init__(self, image: Tensor) -> None:
        self._image = image
        self._is(image.shape[1], image.shape[2], image.shape[3], image.dtype)

    def read(self, top: int, bottom: int) -> Tensor:
        """See `Map.read`."""
        return self._image[:, :, top:bottom]


class Converted(Map):
    """Another map's values in another type, on the CPU."""

    def __init__(self, of: Map, dtype: torch.dtype) -> None:
        self._of = of
        self._is(of.channels, of.height, of.width, dtype)

    def read(self, top: int, bottom: int) -> Tensor:
        """See `Map.read`."""
        return self._of.read(top, bottom).to("cpu", self.dtype)


class Channels(Map):
    """Some of another map's channels."""

    def __init__(self, of: Map, start: int, stop: int) -> None:
        self._of, self._start, self._stop = of, start, stop
        self._is(stop - start, of.height, of.width, of.dtype)

    def read(self, top: int, bottom: int) -> Tensor:
        """See `Map.read`."""
        return self._of.read(top, bottom)[:, self._start : self._stop]


class Joined(Map):
    """The channels of several maps, one after the other."""

    def __init__(self, parts: Sequence[Map]) -> None:
        self._parts = parts
        first = parts[0]
        self._is(sum(part.channels for part in parts), first.height, first.width, first.dtype)

    def read(self, top: int, bottom: int) -> Tensor:
        """See `Map.read`."""
        return torch.cat([part.read(top, bottom) for part in self._parts], dim=1)


class Window(Map):
    """A rectangle of another map."""

    def __init__(self, of: Map, rows: tuple[int, int], columns: tuple[int, int]) -> None:
        self._of, self._top, self._columns = of, rows[0], columns
        self._is(of.channels, rows[1] - rows[0], columns[1] - columns[0], of.dtype)

    def read(self, top: int, bottom: int) -> Tensor:
        """See `Map.read`."""
        return self._of.read(self._top + top, self._top + bottom)[..., self._columns[0] : self._columns[1]]


class Bordered(Map):
    """Another map with a border, as `torch.nn.functional.pad` makes it.

    Args:
        of: the map.
        border: widths: left, right, top, bottom.
        mode: what is in it.
        value: for ``constant``.
    """

    def __init__(self, of: Map, border: Sequence[int], mode: Border, value: float = 0.0) -> None:
        self._of, self._mode, self._value = of, mode, value
        self._left, self._right, self._top, self._bottom = border
        height, width = of.height + self._top + self._bottom, of.width + self._left + self._right
        self._is(of.channels, height, width, of.dtype)

    def read(self, top: int, bottom: int) -> Tensor:
        """See `Map.read`."""
        inside = self._of.height
        places = [self._place(row - self._top, inside) for row in range(top, bottom)]
        real = [place for place in places if place >= 0]
        first = min(real, default=0)
        band = self._of.read(first, max(real, default=-1) + 1)
        rows = [band[:, :, place - first] if place >= 0 else self._empty() for place in places]
        padded = torch.stack(rows, dim=2)
        if not (self._left or self._right):
            return padded
        columns = [self._place(column - self._left, self._of.width) for column in range(self.width)]
        chosen = padded[..., [max(column, 0) for column in columns]]
        if self._mode == "constant":
            chosen[..., [column < 0 for column in columns]] = self._value
        return chosen

    def _place(self, index: int, length: int) -> int:
        """Where the value of an index comes from; -1 = from nowhere."""
        if 0 <= index < length:
            return index
        if self._mode == "constant":
            return -1
        if self._mode == "replicate":
            return min(max(index, 0), length - 1)
        return -index if index < 0 else 2 * (length - 1) - index

    def _empty(self) -> Tensor:
        return torch.full((1, self._of.channels, self._of.width), self._value, dtype=self.dtype)


WriteBand = Callable[[int, Tensor], None]
"""Takes rows from the first on, one band after another: the first one's number, and ``(B, C, rows, W)``."""


class Gathered:
    """Bands that come one after another, as one tensor.

    Args:
        height: H.

    Attributes:
        values: ``(B, C, H, W)``; None before the first.
    """

    def __init__(self, height: int) -> None:
        self._height = height
        self.values: Tensor | None = None

    def write(self, top: int, band: Tensor) -> None:
        """Take the rows from `top` on; a band of all rows is not copied."""
        if band.shape[2] == self._height:
            self.values = band
            return
        if self.values is None:
            self.values = band.new_empty(*band.shape[:2], self._height, band.shape[3])
        self.values[:, :, top : top + band.shape[2]] = band
