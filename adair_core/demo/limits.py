"""What the page takes, and for how many people it keeps photos."""

from __future__ import annotations

from dataclasses import dataclass

from adair_core.data.images import ImageInfo
from adair_core.errors import DataError, UsageError, expected

LONGEST_SIDE = 16_383
"""Pixels; more than that, browsers do not show and WebP does not hold."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the page takes.

    Attributes:
        megapixels: of an image, and of what it becomes where it is enlarged.
        upload_megabytes: of a file.
        waiting: requests that may wait; further ones are told that the page is busy.
        sessions: tabs whose photos are kept; the one that was quiet for longest is forgotten for a new one.
        idle_seconds: after which a tab's photo is forgotten.

    Raises:
        UsageError: a limit lets nothing through.
    """

    megapixels: float = 24.0
    upload_megabytes: int = 200
    waiting: int = 8
    sessions: int = 16
    idle_seconds: float = 3600.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise UsageError(expected(f"limit {name}", expected="a positive number", got=value))

    @property
    def upload_bytes(self) -> int:
        """Of a file."""
        return self.upload_megabytes * 10**6

    def check_file(self, size: int) -> None:
        """Check a file before anything reads it.

        Args:
            size: bytes.

        Raises:
            DataError: it is empty or too large; says so to people who never heard of adair.
        """
        if size == 0:
            raise DataError("This file is empty.")
        if size > self.upload_bytes:
            raise DataError(
                f"This file is too large: it has {size / 1e6:.1f} MB, and the limit is {self.upload_megabytes} MB."
            )

    def check_image(self, info: ImageInfo, *, scale: int = 1) -> None:
        """Check an image before its pixels are decoded.

        Args:
            info: what its header says.
            scale: by which it will be enlarged.

        Raises:
            DataError: it is too large, or becomes so; says so to people who never heard of adair.
        """
        height, width = info.height * scale, info.width * scale
        megapixels = height * width / 1e6
        size = f"{width:,} x {height:,} pixels ({megapixels:.1f} megapixels)"
        what = f"This photo would become too large, {size}" if scale > 1 else f"This photo is too large, {size}"
        if megapixels > self.megapixels:
            raise DataError(f"{what}: the limit is {self.megapixels:g} megapixels. A smaller copy would do.")
        if max(height, width) > LONGEST_SIDE:
            raise DataError(f"{what}: the limit is {LONGEST_SIDE:,} pixels a side. A smaller copy would do.")
