from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from skimage.io import imread
from tiny_runs import run_toy

from adair_core.training.figures import Curves, draw_preview
from adair_core.training.metrics_log import MetricsLog
from adair_core.training.run_folder import RunFolder


def _flat(color: tuple[float, float, float], size: int = 20) -> torch.Tensor:
    return torch.tensor(color).view(1, 3, 1, 1).expand(1, 3, size, size)


def test_preview_shows_the_three_images_from_left_to_right(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    colors = {"degraded": (1.2, 0.0, 0.0), "restored": (0.0, 1.0, 0.0), "clean": (0.0, 0.0, 1.0)}
    draw_preview(folder, **{name: _flat(color) for name, color in colors.items()}, notes=("1 dB", "2 dB"))
    picture = imread(folder.preview)[..., :3]
    height, width, _ = picture.shape
    row = picture[height // 2]
    third = width // 3
    for number in range(3):
        assert row[third * number + third // 2].tolist() == [255 * (number == channel) for channel in range(3)]
    title = picture[: height // 10]
    assert all((title[:, third * number : third * (number + 1)] < 128).any() for number in range(3))


def test_preview_shows_the_middle_of_a_large_image(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    image = torch.zeros(1, 3, 700, 700)
    image[..., 200:500, 200:500] = 1
    draw_preview(folder, degraded=image, restored=image, clean=image, notes=("", ""))
    picture = imread(folder.preview)[..., :3]
    third = picture.shape[1] // 3
    part = picture[:, :third]
    black = (part == 0).all(-1)
    inside = (part == 255).all(-1)[black.any(1)][:, black.any(0)]
    assert np.isclose(inside.mean(), (300 / 320) ** 2, atol=0.02)


def test_curves_are_drawn_from_the_log(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    run_toy(tmp_path, callbacks=[MetricsLog(folder), Curves(folder)], steps=4, validate_every=2)
    picture = imread(folder.curves)[..., :3].astype(int)
    thirds = np.array_split(picture, 3, axis=1)
    for third, channel in zip(thirds, ("blue", "orange", "blue"), strict=True):
        red, blue = third[..., 0], third[..., 2]
        colored = blue - red > 100 if channel == "blue" else red - blue > 100
        assert colored.sum() > 100


def test_curves_of_a_run_that_has_only_begun(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.metrics.write_text("")
    Curves(folder).on_validation(None, None)
    assert imread(folder.curves).size
