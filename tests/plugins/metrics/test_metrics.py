"""The built-in metrics against other implementations."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from torch import Tensor

from adair_core.errors import WeightsError
from adair_plugins.metrics import adair_metrics
from adair_plugins.metrics.lpips import TRUNK_FILE, TRUNK_URL, Lpips
from adair_plugins.metrics.psnr import psnr
from adair_plugins.metrics.ssim import ssim


def pair(height: int, width: int, channels: int = 3, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.linspace(0, 9, height).view(-1, 1)
    target = (0.5 + 0.4 * torch.sin(rows + torch.linspace(0, 7, width))).expand(1, channels, height, width)
    target = target + 0.05 * torch.rand(target.shape, generator=generator)
    restored = target + 0.08 * torch.randn(target.shape, generator=generator)
    return restored.clamp(0, 1), target.clamp(0, 1)


def test_offers_three_metrics() -> None:
    specs = {spec.name: spec for spec in adair_metrics()}
    assert set(specs) == {"psnr", "ssim", "lpips"}
    assert [specs[name].higher_is_better for name in ("psnr", "ssim", "lpips")] == [True, True, False]
    assert specs["psnr"].unit == "dB"


@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_is_that_of_scikit_image(channels: int) -> None:
    from skimage.metrics import peak_signal_noise_ratio

    restored, target = pair(20, 31, channels)
    expected = peak_signal_noise_ratio(target.double().numpy(), restored.double().numpy(), data_range=1.0)
    assert psnr(restored, target) == pytest.approx(expected, abs=1e-9)


def test_psnr_is_that_of_torchmetrics() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchmetrics.functional.image import peak_signal_noise_ratio

    restored, target = (image.double() for image in pair(20, 31))
    # It divides by a float32 logarithm of 10: 1e-6 dB.
    expected = peak_signal_noise_ratio(restored, target, data_range=1.0).item()
    assert psnr(restored, target) == pytest.approx(expected, abs=1e-5)


def test_psnr_of_a_known_error() -> None:
    target = torch.zeros(1, 3, 5, 5)
    assert psnr(target + 25 / 255, target) == pytest.approx(20.1720, abs=1e-4)


def test_psnr_of_equal_images_is_infinite() -> None:
    target = pair(4, 4)[1]
    assert psnr(target, target.clone()) == math.inf


def test_psnr_of_a_broken_image_is_nan_not_a_number_that_looks_good() -> None:
    target = torch.zeros(1, 3, 5, 5)
    assert math.isnan(psnr(target / 0, target))
    assert math.isnan(psnr(target[..., :0], target[..., :0]))


def wang(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al.'s ssim_index.m: windows inside the image only."""
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def blur(image: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(image, taps, axis=0), taps, axis=1)[5:-5, 5:-5]

    c1, c2 = 0.01**2, 0.03**2
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    return float((((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())


@pytest.mark.parametrize(("height", "width", "channels"), [(11, 11, 1), (24, 37, 3)])
def test_ssim_is_that_of_wang(height: int, width: int, channels: int) -> None:
    restored, target = pair(height, width, channels)
    x, y = restored[0].double().numpy(), target[0].double().numpy()
    expected = np.mean([wang(x[c], y[c]) for c in range(channels)])
    assert ssim(restored, target) == pytest.approx(expected, abs=1e-10)
    assert 0.3 < ssim(restored, target) < 0.99


def test_ssim_is_that_of_torchmetrics_inside_its_padding() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchmetrics.functional.image import structural_similarity_index_measure

    restored, target = pair(30, 26)
    restored, target = restored.double(), target.double()
    _, values = structural_similarity_index_measure(restored, target, data_range=1.0, return_full_image=True)
    assert ssim(restored, target) == pytest.approx(values[..., 5:-5, 5:-5].mean().item(), abs=1e-9)


@pytest.mark.parametrize(("height", "width"), [(10, 40), (40, 10), (1, 1)])
def test_ssim_is_undefined_below_its_window(height: int, width: int) -> None:
    assert math.isnan(ssim(*pair(height, width)))


def test_ssim_of_equal_images_is_one() -> None:
    target = pair(16, 16)[1]
    assert ssim(target, target.clone()) == pytest.approx(1, abs=1e-12)


@pytest.fixture(scope="module")
def random_lpips() -> Lpips:
    return Lpips(random_trunk=True)


def test_lpips_is_zero_for_equal_images_and_grows_with_the_error(random_lpips: Lpips) -> None:
    restored, target = pair(40, 48)
    assert random_lpips(target, target.clone()) == 0
    halfway = (restored + target) / 2
    assert 0 < random_lpips(halfway, target) < random_lpips(restored, target)


def test_lpips_takes_luma_and_is_undefined_below_its_receptive_size(random_lpips: Lpips) -> None:
    luma, target = pair(31, 31, 1)
    as_colour = random_lpips(luma.expand(1, 3, 31, 31), target.expand(1, 3, 31, 31))
    assert random_lpips(luma.double(), target.double()) == pytest.approx(as_colour, abs=1e-9)
    assert as_colour > 0
    assert math.isnan(random_lpips(*pair(30, 64)))


def test_building_lpips_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    Lpips(random_trunk=True)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return folder


def test_missing_lpips_weights_say_where_to_get_them_and_where_to_put_them(checkpoints: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        Lpips()
    assert str(checkpoints / TRUNK_FILE) in str(caught.value)
    assert TRUNK_URL in str(caught.value)


def test_truncated_lpips_weights_are_named(checkpoints: Path) -> None:
    (checkpoints / TRUNK_FILE).write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(WeightsError, match="cannot be read"):
        Lpips()


def test_weights_of_another_network_are_refused(checkpoints: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(3)}, checkpoints / TRUNK_FILE)
    with pytest.raises(WeightsError, match=r"features\.0\.weight of shape \(64, 3, 11, 11\)"):
        Lpips()


def test_lpips_weights_in_place_are_used(checkpoints: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchvision.models import alexnet

    # The trunk as torchvision names and saves it; without the classifier, which lpips drops, the file is small.
    weights = {f"features.{name}": value for name, value in alexnet().features.state_dict().items()}
    torch.save(weights, checkpoints / TRUNK_FILE)
    metric = Lpips()
    assert torch.equal(metric.network.net.slice3[1].weight, weights["features.6.weight"])
