"""Film grain passes adair's contract, and has the statistics of its equation."""

from __future__ import annotations

import math

import pytest
import torch
from adair_core.testing import DegradationContract

from adair_plugin_film_grain import FilmGrain, FilmGrainConfig


class TestFilmGrain(DegradationContract):
    name = "film-grain"


class TestMonochromeFilmGrain(DegradationContract):
    name = "film-grain"
    options = {"monochrome": True}


def grain(value: float, **options: object) -> torch.Tensor:
    image = torch.full((1, 3, 256, 256), value, dtype=torch.float64)
    return FilmGrain(FilmGrainConfig(**options))(image, torch.Generator().manual_seed(0)) - image


@pytest.mark.parametrize("value", [0.1, 0.5, 0.8])
def test_deviation_follows_the_tone(value):
    deviation = grain(value, strength=20, size=0.8).std().item()
    assert deviation == pytest.approx(20 / 255 * 2 * math.sqrt(value * (1 - value)), rel=0.03)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_black_and_white_have_no_grain(value):
    assert not grain(value, strength=20).any()


def test_neighbours_correlate_as_a_gaussian_does():
    # White noise blurred with a Gaussian of deviation s has the correlation exp(-d^2 / (4 s^2)) at distance d.
    plane = grain(0.5, strength=20, size=1.5)[0, 0]
    correlation = torch.corrcoef(torch.stack([plane[:, :-2].flatten(), plane[:, 2:].flatten()]))[0, 1].item()
    assert correlation == pytest.approx(math.exp(-(2**2) / (4 * 1.5**2)), abs=0.03)


def test_monochrome_grain_is_equal_in_all_channels():
    colour, monochrome = grain(0.5, strength=20), grain(0.5, strength=20, monochrome=True)
    assert torch.equal(monochrome[:, 0], monochrome[:, 2])
    assert not torch.equal(colour[:, 0], colour[:, 2])
