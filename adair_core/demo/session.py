"""One tab's photo: what came, what the network made of it, and the files that the page shows."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from adair_core.data.encoding import copy_image, losses, write_image
from adair_core.data.images import SUFFIXES, Format, ImageFile, ImageInfo, open_image
from adair_core.demo.limits import Limits
from adair_core.demo.preview import write_preview
from adair_core.demo.remembered import Remembered
from adair_core.demo.restorer import Restorer
from adair_core.errors import AdairError, DataError, is_out_of_memory
from adair_core.inference import Settings
from adair_core.inference.image_restoring import restore_read
from adair_core.inference.outputs import MARK
from adair_core.model import RestorationModel
from adair_core.model.tiling import OnShare

GONE = "The photo is not here any more. Please choose it again."
SUFFIX: dict[Format, str] = {kind: suffix for suffix, kind in reversed(list(SUFFIXES.items()))}
"""The usual ending of each format that is written."""


@dataclass(frozen=True)
class Shown:
    """What the page shows.

    Attributes:
        before: preview of the photo, in the size of the result.
        after: preview of the result; None = there is none yet.
        download: the result.
        text: for people.
    """

    before: Path
    after: Path | None = None
    download: Path | None = None
    text: str = ""


@dataclass(frozen=True)
class _Photo:
    path: Path
    name: str
    info: ImageInfo
    preview: Path


@dataclass(frozen=True)
class _Result:
    """What the network made of the photo, at every strength."""

    network: Remembered
    settings: Settings
    before: Path
    text: str


class Session:
    """What one tab of a browser has.

    Args:
        private: folder for what is never served; made here.
        served: folder of files that the page links to, by names that nobody can guess; made here.
        limits: of files and images.
    """

    def __init__(self, private: Path, served: Path, limits: Limits) -> None:
        self._private, self._served, self._limits = private, served, limits
        private.mkdir(parents=True)
        served.mkdir(parents=True)
        self._photo: _Photo | None = None
        self._result: _Result | None = None
        self._afters: deque[Path] = deque()
        self._busy = threading.Lock()
        self._is_closed = False

    def receive(self, upload: Path) -> Shown:
        """Take a photo in the place of the last one.

        Args:
            upload: a file of this session's own, which is moved.

        Raises:
            DataError: it cannot be used; says so to people who never heard of adair.
        """
        with self._turn():
            self._forget()
            path = self._private / f"{secrets.token_hex(8)}{upload.suffix.lower()}"
            with _in_plain_words(path):
                shutil.move(upload, path)
                self._limits.check_file(path.stat().st_size)
                image = open_image(path)
                self._limits.check_image(image.info)
                preview = write_preview(self._new_folder() / "before.jpg", image.whole())
            self._photo = _Photo(path, _result_name(upload, image.info), image.info, preview)
            return Shown(preview, text=_described(image.info))

    def restore(self, restorer: Restorer, label: str, strength: float, *, on_share: OnShare | None = None) -> Shown:
        """Restore the photo.

        Args:
            restorer: the network.
            label: of what was chosen.
            strength: 0 to 1.
            on_share: told after each tile how much of it is done.

        Raises:
            DataError: there is no photo, or nothing that can be done with it.
        """

        def tell(share: float) -> None:
            if self._is_closed:  # nobody waits for it any more, others perhaps do
                raise DataError(GONE)
            if on_share is not None:
                on_share(share)

        with self._turn():
            if self._photo is None:
                raise DataError("Please choose a photo first.")
            photo, start = self._photo, time.monotonic()
            with _in_plain_words(photo.path):
                image = open_image(photo.path).whole()
                offer, found = restorer.choose(label, image)
                if offer is None:
                    return Shown(photo.preview, text=found)
                self._limits.check_image(photo.info, scale=offer.scale)
                settings = replace(restorer.settings, scale=offer.scale, strength=1.0)
                with restorer.using(offer) as model:
                    network = Remembered(model, self._private)
                    _restored(network, image, settings, photo.path, on_share=tell)
                before = photo.preview
                if offer.scale > 1:
                    enlarged, _ = _restored(network, image, replace(settings, strength=0.0), photo.path)
                    before = write_preview(self._new_folder() / "before.jpg", enlarged)
                seconds = max(1, round(time.monotonic() - start))
                text = f"{found} Restored with {offer.label} in {seconds}\N{NO-BREAK SPACE}s.".strip()
                if self._result is not None and self._result.before != photo.preview:
                    shutil.rmtree(self._result.before.parent, ignore_errors=True)
                self._result = _Result(network, settings, before, text)
                return self._at(strength, photo, self._result, image)

    def blend(self, strength: float) -> Shown | None:
        """Show what there is at another strength, without the network.

        Args:
            strength: 0 to 1.

        Returns:
            ``None`` if nothing was restored yet, or something is being restored.

        Raises:
            DataError: the result cannot be written.
        """
        if not self._busy.acquire(blocking=False):
            return None
        try:
            photo, result = self._photo, self._result
            if photo is None or result is None:
                return None
            with _in_plain_words(photo.path):
                return self._at(strength, photo, result, open_image(photo.path).whole())
        finally:
            self._busy.release()

    def forget(self) -> None:
        """Remove the photo and all that was made of it.

        Raises:
            DataError: it is being restored.
        """
        with self._turn():
            self._forget()

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits for it."""
        return self._busy.locked()

    def close(self) -> None:
        """Remove everything; what is running ends at its next tile."""
        self._is_closed = True
        for folder in (self._private, self._served):
            shutil.rmtree(folder, ignore_errors=True)

    def _at(self, strength: float, photo: _Photo, result: _Result, image: ImageFile) -> Shown:
        settings = replace(result.settings, strength=strength)
        restored, notes = _restored(result.network, image, settings, photo.path)
        folder = self._new_folder()
        download, kind = folder / photo.name, SUFFIXES[Path(photo.name).suffix.lower()]
        if settings.copies and kind == photo.info.format:
            copy_image(photo.path, download)
        else:
            write_image(download, restored)
        after = write_preview(folder / "after.jpg", restored)
        # A browser may still be loading what the page showed last.
        self._afters.append(folder)
        while len(self._afters) > 2:
            shutil.rmtree(self._afters.popleft(), ignore_errors=True)
        told = "; ".join([*photo.info.notes, *notes, *losses(photo.info, kind)])
        return Shown(result.before, after, download, f"{result.text} Note: {told}." if told else result.text)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise DataError("The last photo is still being restored. Please wait until it is finished.")
        try:
            yield
        finally:
            self._busy.release()

    def _new_folder(self) -> Path:
        # Another name each time: browsers keep what they have loaded under the old one.
        folder = self._served / secrets.token_hex(16)
        folder.mkdir()
        return folder

    def _forget(self) -> None:
        self._photo = self._result = None
        self._afters.clear()
        for folder in (self._private, self._served):
            for path in folder.iterdir() if folder.is_dir() else ():
                shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def _in_plain_words(path: Path) -> Iterator[None]:
    """Leave the names of our own folders out of messages, and say what system errors mean.

    Raises:
        DataError: for every error that can be explained.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(GONE) from error
    except OSError as error:
        raise DataError(f"This photo cannot be worked on here: {error.strerror or error}.") from error
    except AdairError as error:
        text = str(error)
        told = f"This file cannot be used as a photo: {text.replace(f'{path}: ', '')}." if str(path) in text else text
        raise DataError(told.replace(str(path), "this file")) from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise DataError("This photo is too large for the memory of this computer. A smaller copy would do.") from error


def _restored(
    network: Remembered, image: ImageFile, settings: Settings, path: Path, *, on_share: OnShare | None = None
) -> tuple[ImageFile, tuple[str, ...]]:
    """Restore an image as `adair restore` does, by a network that remembers."""
    # Of a model, a restoration of one step takes `restore_rows` alone.
    model = cast(RestorationModel, network)
    return restore_read(model, image, settings, path=path, on_share=on_share)


def _result_name(upload: Path, info: ImageInfo) -> str:
    """``photo.restored.jpg`` for ``photo.jpg``, with the ending of the format that it really has."""
    stem = re.sub(r"[^\w .()+-]", "_", upload.stem)[:80].strip(" .") or "photo"
    own = upload.suffix if SUFFIXES.get(upload.suffix.lower()) == info.format else SUFFIX.get(info.format, ".png")
    return f"{stem}{MARK}{own}"


def _described(info: ImageInfo) -> str:
    """``4,000 x 3,000 pixels, 16 bit TIFF``."""
    bits = info.storage.bits or 8 * info.dtype.itemsize
    depth = f"{bits} bit{' float' if info.dtype.kind == 'f' else ''}"
    gray = "gray " if info.colors == 1 else ""
    return f"{info.width:,} x {info.height:,} pixels, {depth} {gray}{info.format.upper()}"
