"""The images that an evaluation runs over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from torch import Tensor

from adair_core.data.images import find_images, read_image, to_tensor
from adair_core.data.sources import match_pairs, require_equal_sizes
from adair_core.data.survey import survey
from adair_core.errors import DataError, UsageError, expected, listing

EvaluationImage = tuple[str, Tensor] | tuple[str, Tensor, Tensor]
"""``(name, target)``, or ``(name, input, target)`` for a real pair; ``(3, H, W)`` or ``(1, 3, H, W)`` in [0, 1]."""

EvaluationImages = Sequence[EvaluationImage]
"""In the order in which noise is drawn. It may read an image when it is asked for it, as `evaluation_images` does."""


def evaluation_images(targets: Path, inputs: Path | None = None, *, limit: int | None = None) -> EvaluationImages:
    """List the images of a folder, in sorted order; each is read when it is needed.

    An image that cannot be used is an error, found before the first is restored as far as its header tells: a mean
    over the others would not be the data set's.

    Args:
        targets: folder of clean images.
        inputs: folder of degraded images; paired with `targets` by path without suffix.
        limit: only the first so many.

    Raises:
        DataError: a folder is missing or has no images, an image cannot be used or has no partner, or a pair differs
            in size.
    """
    if inputs is None:
        files: list[tuple[Path | None, Path]] = [(None, path) for path in find_images(targets)]
    else:
        files = list(match_pairs(inputs, targets))
    files = files[:limit]
    examined = survey([path for pair in files for path in pair if path is not None])
    if examined.rejected:
        found = len(examined.usable) + len(examined.rejected)
        raise DataError(
            f"{len(examined.rejected)} of {found} images cannot be used: {listing(examined.rejected)}; repair or "
            f"remove them: a mean over the others is not the data set's"
        )
    headers = {header.path: header for header in examined.usable}
    require_equal_sizes((headers[degraded], headers[clean]) for degraded, clean in files if degraded is not None)
    return _Files([(path.relative_to(targets).as_posix(), degraded, path) for degraded, path in files])


@dataclass(frozen=True)
class _Files(Sequence[EvaluationImage]):
    """Images on disk: name, input file or None, target file."""

    files: Sequence[tuple[str, Path | None, Path]]

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> EvaluationImage: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[EvaluationImage]: ...

    def __getitem__(self, index: int | slice) -> EvaluationImage | Sequence[EvaluationImage]:
        if isinstance(index, slice):
            return _Files(self.files[index])
        name, degraded, clean = self.files[index]
        target = to_tensor(read_image(clean))
        return (name, target) if degraded is None else (name, to_tensor(read_image(degraded)), target)


def unpack(image: EvaluationImage) -> tuple[str, Tensor | None, Tensor]:
    """Bring an image into one form.

    Returns:
        Name, input ``(1, 3, H, W)`` or None, target ``(1, 3, H, W)``.

    Raises:
        UsageError: it is not an `EvaluationImage`.
        DataError: input and target differ in size.
    """
    if len(image) not in (2, 3):
        raise UsageError(expected("evaluation image", expected="(name, target) or (name, input, target)", got=image))
    name, *tensors = image
    if not isinstance(name, str):
        raise UsageError(expected("evaluation image", expected="a name as its first part", got=type(name).__name__))
    shaped = [_batched(name, tensor) for tensor in tensors]
    if len(shaped) == 1:
        return name, None, shaped[0]
    if shaped[0].shape != shaped[1].shape:
        sizes = [f"{tensor.shape[-1]} x {tensor.shape[-2]}" for tensor in shaped]
        raise DataError(expected(name, expected="input and target of one size", got=" and ".join(sizes)))
    return name, shaped[0], shaped[1]


def names_of(images: EvaluationImages) -> list[str]:
    """Name the images; files are not read for it."""
    return [name for name, _, _ in images.files] if isinstance(images, _Files) else [image[0] for image in images]


def middle(image: EvaluationImage, side: int) -> EvaluationImage:
    """Cut an image, or both of a pair, to its middle of at most `side` rows and columns; a copy.

    Raises:
        UsageError, DataError: as `unpack`.
    """

    def cut(part: Tensor) -> Tensor:
        height, width = part.shape[-2:]
        rows, columns = min(height, side), min(width, side)
        top, left = (height - rows) // 2, (width - columns) // 2
        return part[..., top : top + rows, left : left + columns].clone()

    name, given, target = unpack(image)
    return (name, cut(target)) if given is None else (name, cut(given), cut(target))


def _batched(name: str, tensor: object) -> Tensor:
    if isinstance(tensor, Tensor) and tensor.is_floating_point():
        image = tensor.unsqueeze(0) if tensor.ndim == 3 else tensor
        if image.ndim == 4 and image.shape[0] == 1 and image.shape[1] in (1, 3) and image.numel():
            return image.expand(1, 3, -1, -1)
    got = f"{tuple(tensor.shape)} of {tensor.dtype}" if isinstance(tensor, Tensor) else type(tensor).__name__
    raise UsageError(expected(name, expected="a float tensor (3, H, W) or (1, 3, H, W)", got=got))
