"""The network that comes with the package, on photos that nothing was trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from adair_core.data.images import read_image, to_tensor
from adair_core.data.photos import sample_photo_files
from adair_core.data.seeds import generator
from adair_core.diagnosis import Diagnoser
from adair_core.plugins import plugins
from adair_core.specs import Choice

PHOTOS = ("astronaut.png", "coffee.png")


@pytest.fixture(scope="module")
def shipped() -> Diagnoser:
    return Diagnoser.load("diagnoser")


@pytest.fixture(scope="module", params=PHOTOS)
def photo(request) -> Tensor:
    (file,) = (file for file in sample_photo_files() if Path(file).name == request.param)
    return to_tensor(read_image(file))


def degraded(photo: Tensor, name: str, **options) -> Tensor:
    made = plugins().degradation(Choice(name=name, options=options))(photo, generator(0, name))
    return (made.clamp(0, 1) * 255).round() / 255


@pytest.mark.parametrize(
    ("degradation", "options", "task", "task_options"),
    [
        ("gaussian-noise", {"sigma": 25}, "denoise", {}),
        ("gaussian-blur", {"sigma": 3}, "deblur", {"kind": "gaussian"}),
        ("motion-blur", {"length": 20}, "deblur", {"kind": "motion"}),
        ("jpeg", {"quality": 15}, "dejpeg", {}),
        ("low-light", {"exposure": -4}, "low-light", {}),
        ("camera-noise", {"photons": 400, "quality": 92}, "real-denoise", {}),
        ("rain", {"brightness": 0.6, "coverage": 0.08}, "derain", {}),
    ],
)
def test_the_task_that_helps(shipped, photo, degradation, options, task, task_options):
    found = shipped.diagnose(degraded(photo, degradation, **options))
    assert (found.verdict, found.finding.task, dict(found.finding.options)) == ("wrong", task, task_options)


def test_a_clean_photo_is_left_alone(shipped, photo):
    assert shipped.diagnose(photo).verdict == "clean"


@pytest.mark.parametrize("sigma", [10, 25, 50])
def test_the_expected_psnr_of_noise(shipped, photo, sigma):
    noisy = degraded(photo, "gaussian-noise", sigma=sigma)
    true = -10 * (noisy - photo).square().mean().log10().item()
    assert shipped.diagnose(noisy).psnr == pytest.approx(true, abs=2)


def test_what_it_has_never_seen_is_unknown(shipped, photo):
    pattern = torch.tensor([[0.2, 0.7], [0.95, 0.45]]).repeat(photo.shape[2] // 2, photo.shape[3] // 2)
    assert shipped.diagnose((photo > pattern).float()).verdict == "unknown"


def test_every_finding_is_a_task_of_the_plugins(shipped):
    for finding in shipped.findings[1:]:
        config = plugins().task(finding.task).config(**finding.options)
        assert {name: getattr(config, name) for name in finding.options} == finding.options
