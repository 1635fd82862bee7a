"""What is chosen about restoring files, the same for all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from adair_core.data.encoding import Coding
from adair_core.errors import UsageError, expected
from adair_core.inference.highlights import check_white
from adair_core.inference.step import Step
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
        overlap: see `RestorationModel.restore`.
        precision: see `RestorationModel.restore`.
        exact: see `RestorationModel.restore`.
        ensemble: see `RestorationModel.restore`.
        graphs: see `RestorationModel.restore`.
        scale: enlarge so many times, bicubically, before restoring (super-resolution).
        steps: restorations that are made one after the other, each of what the one before it made, neither rounded nor
            clipped; they say strength and scale themselves. Empty = one, with the model's active adapters.
        white: the value of white in float images.
        page: the only page of each image that is restored, from 1 on; None = all pages of a TIFF.
        resize_map: stretch strength maps of other sizes over their images, bilinearly; else they are errors.
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
    ensemble: bool = False
    graphs: bool = True
    scale: int = 1
    steps: tuple[Step, ...] = ()
    white: float = 1.0
    page: int | None = None
    resize_map: bool = False
    coding: Coding = field(default_factory=Coding)
    video: VideoCoding = field(default_factory=VideoCoding)
    overwrite: bool = False
    skip_existing: bool = False
    fail_fast: bool = False

    def __post_init__(self) -> None:
        alone = Step(strength=self.strength, scale=self.scale)
        if self.steps and alone != Step():
            got = f"strength {self.strength:g} and scale {self.scale} beside {len(self.steps)} steps"
            raise UsageError(expected("settings", expected="strength and scale in the steps themselves", got=got))
        check_white(self.white)
        if self.page is not None and self.page < 1:
            raise UsageError(expected("page", expected="a whole number from 1", got=self.page))
        if self.overwrite and self.skip_existing:
            raise UsageError("expected overwrite or skip_existing for results that are there already, got both")
        check_precision(self.precision)
        if self.exact:
            check_exact(self.tile, self.precision, ensemble=self.ensemble)
        # Checked now: a small image would be restored and written before a large one needs tiles.
        resolve_overlap(self.overlap, self.tile)

    @property
    def in_turn(self) -> tuple[Step, ...]:
        """The restorations that change something, in their order; one that changes nothing if there are no others."""
        steps = self.steps or (Step(strength=self.strength, scale=self.scale),)
        return tuple(step for step in steps if not step.is_idle) or steps[-1:]

    @property
    def enlargement(self) -> int:
        """How many times larger the result is, in each direction."""
        return math.prod(step.scale for step in self.in_turn)

    @property
    def copies(self) -> bool:
        """Whether a file that keeps its format stays as it is, byte for byte."""
        return all(step.is_idle for step in self.in_turn)
