"""What the tests of the tools share: image sets in the layout of the real ones."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from adaptation.runs import Place
from adaptation.study_plan import IMAGES
from adaptation.tasks import TASKS


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Image sets in the layout of the real ones, of a few small pictures."""
    generator = np.random.default_rng(0)
    data = tmp_path / "data"
    folders = ["train/BSD400", "train/DIV2K_test_LRx4", "train/SunHays80_half", "train/T91", "test/CBSD68/clean"]
    for folder in folders:
        (data / folder).mkdir(parents=True)
        for index in range(5 if folder.startswith("train") else 2):
            smooth = Image.fromarray(generator.integers(0, 255, (6, 6, 3), dtype=np.uint8)).resize((80, 72))
            smooth.save(data / folder / f"{index}.png")
    photo = data / folders[0] / "0.png"
    for task in filter(lambda task: task.pairs, TASKS.values()):
        for side in ("input", "target"):
            folder = data / "train_paired" / str(task.pairs) / side
            folder.mkdir(parents=True)
            for index in range(1, 10):
                Image.new("RGB", (80, 72), (20 * index, 100, 100)).save(folder / f"{index:03}.png")
    for index in range(5, max(IMAGES)):
        (data / folders[0] / f"{index}.png").hardlink_to(photo)
    return Place(data, tmp_path / "out", threads=1)
