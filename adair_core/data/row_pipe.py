"""Rows of an image on their way to an encoder of libvips, which asks for them by itself.

A thread of its own encodes. It reads the rows from a pipe, as a PNG file without compression whose gray pixels are the
rows' bytes: of what libvips reads from a stream, row by row, every build of it knows this format, and for all types
of values.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyvips

from adair_core.data.encoders import band_format, interpreted, planes_of
from adair_core.data.image_file import ImageFile, ImageInfo
from adair_core.data.png_chunks import SIGNATURE, Chunk

READ_AT_ONCE = 2**20
WRITTEN_AT_ONCE = 2**22
"""Bytes, about."""


class RowPipe:
    """Takes an image's rows while another thread encodes them.

    Args:
        info: about the image.
        save: encodes libvips' image.
    """

    def __init__(self, info: ImageInfo, save: Callable[[Any], None]) -> None:
        self._info, self._save = info, save
        self._failure: BaseException | None = None
        self._stored = zlib.compressobj(0)
        self._out, self._in = os.pipe()
        self._is_open = True
        self._thread = threading.Thread(target=self._encode, name="adair-encode", daemon=True)
        self._thread.start()
        size = struct.pack(">IIBBBBB", info.width * self._pixel_bytes, info.height, 8, 0, 0, 0, 0)
        self._put(SIGNATURE + Chunk(b"IHDR", size).to_bytes())

    def write(self, rows: ImageFile) -> None:
        """Hand rows over; waits until the encoder has taken nearly all of them.

        Raises:
            Exception: what encoding raised.
        """
        step = max(1, WRITTEN_AT_ONCE // (rows.width * self._pixel_bytes))
        for top in range(0, rows.height, step):
            planes = planes_of(rows.rows(top, min(top + step, rows.height)))
            filtered = np.zeros((len(planes), 1 + rows.width * self._pixel_bytes), np.uint8)  # each row by filter 0
            filtered[:, 1:] = planes.view(np.uint8).reshape(len(planes), -1)
            self._put_pixels(self._stored.compress(filtered.data))

    def finish(self) -> None:
        """Wait until all rows are encoded.

        Raises:
            Exception: what encoding raised.
        """
        self._put_pixels(self._stored.flush())
        self._put(Chunk(b"IEND", b"").to_bytes())
        self.close()
        self._raise()

    def close(self) -> None:
        """End the thread. An image that has not all its rows is a failure of its encoder's."""
        if self._is_open:
            self._is_open = False
            os.close(self._in)
            self._thread.join()

    @property
    def _pixel_bytes(self) -> int:
        return self._info.channels * self._info.dtype.itemsize

    def _put_pixels(self, content: bytes) -> None:
        if content:
            self._put(Chunk(b"IDAT", content).to_bytes())

    def _put(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            self._raise()
            view = view[os.write(self._in, view[:READ_AT_ONCE]) :]

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _encode(self) -> None:
        try:
            self._save(self._image())
        except BaseException as error:
            self._failure = error
        finally:
            # Whoever writes would wait for ever, were the rest not read.
            with contextlib.suppress(OSError):
                while os.read(self._out, READ_AT_ONCE):
                    pass
            os.close(self._out)

    def _image(self) -> Any:
        source = pyvips.Source.new_from_descriptor(self._out)
        stream = pyvips.Image.pngload_source(source, access="sequential", fail_on="error")
        folded = stream.bandfold(factor=self._pixel_bytes)
        return interpreted(folded.copy(bands=self._info.channels, format=band_format(self._info.dtype)))
