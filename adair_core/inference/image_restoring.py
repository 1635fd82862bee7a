"""Restoring an image that was read from a file: alpha, enlargement and float ranges around the network."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adair_core.data.encoding import WriteRows
from adair_core.data.images import ImageFile, ImageInfo, ImageRows, to_tensor
from adair_core.data.pixels import from_batch, to_batch, to_unit
from adair_core.data.transparency import fill_invisible, is_visible
from adair_core.inference.between import Between
from adair_core.inference.enlarging import enlarged_rows, source_rows
from adair_core.inference.highlights import check_range, with_highlights, without_highlights
from adair_core.inference.settings import Settings
from adair_core.inference.step import Step, adapters_of
from adair_core.inference.strength_map import StrengthMap
from adair_core.model.maps import Map, Store
from adair_core.model.memory import BUDGET
from adair_core.model.restoration_model import RestorationModel
from adair_core.model.tiling import WRITTEN_AT_ONCE, OnShare

WHOLE = BUDGET // 2
"""Bytes of an image in memory from which on it is restored from rows to rows; see `bytes_as_a_whole`."""

HELD_BETWEEN = BUDGET // 4
"""Bytes of what one restoration gives to the next that are held in memory; what is larger is a temporary file."""


def bytes_as_a_whole(info: ImageInfo, scale: int) -> int:
    """Count what an image takes as a whole: as read, in floats before and after the network, and as restored."""
    pixels, itemsize = info.height * info.width, info.dtype.itemsize
    return pixels * info.channels * (itemsize + scale**2 * (itemsize + 2 * 4))


def restored_info(info: ImageInfo, scale: int) -> ImageInfo:
    """Tell what the restored image will be."""
    return replace(info, height=info.height * scale, width=info.width * scale)


def restore_read(
    model: RestorationModel,
    image: ImageFile,
    settings: Settings,
    *,
    path: Path,
    strengths: StrengthMap | None = None,
    on_share: OnShare | None = None,
) -> tuple[ImageFile, tuple[str, ...]]:
    """Restore an image of a file as a whole; see `restore_rows`.

    Returns:
        The restored image with everything else that `image` has, and what people should know.

    Raises:
        AdairError: the image or what the network makes of it cannot be used.
    """
    info = restored_info(image.info, settings.enlargement)
    whole = info.blank()
    top = 0

    def gather(band: ImageFile) -> None:
        nonlocal top, whole
        if band.height == info.height:
            whole = band
        else:
            band.copy_into(whole, top)
        top += band.height

    notes = restore_rows(model, image, gather, settings, path=path, strengths=strengths, on_share=on_share)
    return whole, notes


def restore_rows(
    model: RestorationModel,
    image: ImageRows,
    write: WriteRows,
    settings: Settings,
    *,
    path: Path,
    strengths: StrengthMap | None = None,
    on_share: OnShare | None = None,
) -> tuple[str, ...]:
    """Restore an image of a file, from rows to rows.

    Args:
        model: the network.
        image: what is read.
        write: gets the rows of the restored image, alpha enlarged with it.
        settings: strength, scale or steps, tiles and white.
        path: the file, for messages.
        strengths: how strongly each pixel is restored, beyond the strength of the settings; for results of the image's
            own size.
        on_share: told after each tile of a large image how much of it is done.

    Returns:
        What people should know.

    Raises:
        AdairError: the image or what the network makes of it cannot be used.
    """
    source, dtype, steps = image, image.info.dtype, settings.in_turn
    is_float = dtype == np.float32
    notes = check_range(path, (band.pixels for band in bands(image)), settings.white) if is_float else ()
    white = settings.white if is_float else 1.0
    store = Store(HELD_BETWEEN, HELD_BETWEEN)
    shares = _shares(steps)
    for step, (start, end) in zip(steps[:-1], shares, strict=False):
        between = Between(restored_info(image.info, step.scale), store)
        told = part_of(on_share, start, end)
        _restore_step(model, image, between.write, step, settings, dtype=between.info.dtype, white=white, on_share=told)
        image = between
    told = part_of(on_share, *shares[-1])

    def mix(top: int, restored: Tensor) -> Tensor:
        if strengths is None:
            return restored
        return strengths.mixed(to_tensor(source.rows(top, top + restored.shape[2])), restored, top)

    _restore_step(model, image, write, steps[-1], settings, dtype=dtype, white=white, mix=mix, on_share=told)
    return notes


def _restore_step(
    model: RestorationModel,
    image: ImageRows,
    write: WriteRows,
    step: Step,
    settings: Settings,
    *,
    dtype: np.dtype[Any],
    white: float,
    mix: Callable[[int, Tensor], Tensor] = lambda _, restored: restored,
    on_share: OnShare | None,
) -> None:
    """Make one restoration; `dtype` is that of the rows that `write` gets, `white` that of floats, read or written.

    `mix` is the last that happens to colours, as the file has them, before they are rounded.
    """
    info = replace(restored_info(image.info, step.scale), dtype=dtype)
    seen = _Seen(image, step.scale, white)
    layout = to_batch(np.zeros((1, 1, info.colors), dtype))[1]

    def finish(top: int, restored: Tensor) -> None:
        bottom = top + restored.shape[2]
        if image.info.dtype == np.float32:
            restored = with_highlights(restored, seen.colors(top, bottom)) * white
        write(info.image(np.asarray(from_batch(mix(top, restored), layout)), seen.alpha(top, bottom, dtype)))

    with adapters_of(step.adapters, model):
        model.restore_rows(
            seen,
            finish,
            strength=step.strength,
            tile=settings.tile,
            overlap=settings.overlap,
            precision=settings.precision,
            exact=settings.exact,
            ensemble=settings.ensemble,
            graphs=settings.graphs,
            on_share=on_share,
        )


def _shares(steps: Sequence[Step]) -> list[tuple[float, float]]:
    """The part of the work that each step is, by its pixels: from where to where, of 1."""
    sizes = itertools.accumulate((step.scale for step in steps), operator.mul)
    ends = list(itertools.accumulate((size**2 for size in sizes), initial=0))
    return [(start / ends[-1], end / ends[-1]) for start, end in itertools.pairwise(ends)]


def part_of(on_share: OnShare | None, start: float, end: float) -> OnShare | None:
    """What is told about a part of the work that goes from one share of all to another."""
    if on_share is None or (start, end) == (0, 1):
        return on_share
    return lambda share: on_share(start + share * (end - start))


class _Seen(Map):
    """What the network is given of an image: enlarged, white is 1, without highlights; alpha where nothing is enlarged.

    Enlargement mixes pixels, so colours are continued under transparency before it; else the network's own road does
    that.
    """

    def __init__(self, image: ImageRows, scale: int, white: float) -> None:
        info = image.info
        self._image, self._scale, self._white = image, scale, white
        self._is_float = info.dtype == np.float32
        self._is_enlarged = scale > 1
        channels = 4 if info.has_alpha and not self._is_enlarged else 3
        size = restored_info(info, scale)
        self._is(channels, size.height, size.width, torch.float32)

    def read(self, top: int, bottom: int) -> Tensor:
        """See `Map.read`."""
        # All at once, so that a file keeps them until they are finished.
        self._image.rows(*source_rows(self._image.info.height, self._scale, top, bottom))
        return _by_parts(self._part, top, bottom, self.width * self.channels * 4)

    def _part(self, top: int, bottom: int) -> Tensor:
        colors = self.colors(top, bottom)
        if self._is_float:
            colors = without_highlights(colors)
        if self.channels == 3:
            return colors
        alpha = self._image.rows(top, bottom).alpha
        assert alpha is not None
        return torch.cat([colors, _unit(alpha)], dim=1)

    def colors(self, top: int, bottom: int) -> Tensor:
        """The colours with their highlights."""
        return enlarged_rows(self._stored, self._image.info.height, self._scale, top, bottom)

    def alpha(self, top: int, bottom: int, dtype: np.dtype[Any]) -> np.ndarray | None:
        """The alpha channel as it will be stored."""
        info = self._image.info
        if not info.has_alpha:
            return None
        if not self._is_enlarged and info.dtype == dtype:
            return self._image.rows(top, bottom).alpha

        def opacity(first: int, last: int) -> Tensor:
            alpha = self._image.rows(first, last).alpha
            assert alpha is not None
            return _unit(alpha)

        large = enlarged_rows(opacity, info.height, self._scale, top, bottom).clamp(0, 1)
        layout = to_batch(np.zeros((1, 1), dtype))[1]
        return np.asarray(from_batch(large.expand(-1, 3, -1, -1), layout))

    def _stored(self, top: int, bottom: int) -> Tensor:
        band = self._image.rows(top, bottom)
        colors = to_tensor(band) / self._white if self._is_float else to_tensor(band)
        if self._is_enlarged and band.alpha is not None:
            colors = fill_invisible(colors, is_visible(_unit(band.alpha)))
        return colors


def _unit(alpha: np.ndarray) -> Tensor:
    """Alpha as ``(1, 1, rows, W)`` in [0, 1]."""
    return to_unit(torch.from_numpy(np.ascontiguousarray(alpha)))[None, None]


def _by_parts(read: Callable[[int, int], Tensor], top: int, bottom: int, row_bytes: int) -> Tensor:
    """Read rows a few at a time: conversions take several times the memory of what they convert."""
    step = max(1, WRITTEN_AT_ONCE // row_bytes)
    if bottom - top <= step:
        return read(top, bottom)
    made: Tensor | None = None
    for start in range(top, bottom, step):
        part = read(start, min(start + step, bottom))
        if made is None:
            made = part.new_empty(*part.shape[:2], bottom - top, part.shape[3])
        made[:, :, start - top : start - top + part.shape[2]] = part
    assert made is not None
    return made


def bands(image: ImageRows) -> Iterator[ImageFile]:
    """An image's rows, a few at a time."""
    info = image.info
    step = max(1, WRITTEN_AT_ONCE // (info.width * info.channels * info.dtype.itemsize))
    for top in range(0, info.height, step):
        yield image.rows(top, min(top + step, info.height))
