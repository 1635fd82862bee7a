"""An image file as a document of pages: which there are, and what is to know before the first is decoded.

A TIFF's pages are the directories of its chain, but for those that say that they are smaller copies or masks of other
pages. Every other format counts as one page; the frames of an animation are no pages.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from adair_core.data.decoding import open_image
from adair_core.data.file_rows import FileRows
from adair_core.data.format import format_in
from adair_core.data.image_file import ImageInfo, Storage
from adair_core.data.tiff_directory import Place, places
from adair_core.errors import AdairError, DataError, expected

REDUCED, MASK = 1, 4
"""Bits of `adair_core.data.tiff_directory.KIND_OF_PAGE`."""


@dataclass(frozen=True)
class Document:
    """An image file with its pages; nothing of them is in memory.

    Attributes:
        path: the file.
        places: of each page, for `open_image`.
        pages: about each page, without metadata.
        metadata_bytes: of all pages together.
        notes: what does not count as a page, for people.
    """

    path: Path
    places: tuple[Place | None, ...]
    pages: tuple[ImageInfo, ...]
    metadata_bytes: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Count the pages."""
        return len(self.places)

    def open(self, index: int) -> FileRows:
        """Open a page; see `open_image`.

        Raises:
            DataError: as `open_image`; the message says which page.
        """
        with self.named(index):
            return open_image(self.path, page=self.places[index])

    @contextlib.contextmanager
    def named(self, index: int) -> Iterator[None]:
        """Say in the message of an error about a page's content which of several pages it is."""
        with _named(self.path, index, len(self)):
            yield


def open_document(path: Path | str, *, page: int | None = None) -> Document:
    """Read the headers of a file's pages.

    Args:
        path: the file.
        page: the only one that is wanted, from 1 on; None = all.

    Raises:
        DataError: a page cannot be read, as far as its header tells, the file says that there are more than it holds,
            or it has no page of that number.
    """
    path = Path(path)
    kind = format_in(path)
    found, notes = _tiff_pages(path) if kind == "tiff" else ((None,), ())
    if page is not None:
        if page > len(found):
            got = f"{len(found)} page{'' if len(found) == 1 else 's'}"
            raise DataError(expected(str(path), expected=f"a file with a page {page}", got=got))
        found = found[page - 1 : page]
        notes = ()  # whoever wants one page knows that there are others
    pages, metadata_bytes = [], 0
    for index, place in enumerate(found):
        with _named(path, index, len(found)):
            info = open_image(path, page=place).info
        metadata_bytes += sum(map(len, info.metadata.values()))
        pages.append(replace(info, metadata={}, storage=Storage(), notes=()))
    return Document(path, found, tuple(pages), metadata_bytes, notes)


def _tiff_pages(path: Path) -> tuple[tuple[Place | None, ...], tuple[str, ...]]:
    with path.open("rb") as stream:
        chain = list(places(stream))
    if chain and chain[-1].following:
        wanted = f"a TIFF file with the page after page {len(chain)} that it names"
        hint = "it was cut off or damaged: copy it again"
        raise DataError(expected(str(path), expected=wanted, got="none there", hint=hint))
    # The first counts as a page whatever it says: there is none without one.
    pages = tuple(place for place in chain if not place.number or not place.kind & (REDUCED | MASK))
    others = len(chain) - len(pages)
    return pages or (None,), (f"smaller copies or masks of pages are left out: {others}",) if others else ()


@contextlib.contextmanager
def _named(path: Path, index: int, count: int) -> Iterator[None]:
    try:
        yield
    except AdairError as error:
        if count == 1 or type(error) not in (AdairError, DataError):
            raise
        message = str(error).removeprefix(f"{path}: ")
        raise type(error)(f"{path}: page {index + 1} of {count}: {message}") from error
