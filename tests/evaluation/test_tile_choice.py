from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adair_core import Condition, Protocol
from adair_core.errors import DataError
from adair_core.evaluation import EvaluationImage
from adair_core.evaluation.tile_choice import LARGEST, SIDES, choose_tile

PROTOCOL = Protocol(name="p", conditions=(Condition(label="real"),), quantize=False, metrics=("ssim",))


class Restoring:
    """Gives the input with an error of so many dB, for each side of the tiles."""

    def __init__(self, psnr: dict[int | None, float]) -> None:
        self.error = {side: 10 ** (-value / 20) for side, value in psnr.items()}
        self.seen: list[tuple[int, ...]] = []

    def restore(self, image: Tensor, *, tile: int | None) -> Tensor:
        self.seen.append(tuple(image.shape))
        return image + self.error[tile]


def pairs(*sizes: tuple[int, int]) -> list[EvaluationImage]:
    return [(f"{size}", torch.full((3, *size), 0.3), torch.full((3, *size), 0.3)) for size in sizes]


def test_the_fastest_of_the_best() -> None:
    for psnr, side in (
        ({None: 31.55, 192: 31.60, 128: 31.61}, 192),
        ({None: 31.55, 192: 31.57, 128: 31.62}, 128),
        ({None: 31.57, 192: 31.60, 128: 31.60}, None),
        ({None: 24.0, 192: 22.0, 128: 21.0}, None),
    ):
        choice = choose_tile(Restoring(psnr), PROTOCOL, pairs((40, 200)))  # type: ignore[arg-type]
        assert choice.side == side
        for each in SIDES:
            assert abs(choice.psnr[each] - psnr[each]) < 0.001


def test_images_that_fit_into_every_tile_choose_nothing() -> None:
    with pytest.raises(DataError, match="some that are larger than tiles of 128 pixels, got 2 that are not"):
        choose_tile(Restoring(dict.fromkeys(SIDES, 30.0)), PROTOCOL, pairs((128, 60), (9, 9)))  # type: ignore[arg-type]


def test_the_middles_of_large_images() -> None:
    model = Restoring(dict.fromkeys(SIDES, 30.0))
    choose_tile(model, PROTOCOL, pairs((LARGEST + 200, 50), (60, 40)))  # type: ignore[arg-type]
    assert set(model.seen) == {(1, 3, LARGEST, 50), (1, 3, 60, 40)}
