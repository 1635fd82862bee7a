"""The tasks that are trained and measured, and the image sets that each uses.

A set is a folder below one root, which the user gives: ``train/BSD400`` and the like, and ``test/CBSD68/clean``, or for
real pairs ``test/Rain100L/input`` and ``test/Rain100L/target``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adair_core.data.folders import find_images
from adair_core.training.recipe import Data
from adaptation.links import linked

CLEAN_SETS = ("train/BSD400", "train/DIV2K_test_LRx4", "train/SunHays80_half", "train/T91")


def clean_images(root: Path) -> Data:
    """The training images of tasks that degrade them."""
    return Data(images=tuple(root / name for name in CLEAN_SETS))


SCENES = {"SOTS_indoor": r"^\d+"}
"""Test sets with several images of one scene -> what in an image's name tells its scene."""


@dataclass(frozen=True)
class TestSet:
    """Images that a task is measured on; nothing is trained or chosen on them.

    Attributes:
        name: the folder below ``test/``.
        pairs: whether it holds real pairs, not clean images.
        rgb: whether it is judged in RGB, as any pairs are, where the task judges luma.
    """

    __test__ = False  # not a test of pytest's

    name: str
    pairs: bool = False
    rgb: bool = False

    @property
    def title(self) -> str:
        """For tables."""
        return f"{self.name} (RGB)" if self.rgb else self.name

    def arguments(self, root: Path) -> list[str]:
        """The options of ``adair evaluate`` that name the set."""
        folder = root / "test" / self.name
        return (
            ["--pairs", str(folder / "input"), str(folder / "target")] if self.pairs else ["--data", f"{folder}/clean"]
        )


@dataclass(frozen=True)
class StudiedTask:
    """A task with its options, what it learns from and what it is measured on.

    Attributes:
        name: unique here.
        title: for tables.
        task: name of adair's task.
        options: of the task.
        pairs: the folder below ``train_paired/`` that it learns from; ``None`` = clean images that the task degrades.
        tests: where it is measured.
        own_split: whether the training and the test pairs are our own split of a set that others split otherwise.
        left_out: names, without endings, of pairs that are not trained on: their scene is in the test set, too.
    """

    name: str
    title: str
    task: str
    options: Mapping[str, Any] = field(default_factory=dict)
    pairs: str | None = None
    tests: tuple[TestSet, ...] = ()
    own_split: bool = False
    left_out: tuple[str, ...] = ()

    def data(self, root: Path, out: Path) -> Data:
        """The training images.

        Args:
            root: of the image sets.
            out: where a folder of links is made if some of a set's pairs are left out.
        """
        if self.pairs is None:
            return clean_images(root)
        whole = root / "train_paired" / self.pairs

        def side(name: str) -> Path:
            if not self.left_out:
                return whole / name
            kept = {file.name: file for file in find_images(whole / name) if file.stem not in self.left_out}
            return linked(out / "pairs" / self.name / "all" / name, kept)

        return Data(pairs_input=side("input"), pairs_target=side("target"))

    def arguments(self, test: TestSet) -> list[str]:
        """The options of ``adair evaluate`` that name the task, as this set judges it."""
        if test.rgb:
            return []
        given = [
            word
            for key, value in self.options.items()
            if key != "pairs"
            for word in (f"--task.{key}", value if isinstance(value, str) else json.dumps(value))
        ]
        return ["--task", self.task, *given, *(["--task.pairs"] if test.pairs else [])]


PAIRS = {"pairs": True}
TASKS = {
    task.name: task
    for task in (
        StudiedTask("denoise", "denoising, sigma 5-55", "denoise", tests=(TestSet("CBSD68"),)),
        StudiedTask(
            "derain",
            "deraining",
            "derain",
            PAIRS,
            "Rain100L",
            (TestSet("Rain100L", pairs=True),),
            own_split=True,
            left_out=("005", "025"),  # with other rain they are 014 and 006 of the test set
        ),
        StudiedTask("low-light", "low light", "low-light", PAIRS, "LOL", (TestSet("LOL_eval15", pairs=True),)),
        StudiedTask("hybrid", "small, noisy JPEG photos", "hybrid", tests=(TestSet("Kodak24"),)),
        StudiedTask(
            "real-denoise",
            "camera noise",
            "real-denoise",
            tests=(TestSet("CC15", pairs=True),),
        ),
        StudiedTask("gaussian-deblur", "Gaussian blur", "deblur", {"kind": "gaussian"}, tests=(TestSet("Kodak24"),)),
        StudiedTask("motion-deblur", "motion blur", "deblur", {"kind": "motion"}, tests=(TestSet("Kodak24"),)),
        StudiedTask(
            "dehaze", "dehazing", "dehaze", PAIRS, "SOTS_indoor", (TestSet("SOTS_indoor", pairs=True),), own_split=True
        ),
        StudiedTask("super-resolve-x2", "super-resolution x2", "super-resolve", {"scale": 2}, tests=(TestSet("Set5"),)),
        StudiedTask("super-resolve-x3", "super-resolution x3", "super-resolve", {"scale": 3}, tests=(TestSet("Set5"),)),
        StudiedTask("super-resolve-x4", "super-resolution x4", "super-resolve", {"scale": 4}, tests=(TestSet("Set5"),)),
        StudiedTask("dejpeg", "JPEG, quality 10-90", "dejpeg", tests=(TestSet("Kodak24"),)),
        StudiedTask("snow", "snow, which no base has seen", "snow", tests=(TestSet("Kodak24"),)),
    )
}
MAIN = ("denoise", "derain", "low-light", "hybrid")
