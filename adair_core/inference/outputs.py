"""Which files are restored, and where the results go; decided for all of them before the first is touched."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adair_core.data.images import READ_SUFFIXES, SUFFIXES, find_images, find_others
from adair_core.errors import DataError, UsageError, expected, listing
from adair_core.inference.file_lists import read_file_list
from adair_core.inference.settings import Settings
from adair_core.inference.strength_map import maps_for
from adair_core.inference.video_formats import VIDEO_SUFFIXES, is_video
from adair_core.new_folder import check_folder

MARK = ".restored"
"""``photo.png`` becomes ``photo.restored.png`` when it is restored beside itself."""

KNOWN = ", ".join(SUFFIXES)
READ = (*READ_SUFFIXES, *VIDEO_SUFFIXES)
WRITTEN = (*SUFFIXES, *VIDEO_SUFFIXES)


MAGIC = "*?["


@dataclass(frozen=True)
class Job:
    """A file to restore.

    Attributes:
        source: the image or video.
        output: where the restored one goes.
        strength_map: a gray image that says how strongly each pixel is restored; None = all pixels alike.
    """

    source: Path
    output: Path
    strength_map: Path | None = None

    @property
    def is_video(self) -> bool:
        """Whether the names say that it is a video."""
        return is_video(self.source)


def plan(
    inputs: Sequence[Path | str],
    output: Path | str | None = None,
    *,
    suffix: str | None = None,
    strength_map: Path | str | None = None,
) -> list[Job]:
    """Decide what is restored and what the results are called.

    ========================  =====================  =======================================
    input                     output                 result
    ========================  =====================  =======================================
    ``a/photo.jpg``           none                   ``a/photo.restored.jpg``
    ``a/photo.jpg``           ``b`` (a folder)       ``b/photo.jpg``
    ``a/photo.jpg``           ``b/new.png``          ``b/new.png``
    ``a`` (a folder)          none                   ``a/x/photo.restored.jpg``
    ``a`` (a folder)          ``b``                  ``b/x/photo.jpg`` for ``a/x/photo.jpg``
    ``a/**/*.jpg``            ``b``                  ``b/x/photo.jpg`` for ``a/x/photo.jpg``
    ``@list``: ``x/p.jpg``    ``b``                  ``b/x/p.jpg``
    ========================  =====================  =======================================

    In a folder, results of earlier runs (``*.restored.*``, or an output folder inside it) are left out, and so are
    videos: they can take hours, and are restored where they are named, in patterns and lists too. A file that does not
    exist gets a job, which then fails alone.

    Args:
        inputs: files, folders (with all their subfolders), patterns such as ``shots/*.tif``, and lists of files:
            ``@name``, or ``@-`` for standard input.
        output: a folder, or a file name if there is one input file; None = beside each input.
        suffix: another ending and so another format for images, such as ``".png"``; None = that of the input, and PNG
            for formats that are only read.
        strength_map: an image for all inputs, or a folder with one for each, named as results in an output folder are,
            whatever the ending; see `adair_core.inference.strength_map`.

    Raises:
        UsageError: a result would replace an input or another result, its folder cannot be made, `output` or `suffix`
            do not fit, or a video has a strength map.
        DataError: a folder has no images, a pattern matches nothing, or a strength map is missing.
    """
    target = None if output is None else Path(output)
    if suffix is not None and suffix.lower() not in SUFFIXES:
        raise UsageError(expected("suffix", expected=f"one of {KNOWN}", got=repr(suffix)))
    if not inputs:
        raise UsageError("expected at least one image, folder or pattern to restore, got none")
    found = _without_repetitions(item for name in inputs for item in _expanded(name, target))
    maps = [None] * len(found) if strength_map is None else _maps(Path(strength_map), found)
    if target is not None and _is_file_name(target, inputs, found):
        if suffix is not None and target.suffix.lower() != suffix.lower():
            raise UsageError(expected("output", expected=f"a name that ends with {suffix}", got=target))
        jobs = [Job(found[0][0], target, maps[0])]
    else:
        named = (
            Job(source, _named(source, relative, target, suffix), own)
            for (source, relative), own in zip(found, maps, strict=True)
        )
        jobs = list({(os.path.realpath(job.source), os.path.realpath(job.output)): job for job in named}.values())
    _check(jobs)
    for folder in dict.fromkeys(job.output.parent for job in jobs):
        check_folder(folder)
    return jobs


def check_jobs(jobs: Sequence[Job], settings: Settings, *, chooses: bool) -> None:
    """Refuse what no image of the jobs could be restored with, before any is.

    Args:
        jobs: see `plan`.
        settings: how they are to be restored.
        chooses: each image gets its own adapter.

    Raises:
        UsageError: a strength map for results that are larger than their inputs, a page of a video, or a video whose
            adapter would be chosen.
    """
    if settings.enlargement > 1 and any(job.strength_map for job in jobs):
        what = "strength map: expected a result of the input's size, where it can mix both"
        raise UsageError(f"{what}, got one that is {settings.enlargement} times larger")
    videos = [job.source for job in jobs if job.is_video]
    if settings.page is not None and videos:
        raise UsageError(expected("page", expected="images, which have pages", got=f"videos: {listing(videos)}"))
    if chooses and videos:
        wanted = "images, where each gets its own adapter"
        hint = "name the task of a video"
        raise UsageError(expected("input", expected=wanted, got=f"videos: {listing(videos)}", hint=hint))


def images_of(inputs: Sequence[Path | str]) -> list[Path]:
    """List the images that files, folders, patterns and lists name, as `plan` takes them.

    Raises:
        UsageError: a video is named.
        DataError: a folder has no images, or a pattern matches nothing.
    """
    files = [source for source, _ in _without_repetitions(item for name in inputs for item in _expanded(name, None))]
    videos = [file for file in files if is_video(file)]
    if videos:
        raise UsageError(expected("input", expected="images", got=f"videos: {listing(videos)}"))
    return files


def left_out(inputs: Sequence[Path | str]) -> list[Path]:
    """List the files of folders that `plan` leaves out because their names are not those of images."""
    folders = (Path(name) for name in inputs if Path(name).is_dir())
    return [path for folder in folders for path in find_others(folder)]


def _expanded(name: Path | str, output: Path | None) -> list[tuple[Path, Path]]:
    path = Path(name)
    if str(name).startswith("@") and not path.exists():
        return [(file, _inside(file)) for file in read_file_list(str(name)[1:])]
    if path.is_dir():
        return _of_folder(path, output)
    if path.exists() or not any(magic in str(name) for magic in MAGIC):
        return [(path, Path(path.name))]
    # Path.glob takes no absolute patterns.
    matches = [Path(match) for match in sorted(glob.glob(str(name), recursive=True))]  # noqa: PTH207
    files = [match for match in matches if match.is_file() and match.suffix.lower() in READ]
    if not files:
        raise DataError(f"{name}: expected a pattern that matches images ({', '.join(READ)}), but it matches none")
    fixed = list(itertools.takewhile(lambda part: not any(magic in part for magic in MAGIC), path.parts))
    return [(file, file.relative_to(Path(*fixed))) for file in files]


def _inside(listed: Path) -> Path:
    """Where the result of a listed file goes inside an output folder: like a relative name, never outside."""
    is_outside = listed.is_absolute() or ".." in listed.parts
    return Path(listed.name) if is_outside else listed


def _of_folder(folder: Path, output: Path | None) -> list[tuple[Path, Path]]:
    images = find_images(folder)
    if output is None:
        sources = [path for path in images if not path.stem.endswith(MARK)]
    else:
        inner = output.resolve()
        is_inside = folder.resolve() in inner.parents
        sources = [path for path in images if not (is_inside and inner in path.resolve().parents)]
    if not sources:
        raise DataError(f"{folder}: expected images to restore, got only results of earlier runs: {listing(images)}")
    return [(path, path.relative_to(folder)) for path in sources]


def _without_repetitions(found: Iterable[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Leave out what was named twice; a link in a folder has a result of its own."""
    first: dict[tuple[str, Path], tuple[Path, Path]] = {}
    for source, relative in found:
        first.setdefault((os.path.realpath(source), relative), (source, relative))
    return list(first.values())


def _is_file_name(output: Path, inputs: Sequence[Path | str], found: Sequence[tuple[Path, Path]]) -> bool:
    if output.is_dir():
        return False
    is_image = output.suffix.lower() in WRITTEN
    one_file = len(inputs) == 1 and len(found) == 1 and not Path(inputs[0]).is_dir()
    if one_file and is_image and is_video(output) != is_video(found[0][0]):
        wanted = f"the name of {'a video' if is_video(found[0][0]) else 'an image'} for {found[0][0]}"
        raise UsageError(expected("output", expected=wanted, got=output))
    if is_image and not one_file:
        wanted = f"a folder, for {len(found)} result{'' if len(found) == 1 else 's'}"
        raise UsageError(expected("output", expected=wanted, got=f"the file name {output}"))
    if output.exists() and not is_image:
        raise UsageError(expected("output", expected="a folder or the name of an image", got=f"the file {output}"))
    if one_file and output.suffix and not is_image:
        hint = "for a folder of that name, make it first"
        raise UsageError(expected("output", expected=f"a folder, or a name with {KNOWN}", got=output, hint=hint))
    return is_image


def _named(source: Path, relative: Path, output: Path | None, suffix: str | None) -> Path:
    # A file without a known ending is told by its content; its result is a PNG, which can hold it.
    ending = source.suffix if source.suffix.lower() in WRITTEN else ".png"
    if suffix is not None and not is_video(source):
        ending = suffix
    if output is None:
        return source.with_name(f"{source.stem}{MARK}{ending}")
    return output / relative.with_suffix(ending)


def _maps(maps: Path, found: Sequence[tuple[Path, Path]]) -> list[Path]:
    videos = [source for source, _ in found if is_video(source)]
    if videos:
        raise UsageError(f"{videos[0]}: a strength map is for one picture, and what moves in a video leaves its place")
    return maps_for(maps, [relative for _, relative in found])


def _check(jobs: Sequence[Job]) -> None:
    read = [path for job in jobs for path in (job.source, job.strength_map) if path is not None]
    sources = {os.path.realpath(path): path for path in read}
    inodes = {_inode(path): path for path in dict.fromkeys(read) if path.exists()}
    taken: dict[str, list[Job]] = {}
    for job in jobs:
        real = os.path.realpath(job.output)
        hit = sources.get(real) or (inodes.get(_inode(job.output)) if job.output.exists() else None)
        if hit is not None:
            raise UsageError(f"{job.output}: is the input {hit}; inputs are never overwritten: give another output")
        taken.setdefault(real, []).append(job)
    shared = [same for same in taken.values() if len(same) > 1]
    if shared:
        told = [
            f"{same[0].output}: would be the result of both {' and '.join(str(job.source) for job in same)}"
            for same in shared
        ]
        raise UsageError(f"{listing(told)}; restore them into different folders")


def _inode(path: Path) -> tuple[int, int]:
    # Links to an input are that input, by whatever name.
    found = path.stat()
    return found.st_dev, found.st_ino
