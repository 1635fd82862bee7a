"""What the diagnoser learns from: the noise that cameras leave, the parts of the photos, the schedule."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adair_core.data.seeds import generator

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from diagnosing import camera
from diagnosing.examples import Example, part_of
from diagnosing.neither import of_levels, squares
from diagnosing.training import TrainingSettings, wanted

GRAY = torch.full((3, 96, 96), 0.5)


@pytest.mark.parametrize("psnr", [30.0, 40.0])
def test_a_camera_s_noise_is_as_strong_as_drawn(monkeypatch, psnr):
    monkeypatch.setattr(camera, "PSNR", (psnr, psnr))
    monkeypatch.setattr(camera, "QUALITY", (100.0, 100.0))
    for seed in range(4):
        noise = camera.developed(GRAY, generator(0, seed)) - GRAY
        # JPEG of quality 100 rounds to 256 levels and makes colours coarser.
        assert -10 * noise.square().mean().log10().item() == pytest.approx(psnr, abs=1.5)


def test_no_photo_is_in_two_parts():
    parts = [part_of(index) for index in range(40)]
    assert [parts.count(part) for part in ("training", "calibration", "validation")] == [34, 2, 4]


def test_what_has_no_name_is_to_be_anything_alike():
    image = torch.zeros(3, 8, 8)
    made = wanted([Example(image, 2, 0.1), Example(image, None, 0.1)])
    assert made[0].tolist() == [0, 0, 1] + [0] * 6
    assert made[1].tolist() == pytest.approx([1 / 9] * 9)


def test_only_what_is_as_good_as_clean_is_disputed():
    image = torch.zeros(3, 8, 8)
    assert [Example(image, 2, error).disputed for error in (1e-3, 1e-4, 1e-5)] == [False, True, False]


def test_a_run_of_other_steps_is_the_same_until_it_settles():
    long, short = replace(TrainingSettings(), steps=1000), replace(TrainingSettings(), steps=600)
    assert [long.rate(step) for step in range(420)] == [short.rate(step) for step in range(420)]
    assert short.rate(510) == pytest.approx(short.learning_rate / 2)


def test_squares_and_levels():
    image = torch.tensor([[[0.0, 0.2, 0.6], [0.4, 0.2, 1.0]]])
    assert squares(image, 2)[0].tolist() == [pytest.approx([0.2, 0.2, 0.8])] * 2
    assert of_levels(image, 3)[0].tolist() == [[0, 0, 0.5], [0.5, 0, 1]]
