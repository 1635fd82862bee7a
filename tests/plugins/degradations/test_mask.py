"""Scratches and holes against their equation and their sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from adair_core.plugins import plugins
from adair_core.specs import Choice
from adair_plugins.degradations.mask import hole_mask, scratch_mask
from adair_plugins.degradations.paths import wandering_path


def degrade(images: torch.Tensor, seed: int = 0, **options: object) -> torch.Tensor:
    return plugins().degradation(Choice(name="mask", options=options))(images, torch.Generator().manual_seed(seed))


def test_damage_replaces_the_picture():
    zeros = torch.zeros(1, 3, 60, 70, dtype=torch.float64)
    options = {"fill": 0.4, "scratches": 3, "holes": 2}
    black, white = degrade(zeros, **options), degrade(zeros + 1, **options)
    mask = 1 - (white - black)
    torch.testing.assert_close(black, 0.4 * mask, atol=1e-12, rtol=0)
    x = torch.rand(1, 3, 60, 70, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    torch.testing.assert_close(degrade(x, **options), x * (1 - mask) + 0.4 * mask, atol=1e-12, rtol=0)
    assert mask.max() == pytest.approx(1)
    assert (mask < 1e-12).double().mean() > 0.4
    # Mostly all or nothing: only rims are in between.
    assert ((mask > 0.1) & (mask < 0.9)).double().mean() < 0.15


def test_nothing_damaged_keeps_the_bits():
    x = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(9))
    assert torch.equal(degrade(x, scratches=0, holes=0), x)


@pytest.mark.parametrize("thickness", [1.5, 3, 6, 20])
def test_scratch_has_its_thickness(thickness: float):
    path = wandering_path(200, 0, 0, torch.zeros(4, dtype=torch.float64)) + 30
    mask = scratch_mask(path, thickness, 61, 61).numpy()
    profile = mask[:, 30]
    assert profile[30] == pytest.approx(1)
    # Where it falls to a half, between two rows.
    first = int(np.argmax(profile >= 0.5))
    rise = (0.5 - profile[first - 1]) / (profile[first] - profile[first - 1])
    assert 2 * (30 - (first - 1 + rise)) == pytest.approx(thickness, abs=0.25)
    np.testing.assert_allclose(mask, np.repeat(profile[:, None], 61, 1), atol=0.02)


def test_scratch_outside_leaves_nothing():
    path = wandering_path(20, 0, 0, torch.zeros(4, dtype=torch.float64)) - 100
    assert scratch_mask(path, 3, 30, 30).max() < 1e-12


def test_hole_has_about_its_area():
    areas = []
    for seed in range(60):
        hole = torch.tensor([0.5, 0.5, 0.4, 0.7, 1.0], dtype=torch.float64)
        areas.append(hole_mask(100, 120, [hole], torch.Generator().manual_seed(seed)).sum().item())
    # The uneven rim divides radii by 1 + 0.2 g: areas by its square, on average times about 1.13.
    assert np.mean(areas) == pytest.approx(math.pi * 20**2 * 0.7 * 1.13, rel=0.15)
    assert np.std(areas) > 20


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2)])
def test_tiny_pictures(size: tuple[int, int]):
    degraded = degrade(torch.full((1, 1, *size), 0.5), scratches=5, holes=5, fill=1)
    assert degraded.min() >= 0.5
    assert degraded.max() <= 1
