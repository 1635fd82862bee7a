"""Crops are parts of the image, spread over it, and read from top to bottom."""

from __future__ import annotations

import pytest
import torch

from adair_core.diagnosis.crops import crops_of, raster


def image_of(height: int, width: int) -> torch.Tensor:
    return torch.arange(3.0 * height * width).view(1, 3, height, width)


def cut(image: torch.Tensor, side: int, most: int) -> tuple[torch.Tensor, list[tuple[int, int]]]:
    asked = []

    def read(top: int, bottom: int) -> torch.Tensor:
        asked.append((top, bottom))
        return image[:, :, top:bottom]

    return crops_of(read, *image.shape[2:], side=side, most=most), asked


def test_corners_and_middle_of_a_square():
    image = image_of(20, 20)
    crops, asked = cut(image, 4, 9)
    places = [(y, x) for y in (0, 8, 16) for x in (0, 8, 16)]
    assert torch.equal(crops, torch.cat([image[:, :, y : y + 4, x : x + 4] for y, x in places]))
    assert asked == [(0, 4), (8, 12), (16, 20)]


@pytest.mark.parametrize(("height", "width"), [(4, 400), (400, 4), (7, 9), (1000, 30), (4, 4), (129, 257)])
def test_no_more_crops_than_asked_for_and_none_overlap(height, width):
    rows, columns = raster(height, width, side=4, most=7)
    assert 1 <= rows * columns <= 7
    crops, _ = cut(image_of(height, width), 4, 7)
    assert len(crops) == rows * columns
    assert len(crops.unique()) == crops.numel()


def test_a_small_image_is_continued_by_its_mirror_image():
    crops, _ = cut(torch.tensor([[[[1.0, 2.0]]]]).expand(1, 3, 1, 2), 5, 9)
    assert crops.shape == (1, 3, 5, 5)
    assert crops[0, 0, 3].tolist() == [1, 2, 2, 1, 1]
