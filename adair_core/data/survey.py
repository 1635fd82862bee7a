"""Looking through the files of a data set before training, without decoding them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adair_core.data.decoding import MAX_PIXELS, ImageHeader, read_header, read_image
from adair_core.errors import DataError, listing

FAILURES_SHOWN = 3


@dataclass(frozen=True)
class Rejected:
    """An image that cannot be used, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path} ({self.reason})"


@dataclass(frozen=True)
class Survey:
    """What a data set's files turned out to be.

    Attributes:
        usable: headers of the images that will be used, in order.
        rejected: the others.
    """

    usable: tuple[ImageHeader, ...]
    rejected: tuple[Rejected, ...] = ()

    def notices(self) -> list[str]:
        """Tell what a person should know before training starts, a line each."""
        lines = []
        if self.rejected:
            found = len(self.usable) + len(self.rejected)
            lines.append(f"skipped {len(self.rejected)} of {found} images: {listing(self.rejected)}")
        transparent = [header.path for header in self.usable if header.has_alpha]
        if transparent:
            share = f"{len(transparent)} of {len(self.usable)} images"
            lines.append(f"alpha channels are ignored in training ({share}): {listing(transparent)}")
        return lines


def survey(files: Sequence[Path], *, smallest: int = 1, strict: bool = False, max_pixels: int = MAX_PIXELS) -> Survey:
    """Look at every file's header, and decode those that seem to end too early.

    What only decoding reveals, such as a wrong checksum in the middle, is found when the image is first used.

    Args:
        files: image files.
        smallest: side of the largest patch; smaller images cannot be used.
        strict: accept no unusable file.
        max_pixels: see `adair_core.data.decoding.MAX_PIXELS`.

    Raises:
        DataError: no file can be used, or, if `strict`, some cannot.
    """
    usable: list[ImageHeader] = []
    rejected: list[Rejected] = []
    for path in files:
        try:
            usable.append(_examine(path, smallest, max_pixels))
        except DataError as error:
            rejected.append(Rejected(path, reason_for(path, error)))
    result = Survey(tuple(usable), tuple(rejected))
    refuse_unusable(result, strict=strict)
    return result


def refuse_unusable(result: Survey, *, strict: bool) -> None:
    """Raise if nothing can be used or, if `strict`, if something cannot.

    Raises:
        DataError: as said.
    """
    count, failures = len(result.rejected), listing(result.rejected, limit=FAILURES_SHOWN)
    if not result.usable:
        raise DataError(f"none of {count} images can be used: {failures}" if count else "there are no images")
    if strict and count:
        found = count + len(result.usable)
        raise DataError(f"{count} of {found} images cannot be used, which a strict data set refuses: {failures}")


def reason_for(path: Path, error: DataError) -> str:
    """Return an error's message without the file's name in front, which a `Rejected` shows already."""
    return str(error).removeprefix(f"{path}: ")


def _examine(path: Path, smallest: int, max_pixels: int) -> ImageHeader:
    header = read_header(path, max_pixels=max_pixels)
    if min(header.width, header.height) < smallest:
        raise DataError(f"{path}: {header.width} x {header.height} is smaller than the patch, {smallest} x {smallest}")
    if not _ends_well(header):
        read_image(path, max_pixels=max_pixels)
    return header


def _ends_well(header: ImageHeader) -> bool:
    """Tell cheaply whether a file has its end; False is only a suspicion, as bytes may follow the image.

    WebP says its length in the header, which libvips checks; a TIFF file's order is free.
    """
    if header.format not in ("png", "jpeg"):
        return True
    with header.path.open("rb") as stream:
        stream.seek(-8, 2)
        end = stream.read()
    return end == b"IEND\xaeB`\x82" if header.format == "png" else end.endswith(b"\xff\xd9")
