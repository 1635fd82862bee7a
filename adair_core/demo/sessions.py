"""The tabs that are open, and their folders."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from adair_core.demo.limits import Limits
from adair_core.demo.session import GONE, Session
from adair_core.errors import DataError


class Sessions:
    """What every tab has, by the name that its browser gave it.

    Args:
        root: empty folder for everything; who made it removes it.
        limits: how many, and for how long.
        clock: seconds.
    """

    def __init__(self, root: Path, limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.uploads = root / "uploads"
        """Folder of what browsers sent; nothing else is accepted as a photo."""
        self._served, self._private = self.uploads / "served", root / "private"
        for folder in (self._served, self._private):
            folder.mkdir(parents=True)
        self._clock, self._lock = clock, threading.Lock()
        self._open: OrderedDict[str, tuple[Session, float]] = OrderedDict()

    def of(self, key: str) -> Session:
        """A tab's session, new if there is none; others that were quiet for too long are closed."""
        with self._lock:
            session, _ = self._open.pop(key, (None, 0.0))
            now = self._clock()
            if session is None:
                self._sweep()
                # The key came from outside: it names no folder.
                name = secrets.token_hex(16)
                session = Session(self._private / name, self._served / name, self.limits)
            self._open[key] = session, now
            # A tab that waits for its result is not quiet, however long ago it asked.
            quiet = [name for name, (other, _) in self._open.items() if name != key and not other.is_busy]
            for name in quiet:
                if len(self._open) <= self.limits.sessions and not self._is_idle(name, now):
                    break
                self._open.pop(name)[0].close()
            return session

    def uploaded(self, path: str | Path) -> Path:
        """Check that a file is what a browser sent.

        Args:
            path: as the browser says; it may say anything.

        Raises:
            DataError: it is another file, or not there any more.
        """
        real = Path(path).resolve()
        is_sent = real.is_relative_to(self.uploads.resolve()) and not real.is_relative_to(self._served.resolve())
        if not is_sent or not real.is_file():
            raise DataError(GONE)
        return real

    def close(self, key: str | None) -> None:
        """Remove all that a tab had; without a key, that all had."""
        with self._lock:
            for name in list(self._open) if key is None else [key]:
                session, _ = self._open.pop(name, (None, 0.0))
                if session is not None:
                    session.close()

    def _sweep(self) -> None:
        """Remove what browsers sent and no session took, and what Gradio left of uploads."""
        for path in self.uploads.iterdir():
            if path != self._served and time.time() - path.stat().st_mtime > self.limits.idle_seconds:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _is_idle(self, key: str, now: float) -> bool:
        return now - self._open[key][1] > self.limits.idle_seconds
