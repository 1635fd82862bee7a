"""What is done to an image before a metric sees it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from adair_core import Choice, Condition, Protocol
from adair_core.data.pixels import quantized
from adair_core.errors import DataError
from adair_core.evaluation import evaluate
from adair_core.evaluation.measurement import cropped_to_multiple, luma, measured, with_mean_of

CONDITION = Condition(label="x", degradation=Choice(name="x"))


def protocol(**options: object) -> Protocol:
    return Protocol.model_validate({"name": "p", "conditions": (CONDITION,), **options})


def image(height: int = 9, width: int = 12, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64)


def test_quantized_is_rounding_to_the_nearest_level_with_clipping() -> None:
    values = torch.tensor([-0.2, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 1.3], dtype=torch.float64)
    assert (quantized(values) * 255).tolist() == [0, 0, 0, 1, 255, 255]


def test_luma_is_that_of_scikit_image() -> None:
    x = image()
    expected = rgb2ycbcr(x[0].permute(1, 2, 0).numpy())[..., 0] / 255
    np.testing.assert_allclose(luma(x)[0, 0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("rgb", "expected"),
    # MATLAB: rgb2ycbcr(uint8(cat(3, r, g, b)))
    [((0, 0, 0), 16), ((255, 255, 255), 235), ((255, 0, 0), 81), ((0, 255, 0), 145), ((0, 0, 255), 41)],
)
def test_quantized_luma_of_primaries_is_matlabs(rgb: tuple[int, int, int], expected: int) -> None:
    x = torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1) / 255
    assert measured(x, protocol(color="y")).mul(255).item() == pytest.approx(expected, abs=1e-9)


def test_unquantized_luma_is_not_rounded() -> None:
    x = image()
    torch.testing.assert_close(measured(x, protocol(color="y", quantize=False)), luma(x))
    rounded = measured(x, protocol(color="y")) * 255
    torch.testing.assert_close(rounded, rounded.round())


def test_crop_removes_the_border_after_the_colour_conversion() -> None:
    x = image()
    out = measured(x, protocol(color="y", crop=2, quantize=False))
    torch.testing.assert_close(out, luma(x)[..., 2:-2, 2:-2])


def test_without_quantisation_nothing_is_clipped() -> None:
    x = image() * 3 - 1
    assert torch.equal(measured(x, protocol(quantize=False)), x)


def test_a_crop_that_leaves_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match=r"more than 8 pixels a side.* got 12 x 8"):
        measured(image(8, 12), protocol(crop=4))


@pytest.mark.parametrize(("height", "width", "multiple"), [(9, 12, 4), (9, 12, 3), (5, 7, 1)])
def test_crop_to_multiple_keeps_the_top_left(height: int, width: int, multiple: int) -> None:
    x = image(height, width)
    out = cropped_to_multiple(x, multiple)
    assert out.shape[-2:] == (height // multiple * multiple, width // multiple * multiple)
    assert torch.equal(out, x[..., : out.shape[-2], : out.shape[-1]])


def test_an_image_smaller_than_the_multiple_is_an_error() -> None:
    with pytest.raises(DataError, match="at least 4 pixels a side, got 12 x 3"):
        cropped_to_multiple(image(3, 12), 4)


def test_a_y_protocol_is_scikit_image_on_8_bit_images() -> None:
    """From pixels to numbers by other means: rounded luma without a border, PSNR and SSIM on the scale of 255."""
    target = image(30, 40, seed=3)
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    restored = target + 0.1 * noise
    rules = Protocol(name="p", conditions=(Condition(label="real"),), metrics=("psnr", "ssim"), color="y", crop=3)
    row = evaluate(lambda x: restored, rules, [("a", target, target)]).rows[0]

    def levels(x: torch.Tensor) -> np.ndarray:
        rgb = np.round(np.clip(x[0].permute(1, 2, 0).numpy(), 0, 1) * 255).astype(np.uint8)
        return np.round(rgb2ycbcr(rgb)[3:-3, 3:-3, 0])

    theirs, ours = levels(target), levels(restored)
    assert row.restored["psnr"] == pytest.approx(peak_signal_noise_ratio(theirs, ours, data_range=255), abs=1e-9)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = structural_similarity(theirs, ours, data_range=255, **options)
    assert row.restored["ssim"] == pytest.approx(expected, abs=1e-9)


def gray(x: torch.Tensor) -> np.ndarray:
    """As OpenCV's COLOR_RGB2GRAY."""
    return x[0].numpy().transpose(1, 2, 0) @ np.array([0.299, 0.587, 0.114])


def test_with_mean_of_gives_the_targets_mean_gray_level() -> None:
    target, dark = image(seed=1) * 0.5, image(seed=2) * 0.2
    scaled = with_mean_of(dark, target)
    np.testing.assert_allclose(gray(scaled).mean(), gray(target).mean(), rtol=1e-12)
    torch.testing.assert_close(scaled, dark * (gray(target).mean() / gray(dark).mean()))


def test_with_mean_of_clips_before_and_after_and_leaves_black_alone() -> None:
    target = torch.full((1, 3, 2, 2), 0.9, dtype=torch.float64)
    bright = torch.tensor([1.8, 0.1], dtype=torch.float64).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    # Clipped to 1 and 0.1, a mean of 0.55, so times 0.9 / 0.55: 1.64, which is clipped, and 0.1636.
    torch.testing.assert_close(with_mean_of(bright, target)[0, 0, 0], torch.tensor([1.0, 0.09 / 0.55]).double())
    assert not with_mean_of(torch.zeros(1, 3, 2, 2), target).any()
