"""Reading, computing and writing at the same time, in an amount of memory that does not grow with the number of files.

One thread reads ahead, the caller's computes, one writes behind. libvips, Pillow and PyTorch let other threads run
while they work.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
ReadT = TypeVar("ReadT")
DoneT = TypeVar("DoneT")

READ_AHEAD = 2
WRITTEN_BEHIND = 2
IN_FLIGHT = 512 * 1024**2
"""Bytes of images between their reading and the end of their writing; a single one may be larger."""


class Room:
    """Counts the bytes of the images that are in memory, and lets readers wait until there is room.

    Args:
        limit: in bytes.
    """

    def __init__(self, limit: int = IN_FLIGHT) -> None:
        self._limit, self._used, self._is_closed = limit, 0, False
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        """Wait until there is room for an image.

        Raises:
            CancelledError: nobody wants it any more.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or not self._used or self._used + size <= self._limit)
            if self._is_closed:
                raise CancelledError
            self._used += size

    def give_back(self, size: int) -> None:
        """Say that an image has left."""
        with self._changed:
            self._used -= size
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()


class Overlap(Generic[T, ReadT, DoneT]):
    """Threads before and behind a computation; to be used in a ``with`` statement, which ends them.

    What was handed to `write` is written even if the statement ends early, by an error or Ctrl-C.

    Args:
        items: in order.
        read: of an item, in the thread that reads.
        room: closed at the end.
    """

    def __init__(self, items: Iterable[T], read: Callable[[T], ReadT], *, room: Room) -> None:
        self._items, self._read, self._room = iter(items), read, room
        self._reader = ThreadPoolExecutor(1, "adair-read")
        self._writer = ThreadPoolExecutor(1, "adair-write")
        self._ahead: deque[tuple[T, Future[ReadT]]] = deque()
        self._behind: deque[Future[DoneT]] = deque()

    def __enter__(self) -> Overlap[T, ReadT, DoneT]:
        return self

    def __exit__(self, *_: object) -> None:
        for _item, future in self._ahead:
            future.cancel()
        self._room.close()
        self._reader.shutdown()
        self._writer.shutdown()

    def read(self) -> Iterator[tuple[T, ReadT]]:
        """The items in order with what was read."""
        while True:
            while len(self._ahead) < READ_AHEAD:
                item = next(self._items, None)
                if item is None:
                    break
                self._ahead.append((item, self._reader.submit(self._read, item)))
            if not self._ahead:
                return
            item, future = self._ahead[0]
            result = future.result()
            self._ahead.popleft()
            yield item, result

    def write(self, work: Callable[[], DoneT]) -> None:
        """Let the thread that writes do something, after what it got before."""
        self._behind.append(self._writer.submit(work))

    def written(self, *, wait: bool = False) -> Iterator[DoneT]:
        """What `write`'s work returned, in order, once each.

        Args:
            wait: for all of it; otherwise only for what is too far behind.
        """
        while self._behind and (wait or len(self._behind) > WRITTEN_BEHIND or self._behind[0].done()):
            result = self._behind[0].result()
            self._behind.popleft()
            yield result


@contextlib.contextmanager
def given_back(room: Room, size: int) -> Iterator[None]:
    """Give room back when the context ends."""
    try:
        yield
    finally:
        room.give_back(size)
