"""Restoring files, image after image and video after video; a bad one does not stop the others."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from adair_core.atomic_file import remove_abandoned
from adair_core.data.document import Document, open_document
from adair_core.data.encoding import PAGED, ROWWISE, copy_image, losses, write_image
from adair_core.data.images import READ_SUFFIXES, SUFFIXES, ImageFile, ImageInfo
from adair_core.errors import DataError, Interrupted
from adair_core.inference.file_result import FileResult, OnResult, failure_of
from adair_core.inference.image_restoring import WHOLE, bytes_as_a_whole, restore_read
from adair_core.inference.outputs import Job, check_jobs
from adair_core.inference.overlap import Overlap, Room, given_back
from adair_core.inference.pages import Choose, Chosen, check_pages, notes_of_pages, restore_pages
from adair_core.inference.settings import Settings
from adair_core.inference.step import adapters_of
from adair_core.inference.strength_map import open_map
from adair_core.inference.video import restore_video
from adair_core.model.restoration_model import RestorationModel
from adair_core.model.tiling import OnShare
from adair_core.new_folder import make_folder


@dataclass(frozen=True)
class _Work:
    """An image on its way from file to file.

    Attributes:
        job: which.
        image: as read, or opened where it is large or has several pages; later as restored. None = the file is copied,
            or `result` says what became of it.
        choices: of adapters, one for each page; none = the active ones.
        notes: what people should know.
        size: bytes of room that it takes.
        seconds: that it took so far.
        result: set where the way has ended.
    """

    job: Job
    image: ImageFile | Document | None = None
    choices: tuple[Chosen, ...] = ()
    notes: tuple[str, ...] = ()
    size: int = 0
    seconds: float = 0.0
    result: FileResult | None = None


def restore_files(
    model: RestorationModel,
    jobs: Sequence[Job],
    settings: Settings | None = None,
    *,
    choose: Choose | None = None,
    on_result: OnResult | None = None,
    on_share: OnShare | None = None,
) -> list[FileResult]:
    """Restore files with the model's active adapters.

    Gray images stay gray, 16 bit images 16 bit (where the output's format can hold it); alpha, colour profile, EXIF and
    so on are kept (`adair_core.data.encoding.write_image`). A file that cannot be read, restored or written is reported
    and the others go on, unless the disk is full. The next image is read and the last one written while one is
    restored. What a killed run left half written is removed.

    Args:
        model: the network.
        jobs: what `adair_core.inference.plan` says.
        settings: how.
        choose: chooses the adapter for each image; ``None`` = the active ones. No videos then.
        on_result: told about each file, in order.
        on_share: told after each tile of a large image, and each frame of a video, how much of it is done.

    Returns:
        A result for each file, in the order of `jobs`; fewer if it stopped at one that failed.

    Raises:
        UsageError: a strength map for results that are larger than their inputs, or `choose` and a video.
        Interrupted: by Ctrl-C; what was restored by then is written.
        AdairError: the network's output is not finite, or another error that is not a file's.
    """
    settings = settings or Settings()
    check_jobs(jobs, settings, chooses=choose is not None)
    for folder in dict.fromkeys(job.output.parent for job in jobs):
        if folder.is_dir():
            remove_abandoned(folder)
    results: list[FileResult] = []
    try:
        for result in _results(model, jobs, settings, choose, on_share):
            results.append(result)
            if on_result is not None:
                on_result(result, len(results), len(jobs))
    except KeyboardInterrupt:
        done = sum(result.status != "failed" for result in results)
        hint = "the same command with --skip-existing goes on"
        raise Interrupted(f"interrupted: {done} of {len(jobs)} done; {hint}") from None
    return results


def _results(
    model: RestorationModel,
    jobs: Sequence[Job],
    settings: Settings,
    choose: Choose | None,
    on_share: OnShare | None,
) -> Iterator[FileResult]:
    room = Room()
    stopping = False

    def read(job: Job) -> _Work:
        return _read(job, settings, room)

    with Overlap[Job, _Work, FileResult](jobs, read, room=room) as overlap:
        try:
            for job, work in overlap.read():
                if job.is_video and work.result is None:
                    restored = replace(work, result=_video(model, job, settings, on_share))
                else:
                    restored = _restore(model, _with_choices(work, choose), settings, room, on_share)
                overlap.write(partial(_write, restored, settings, room))
                # what failed already is not waited for: the next image would be restored meanwhile
                stopping = restored.result is not None and _stops(restored.result, settings)
                for result in overlap.written():
                    stopping = stopping or _stops(result, settings)
                    yield result
                if stopping:
                    break
        except KeyboardInterrupt:
            yield from overlap.written(wait=True)
            raise
        yield from overlap.written(wait=True)


def _stops(result: FileResult, settings: Settings) -> bool:
    return result.is_disk_full or (settings.fail_fast and result.status == "failed")


def _read(job: Job, settings: Settings, room: Room) -> _Work:
    start = time.perf_counter()
    if settings.skip_existing and job.output.exists():
        return _Work(job, result=_skipped(job))
    size = 0
    try:
        if os.path.lexists(job.output) and not settings.overwrite:  # a link to nothing too has the name
            hint = "choose another output, or overwrite it (--overwrite)"
            raise DataError(f"{job.output}: exists already and is not overwritten; {hint}")
        if job.is_video:
            return _Work(job)
        document = open_document(job.source, page=settings.page)
        check_pages(document, job)
        largest = max(document.pages, key=lambda page: page.height * page.width * page.dtype.itemsize)
        wanted = largest.height * largest.width * 4 * largest.dtype.itemsize * (1 + settings.enlargement**2)
        room.take(wanted)
        size = wanted
        is_large = bytes_as_a_whole(largest, settings.enlargement) > WHOLE
        held = document if is_large or len(document) > 1 else document.open(0).whole()
        return _Work(job, held, size=size, seconds=time.perf_counter() - start)
    except Exception as error:
        room.give_back(size)
        return _Work(job, result=failure_of(job, error, time.perf_counter() - start))


def _with_choices(work: _Work, choose: Choose | None) -> _Work:
    """Let each page choose its adapter."""
    if choose is None or work.image is None:
        return work
    start = time.perf_counter()
    job, image = work.job, work.image
    try:
        pages = [image] if isinstance(image, ImageFile) else map(image.open, range(len(image)))
        choices = tuple(choose(page) for page in pages)
    except Exception as error:
        return replace(work, image=None, result=failure_of(job, error, work.seconds + time.perf_counter() - start))
    work = replace(work, choices=choices, seconds=work.seconds + time.perf_counter() - start)
    if all(chosen.adapter is None for chosen in choices):
        why = "; ".join(notes_of_pages([(chosen.why,) for chosen in choices]))
        return replace(work, image=None, result=FileResult(job.source, job.output, "left alone", why, work.seconds))
    return work


def _restore(model: RestorationModel, work: _Work, settings: Settings, room: Room, on_share: OnShare | None) -> _Work:
    image, job = work.image, work.job
    if image is None:
        return work
    start = time.perf_counter()
    kind = SUFFIXES[job.output.suffix.lower()]
    info = image.info if isinstance(image, ImageFile) else image.pages[0]
    keeps_pages = settings.page is None or info.format not in PAGED
    if settings.copies and kind == info.format and settings.coding.is_default and keeps_pages:
        # Decoding and encoding again would change the bits of lossy formats.
        return replace(work, image=None)
    restored: ImageFile | None = None
    try:
        if isinstance(image, ImageFile):
            restored, notes = _whole(model, image, work, settings, on_share)
            notes += losses(info, kind)
        else:
            notes = restore_pages(model, image, job, settings, work.choices, on_share)
            if kind not in ROWWISE:
                notes += (f"encoded from memory, as {kind.upper()} is; TIFF and PNG take less",)
    except BaseException as error:
        room.give_back(work.size)
        seconds = work.seconds + time.perf_counter() - start
        return replace(work, image=None, size=0, result=_failed(job, error, seconds, settings))
    told = (*_misnamed(job, info), *notes)
    work = replace(work, image=restored, notes=told, seconds=work.seconds + time.perf_counter() - start)
    return work if restored is not None else replace(work, result=_done(work))


def _whole(
    model: RestorationModel, image: ImageFile, work: _Work, settings: Settings, on_share: OnShare | None
) -> tuple[ImageFile, tuple[str, ...]]:
    """Restore an image that is in memory; gives what people should know, too."""
    job, strengths = work.job, None
    if job.strength_map is not None:
        strengths = open_map(job.strength_map, image.info, resize=settings.resize_map)
    adapters = work.choices[0].adapters if work.choices else None
    with adapters_of(adapters, model):
        restored, notes = restore_read(model, image, settings, path=job.source, strengths=strengths, on_share=on_share)
    return restored, (*(chosen.why for chosen in work.choices), *image.notes, *notes)


def _write(work: _Work, settings: Settings, room: Room) -> FileResult:
    job = work.job
    start = time.perf_counter()
    with given_back(room, work.size):
        if work.result is not None:
            return work.result
        try:
            make_folder(job.output.parent)
            if work.image is None:
                copy_image(job.source, job.output, overwrite=settings.overwrite)
            else:
                assert isinstance(work.image, ImageFile)
                write_image(job.output, work.image, overwrite=settings.overwrite, coding=settings.coding)
        except Exception as error:
            return _failed(job, error, work.seconds + time.perf_counter() - start, settings)
    return _done(work, time.perf_counter() - start)


def _skipped(job: Job, seconds: float = 0.0) -> FileResult:
    return FileResult(job.source, job.output, "skipped", "exists already", seconds)


def _failed(job: Job, error: BaseException, seconds: float, settings: Settings) -> FileResult:
    """Say why a file failed, unless another run has made its result meanwhile."""
    result = failure_of(job, error, seconds)
    return _skipped(job, seconds) if settings.skip_existing and job.output.exists() else result


def _done(work: _Work, seconds: float = 0.0) -> FileResult:
    return FileResult(work.job.source, work.job.output, "restored", "; ".join(work.notes), work.seconds + seconds)


def _video(model: RestorationModel, job: Job, settings: Settings, on_share: OnShare | None) -> FileResult:
    start = time.perf_counter()
    try:
        make_folder(job.output.parent)
        notes = restore_video(model, job.source, job.output, settings, on_share=on_share)
    except Exception as error:
        return _failed(job, error, time.perf_counter() - start, settings)
    return FileResult(job.source, job.output, "restored", "; ".join(notes), time.perf_counter() - start)


def _misnamed(job: Job, info: ImageInfo) -> tuple[str, ...]:
    said = READ_SUFFIXES.get(job.source.suffix.lower())
    return (f"its content is {info.format.upper()}",) if said not in (None, info.format) else ()
