"""Restoring a document page by page, each from rows to rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adair_core.data.document import Document
from adair_core.data.encoding import PAGED, losses, writing_pages
from adair_core.data.images import SUFFIXES, ImageRows
from adair_core.errors import DataError, expected, listing
from adair_core.inference.image_restoring import bands, part_of, restore_rows, restored_info
from adair_core.inference.outputs import Job
from adair_core.inference.settings import Settings
from adair_core.inference.step import adapters_of
from adair_core.inference.strength_map import open_map
from adair_core.model.restoration_model import RestorationModel
from adair_core.model.tiling import OnShare
from adair_core.new_folder import make_folder


@dataclass(frozen=True)
class Chosen:
    """How an image is to be restored.

    Attributes:
        adapter: name of the model's adapter; ``None`` = the image is left alone.
        why: for people.
    """

    adapter: str | None
    why: str

    @property
    def adapters(self) -> dict[str, float]:
        """As a step of restoring has them."""
        return {} if self.adapter is None else {self.adapter: 1.0}


Choose = Callable[[ImageRows], Chosen]
"""Looks at an image and chooses its adapter."""


def check_pages(document: Document, job: Job) -> None:
    """Refuse a document whose result could hold one of its pages only.

    Raises:
        DataError: its message says what can be done.
    """
    kind = SUFFIXES[job.output.suffix.lower()]
    if len(document) > 1 and kind not in PAGED:
        wanted, got = f"one page, as {kind.upper()} holds no more", f"{len(document)} pages"
        hint = "write a TIFF (--suffix .tif), or choose a page (--page 1)"
        raise DataError(expected(str(job.source), expected=wanted, got=got, hint=hint))


def restore_pages(
    model: RestorationModel,
    document: Document,
    job: Job,
    settings: Settings,
    choices: Sequence[Chosen],
    on_share: OnShare | None,
) -> tuple[str, ...]:
    """Read, restore and write a document, none of whose pages is in memory as a whole, if its formats allow that.

    Args:
        model: the network.
        document: what is read.
        job: where the result goes.
        settings: how.
        choices: an adapter for each page; none = the active ones for all. A page without one is stored as it is.
        on_share: told how much of the document is done.

    Returns:
        What people should know.

    Raises:
        AdairError: a page cannot be read, restored or written; there is no result then.
    """
    make_folder(job.output.parent)
    kind = SUFFIXES[job.output.suffix.lower()]
    results = [restored_info(page, settings.enlargement) for page in document.pages]
    sizes = list(itertools.accumulate((page.height * page.width for page in document.pages), initial=0))
    told: list[tuple[str, ...]] = []

    def restore_page(index: int) -> tuple[str, ...]:
        image = document.open(index)
        chosen = choices[index] if choices else None
        if chosen is not None and chosen.adapter is None:
            with next_page(image.info) as write:
                for band in bands(image):
                    write(band)
            return (f"left alone: {chosen.why}", *image.info.notes, *losses(image.info, kind))
        strengths = None
        if job.strength_map is not None:
            place = {"page": index, "pages": len(document)}
            strengths = open_map(job.strength_map, image.info, resize=settings.resize_map, **place)
        adapters = None if chosen is None else chosen.adapters
        with adapters_of(adapters, model), next_page(restored_info(image.info, settings.enlargement)) as write:
            notes = restore_rows(
                model,
                image,
                write,
                settings,
                path=job.source,
                strengths=strengths,
                on_share=part_of(on_share, sizes[index] / sizes[-1], sizes[index + 1] / sizes[-1]),
            )
        why = () if chosen is None else (chosen.why,)
        return (*why, *image.info.notes, *notes, *losses(image.info, kind))

    with writing_pages(
        job.output,
        results,
        metadata_bytes=document.metadata_bytes,
        overwrite=settings.overwrite,
        coding=settings.coding,
    ) as next_page:
        for index in range(len(document)):
            with document.named(index):
                told.append(restore_page(index))
    return (*notes_of_pages(told), *document.notes)


def notes_of_pages(notes: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Say what is to say about every page once, and about some, with their numbers.

    >>> notes_of_pages([("became gray", "cut off"), ("became gray",)])
    ('became gray', 'page 1: cut off')
    """
    places: dict[str, list[int]] = {}
    for number, of_page in enumerate(notes, 1):
        for note in of_page:
            places.setdefault(note, []).append(number)
    return tuple(
        note if len(pages) == len(notes) else f"page{'s' * (len(pages) > 1)} {listing(pages)}: {note}"
        for note, pages in places.items()
    )
