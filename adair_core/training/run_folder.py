"""The folder that a run lives in: who may use it, where its files are, and what it says when they cannot be written."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from adair_core.atomic_file import remove_leftovers, replacing
from adair_core.errors import RunFolderError
from adair_core.new_folder import make_folder

_held: set[str] = set()  # real paths; fcntl locks are per process: they do not keep this one from itself


class RunFolder:
    """A run folder and its layout.

    Args:
        path: the folder; `claim` creates it.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()
        self.recipe = self.path / "recipe.json"
        self.metrics = self.path / "metrics.jsonl"
        self.events = self.path / "events"
        self.curves = self.path / "curves.png"
        self.preview = self.path / "preview.png"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.safetensors"
        self.best = self.checkpoints / "best.safetensors"

    @contextmanager
    def claim(self, *, resume: bool) -> Iterator[None]:
        """Take the folder for this process as long as the context lasts.

        A folder that this call made and in which no run began is removed again.

        Args:
            resume: whether the folder may already hold a run.

        Raises:
            RunFolderError: it cannot be written, another process uses it, or it holds a run and `resume` is false.
        """
        real = os.path.realpath(self.path)
        if real in _held:
            # Not even opened: closing any handle of the lock's file lets go of the lock that this process has.
            raise self._in_use(_name_of_this())
        is_new = not self.path.exists()
        try:
            make_folder(self.checkpoints)
            lock = (self.path / ".lock").open("a+")
        except OSError as error:
            raise RunFolderError(
                f"run folder {self.path}: cannot be created or written ({_reason(error)}); choose another --out"
            ) from error
        with lock:
            self._lock(lock)
            _held.add(real)
            try:
                self._sign(lock)
                if not resume and (self.recipe.exists() or self.last.exists()):
                    raise RunFolderError(
                        f"run folder {self.path} already holds a run; continue it with --resume, choose another "
                        f"--out, or delete the folder"
                    )
                remove_leftovers(self.path)
                remove_leftovers(self.checkpoints)
                yield
            finally:
                if is_new and not self.recipe.exists():
                    self._remove_unused()
                _held.discard(real)

    def _remove_unused(self) -> None:
        with suppress(OSError):  # a folder that is not empty stays
            (self.path / ".lock").unlink()
            self.checkpoints.rmdir()
            self.path.rmdir()

    def _lock(self, lock: IO[str]) -> None:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise self._in_use(lock.read().strip() or "another process") from error
        except OSError as error:
            raise RunFolderError(f"run folder {self.path}: cannot be locked ({_reason(error)})") from error

    def _in_use(self, owner: str) -> RunFolderError:
        return RunFolderError(
            f"run folder {self.path} is in use by {owner}; wait for that run to end or choose another --out"
        )

    def _sign(self, lock: IO[str]) -> None:
        """Write into the lock who holds it; a buffer would fail on a full disk again when it is closed."""
        try:
            os.ftruncate(lock.fileno(), 0)
            os.write(lock.fileno(), _name_of_this().encode())
        except OSError as error:
            reason = _reason(error)
            raise RunFolderError(
                f"run folder {self.path}: cannot be written ({reason}); choose another --out"
            ) from error

    def read_recipe(self) -> dict[str, Any] | None:
        """Return the recipe that the folder's run was started with, if there is one.

        Raises:
            RunFolderError: it cannot be read.
        """
        try:
            recipe: dict[str, Any] = json.loads(self.recipe.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise RunFolderError(
                f"{self.recipe}: cannot be read ({error}); restore it or choose another --out"
            ) from error
        return recipe


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Write a file of a run.

    Yields:
        A temporary path, as `adair_core.atomic_file.replacing`.

    Raises:
        RunFolderError: the disk is full or may not be written; what `path` held before is untouched.
    """
    try:
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        kept = "the file from before is still there" if path.exists() else "nothing was written"
        raise RunFolderError(
            f"{path}: cannot be written ({_reason(error)}); {kept}; free space or allow writing, then go on with "
            f"--resume"
        ) from error


@contextmanager
def appending(path: Path) -> Iterator[None]:
    """Guard what writes to a file of a run that is open.

    Raises:
        RunFolderError: the disk is full or may not be written.
    """
    try:
        yield
    except OSError as error:
        raise RunFolderError(
            f"{path}: cannot be written ({_reason(error)}); free space, then go on with --resume"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file, all of it or nothing.

    Raises:
        RunFolderError: as `writing`.
    """
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file, all of it or nothing.

    Raises:
        RunFolderError: as `writing`.
    """
    write_text(path, json.dumps(value, indent=2) + "\n")


def _name_of_this() -> str:
    return f"process {os.getpid()} on {os.uname().nodename}"


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return "the disk is full or a size limit is reached"
    return error.strerror or str(error)
