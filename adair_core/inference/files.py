"""Restoring image files, one after another; a bad one does not stop the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adair_core.atomic_file import write_atomically
from adair_core.data.encoding import Coding, losses
from adair_core.data.images import SUFFIXES, ImageFile, from_tensor, read_image, to_tensor, write_image
from adair_core.data.pixels import from_batch, to_batch
from adair_core.errors import AdairError, DataError, UsageError, expected, is_out_of_memory
from adair_core.inference.enlarging import enlarged
from adair_core.inference.outputs import Job, plan
from adair_core.model.restoration_model import RestorationModel
from adair_core.model.tiling import OnShare, Tile, resolve_overlap


@dataclass(frozen=True)
class FileResult:
    """What became of a file.

    Attributes:
        source: the image.
        output: where the restored image is, or would be.
        status: ``skipped`` if the output was there already and `skip_existing` was asked for.
        message: why it failed, or what could not be kept; empty for nothing to say.
        seconds: that it took.
    """

    source: Path
    output: Path
    status: Literal["restored", "skipped", "failed"]
    message: str = ""
    seconds: float = 0.0


OnResult = Callable[[FileResult, int, int], None]
"""Called after each file with its result, how many are done and how many there are."""


@dataclass(frozen=True, kw_only=True)
class _Way:
    """How files are restored; see `restore_files`."""

    strength: float
    tile: Tile
    overlap: int
    scale: int
    quality: int | None
    overwrite: bool
    on_share: OnShare | None


def restore_files(
    model: RestorationModel,
    inputs: Sequence[Path | str],
    output: Path | str | None = None,
    *,
    strength: float = 1.0,
    tile: Tile = "auto",
    overlap: int | None = None,
    scale: int = 1,
    suffix: str | None = None,
    quality: int | None = None,
    overwrite: bool = False,
    skip_existing: bool = False,
    on_result: OnResult | None = None,
    on_share: OnShare | None = None,
) -> list[FileResult]:
    """Restore image files with the model's active adapters.

    Gray images stay gray, 16 bit images 16 bit (where the output's format can hold it); alpha, colour profile and
    EXIF data are kept. A file that cannot be read, restored or written is reported and the others go on.

    Args:
        model: the network.
        inputs: files, folders and patterns.
        output: see `adair_core.inference.plan`, as for `inputs` and `suffix`.
        strength: out = in + strength * (restored - in); at 0 and scale 1 a file that keeps its format is copied byte
            for byte.
        tile: see `RestorationModel.restore`.
        overlap: pixels that neighbouring tiles share, at most half a tile; None = 64, or half a smaller tile.
        scale: enlarge so many times, bicubically, before restoring (super-resolution).
        suffix: ending, and so format, of the results.
        quality: 1 to 100, for JPEG and WebP.
        overwrite: replace results that are there already (never an input).
        skip_existing: leave files alone whose result is there already.
        on_result: told about each file.
        on_share: told after each tile of a large image how much of it is done.

    Returns:
        A result for each file, in the order of `plan`.

    Raises:
        UsageError: an argument is out of range, or a result would replace an input or another result; nothing was
            written then.
        DataError: a folder has no images, or a pattern matches nothing.
    """
    if not np.isfinite(strength) or strength < 0:
        raise UsageError(expected("strength", expected="a number from 0 (the input) to 1 (restored)", got=strength))
    if scale < 1:
        raise UsageError(expected("scale", expected="a whole number from 1", got=scale))
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(expected("quality", expected="a whole number from 1 to 100", got=quality))
    if overwrite and skip_existing:
        raise UsageError("expected overwrite or skip_existing for results that are there already, got both")
    # Checked now: a small image would be restored and written before a large one needs tiles.
    overlap = resolve_overlap(overlap, tile)
    way = _Way(
        strength=strength,
        tile=tile,
        overlap=overlap,
        scale=scale,
        quality=quality,
        overwrite=overwrite,
        on_share=on_share,
    )
    jobs = plan(inputs, output, suffix=suffix)
    results = []
    for job in jobs:
        if skip_existing and job.output.exists():
            result = FileResult(job.source, job.output, "skipped", "exists already")
        else:
            result = _attempt(model, job, way)
        results.append(result)
        if on_result is not None:
            on_result(result, len(results), len(jobs))
    return results


def _attempt(model: RestorationModel, job: Job, way: _Way) -> FileResult:
    start = time.perf_counter()
    try:
        notes = _restore(model, job, way)
    except UsageError:
        raise
    except AdairError as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename or job.output}: {error.strerror or error}"
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        message = f"{job.source}: not enough memory to restore it in one piece this large; try smaller tiles"
    else:
        return FileResult(job.source, job.output, "restored", "; ".join(notes), time.perf_counter() - start)
    return FileResult(job.source, job.output, "failed", message, time.perf_counter() - start)


def _restore(model: RestorationModel, job: Job, way: _Way) -> tuple[str, ...]:
    if job.output.exists() and not way.overwrite:
        hint = "choose another output, or overwrite it (--overwrite)"
        raise DataError(f"{job.output}: exists already and is not overwritten; {hint}")
    image = read_image(job.source)
    job.output.parent.mkdir(parents=True, exist_ok=True)
    keeps_format = SUFFIXES[job.output.suffix.lower()] == image.format
    if way.strength == 0 and way.scale == 1 and keeps_format and way.quality is None:
        # Decoding and encoding again would change the bits of lossy formats.
        write_atomically(job.output, job.source.read_bytes())
        return ()
    write_image(job.output, _restored(model, image, way), overwrite=way.overwrite, coding=Coding(quality=way.quality))
    return (*image.notes, *losses(image, SUFFIXES[job.output.suffix.lower()]))


def _restored(model: RestorationModel, image: ImageFile, way: _Way) -> ImageFile:
    """Restore an image in memory; alpha and metadata are those of the image."""
    dial: dict[str, Any] = {
        "strength": way.strength,
        "tile": way.tile,
        "overlap": way.overlap,
        "on_share": way.on_share,
    }
    if way.scale == 1:
        return replace(image, pixels=model.restore(image.pixels, **dial))
    # The network gets the enlarged image unrounded, as in training.
    large = model.restore(enlarged(to_tensor(image), way.scale), **dial)
    alpha = image.alpha
    if alpha is not None:
        batch, layout = to_batch(alpha)
        alpha = np.asarray(from_batch(enlarged(batch, way.scale).clamp(0, 1), layout))
    return replace(from_tensor(large, replace(image, alpha=None)), alpha=alpha)
