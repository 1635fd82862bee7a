"""What is chosen about restoring files, the same for all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from adair_core.data.encoding import Coding
from adair_core.errors import UsageError, expected
from adair_core.inference.video_coding import VideoCoding
from adair_core.model.restoring import Precision, check_exact, check_precision
from adair_core.model.tiling import Tile, resolve_overlap


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How files are restored.

    Attributes:
        strength: out = in + strength * (restored - in); at 0 and scale 1 a file that keeps its format is copied byte
            for byte.
        tile: see `RestorationModel.restore`.
        overlap: pixels that neighbouring tiles share, at most half a tile; None = 64, or half a smaller tile.
        precision: see `RestorationModel.restore`.
        exact: see `RestorationModel.restore`.
        graphs: see `RestorationModel.restore`.
        scale: enlarge so many times, bicubically, before restoring (super-resolution).
        white: the value of white in float images.
        coding: how images of lossy formats are written.
        video: how videos are written.
        overwrite: replace results that are there already (never an input).
        skip_existing: leave files alone whose result is there already.
        fail_fast: stop at the first file that fails.

    Raises:
        UsageError: a value is out of range, or two do not fit together.
    """

    strength: float = 1.0
    tile: Tile = "auto"
    overlap: int | None = None
    precision: Precision | None = None
    exact: bool = False
    graphs: bool = True
    scale: int = 1
    white: float = 1.0
    coding: Coding = field(default_factory=Coding)
    video: VideoCoding = field(default_factory=VideoCoding)
    overwrite: bool = False
    skip_existing: bool = False
    fail_fast: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.strength) or self.strength < 0:
            wanted = "a number from 0 (the input) to 1 (restored)"
            raise UsageError(expected("strength", expected=wanted, got=self.strength))
        if self.scale < 1:
            raise UsageError(expected("scale", expected="a whole number from 1", got=self.scale))
        if not math.isfinite(self.white) or self.white <= 0:
            raise UsageError(expected("white", expected="a positive number", got=self.white))
        if self.overwrite and self.skip_existing:
            raise UsageError("expected overwrite or skip_existing for results that are there already, got both")
        check_precision(self.precision)
        if self.exact:
            check_exact(self.tile, self.precision)
        # Checked now: a small image would be restored and written before a large one needs tiles.
        resolve_overlap(self.overlap, self.tile)

    @property
    def copies(self) -> bool:
        """Whether a file that keeps its format stays as it is, byte for byte."""
        return self.strength == 0 and self.scale == 1
