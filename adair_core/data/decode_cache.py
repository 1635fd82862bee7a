"""Decoded images on disk, so that an image is decoded once and not once a patch.

A temporary folder holds the values of each image in a file of its own, which loader processes map into memory and
share. It is removed at exit; what a killed process left is removed by the next one.
"""

from __future__ import annotations

import contextlib
import logging
import math
import mmap
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from adair_core.atomic_file import replacing
from adair_core.data.decoding import MAX_PIXELS, ImageHeader, read_image
from adair_core.data.pixels import Array
from adair_core.data.survey import Rejected, reason_for
from adair_core.errors import DataError

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

CACHE_BYTES = 4 * 2**30
PREFIX = "adair-decoded-"
LOCK = "lock"
OPEN = "open"
CLOSED = "closed"
FLOAT_MARGIN = 1.0
"""How far floating-point values may lie outside [0, 1], as sharpened and high-dynamic-range images do; images of 0 to
255 do more, and a single one would drown all others in the loss."""
DTYPE_OF_SIZE = {1: np.uint8, 2: np.uint16, 4: np.float32}


class DecodeCache:
    """Reads images, each decoded once as long as they fit into the budget.

    Which images are kept is decided from their headers, so that it is the same in every process. Copies in other
    processes use the folder; only the process that made it removes it.

    Args:
        headers: of all images.
        budget: bytes on disk; at most half of what is free. 0 = no cache.
        max_pixels: see `adair_core.data.decoding.MAX_PIXELS`.
    """

    def __init__(self, headers: Sequence[ImageHeader], *, budget: int = CACHE_BYTES, max_pixels: int = MAX_PIXELS):
        self.headers = tuple(headers)
        self.max_pixels = max_pixels
        self.folder: Path | None = None
        self._unusable: dict[int, str] = {}
        self._finalizer: weakref.finalize[Any, Any] | None = None
        if budget > 0:
            self._make_folder()
        free = shutil.disk_usage(self.folder).free // 2 if self.folder else 0
        self.kept = _fitting(headers, min(budget, free))

    def read(self, index: int) -> Array:
        """Return an image's colours.

        Returns:
            ``(H, W, C)`` uint8, uint16 or float32; C = 1 or 3; read-only.

        Raises:
            DataError: the image is damaged; the first process to find out says so.
        """
        if self.folder is None or index not in self.kept:
            return self._decode(index)
        with contextlib.suppress(FileNotFoundError):
            return _map(self.folder / f"{index}.raw", self.headers[index])
        pixels = self._decode(index)
        header = self.headers[index]
        if (pixels.shape, pixels.itemsize) == (header.shape, header.itemsize):  # else the file was changed since
            self._keep(index, pixels)
        return pixels

    def unusable(self) -> list[Rejected]:
        """List the images that decoding, in any process so far, found damaged."""
        reasons = dict(self._unusable)
        if self.folder is not None:
            for marker in self.folder.glob("*.bad"):
                reasons[int(marker.stem)] = marker.read_text(encoding="utf-8", errors="replace")
        return [Rejected(self.headers[index].path, reason) for index, reason in sorted(reasons.items())]

    def close(self) -> None:
        """Remove the folder, if this process made it."""
        if self._finalizer is not None:
            self._finalizer()
            self.folder = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_finalizer": None}

    def _decode(self, index: int) -> Array:
        path = self.headers[index].path
        marker = self.folder / f"{index}.bad" if self.folder else None
        if index in self._unusable or (marker is not None and marker.exists()):
            raise DataError(f"{path}: damaged, as an earlier attempt found")
        try:
            return _in_range(path, read_image(path, max_pixels=self.max_pixels).pixels)
        except DataError as error:
            reason = self._unusable[index] = reason_for(path, error)
            try:
                if marker is not None:
                    with marker.open("x", encoding="utf-8") as stream:
                        stream.write(reason)
            except OSError:
                raise error from None  # another process was first, or the disk is full
            count = len(self.unusable())
            logger.warning("skipped %s (%s), damaged image number %d; other images take its place", path, reason, count)
            raise

    def _keep(self, index: int, pixels: Array) -> None:
        assert self.folder is not None
        if not (self.folder / OPEN).exists():
            return
        try:
            with replacing(self.folder / f"{index}.raw", durable=False) as temporary:
                temporary.write_bytes(pixels.data)
        except OSError as error:
            # Of all the processes that run into the full disk, one succeeds in renaming, and tells.
            with contextlib.suppress(OSError):
                (self.folder / OPEN).rename(self.folder / CLOSED)
                logger.warning("decoded images are no longer kept in %s (%s): slower", self.folder, error.strerror)

    def _make_folder(self) -> None:
        try:
            _remove_abandoned(Path(tempfile.gettempdir()))
            self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
            (self.folder / OPEN).touch()
            lock = _lock(self.folder)
        except OSError as error:
            logger.warning("decoded images are not kept (%s): slower", error)
            self.folder = None
            return
        self._finalizer = weakref.finalize(self, _remove, self.folder, lock, os.getpid())


def _map(path: Path, header: ImageHeader) -> Array:
    """Map a kept image into memory; ten times faster than ``numpy.load``, which parses the shape every time."""
    with path.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapped, DTYPE_OF_SIZE[header.itemsize]).reshape(header.shape)


def _in_range(path: Path, pixels: Array) -> Array:
    if pixels.dtype == np.float32:
        low, high = pixels.min(), pixels.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError(f"{path}: holds NaN or infinite values")
        if low < -FLOAT_MARGIN or high > 1 + FLOAT_MARGIN:
            raise DataError(f"{path}: expected floating-point values of 0 to 1, got {low:.4g} to {high:.4g}")
    return pixels


def _fitting(headers: Sequence[ImageHeader], budget: int) -> frozenset[int]:
    """Choose the images to keep: the first ones, and then every one that still fits."""
    kept = []
    for index, header in enumerate(headers):
        size = math.prod(header.shape) * header.itemsize
        if size <= budget:
            budget -= size
            kept.append(index)
    return frozenset(kept)


def _lock(folder: Path) -> IO[bytes]:
    """Mark a folder as in use for as long as this process, or a child of it, lives."""
    # Locked before it has its name: no other process ever sees the folder with a lock that can be taken.
    unnamed = folder / f"{LOCK}.tmp"
    stream = unnamed.open("wb")
    if sys.platform != "win32":
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(folder / LOCK)
    return stream


def _remove(folder: Path, lock: IO[bytes], process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders whose processes no longer live."""
    if sys.platform == "win32":
        return
    for path in parent.glob(f"{PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError), path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)
