"""A camera's own denoising, against what is known of Gaussians and of noise."""

import pytest
import torch

from adair_core.data.pixels import LUMA
from adair_core.data.seeds import generator
from adair_plugins.degradations.camera_processing import NoiseProcessing, blurred


def neighbours(noise):
    """Correlation of horizontal neighbours in ``(H, W)``."""
    return float(torch.corrcoef(torch.stack([noise[:, :-1].flatten(), noise[:, 1:].flatten()]))[0, 1])


def test_colours_are_smoother_than_brightness_and_both_than_a_sensor_s_noise():
    white = torch.randn(3, 96, 96, generator=generator(0, "white"))
    lumas, chromas = [], []
    for seed in range(8):
        noise = NoiseProcessing.draw(generator(0, seed))(white)
        luma = (noise * torch.tensor(LUMA).view(3, 1, 1)).sum(dim=0)
        lumas.append(neighbours(luma))
        chromas.append(neighbours(noise[0] - luma))
    assert abs(neighbours(white[0])) < 0.05 < sum(lumas) / 8 < sum(chromas) / 8


def test_no_smoothing_and_no_sharpening_of_gray_noise_is_nothing():
    gray = torch.randn(1, 20, 20, generator=generator(0, "gray")).expand(3, -1, -1)
    none = NoiseProcessing(chroma_sigma=1, chroma_gain=3, luma_sigma=1, luma_share=0, sharpening=0)
    torch.testing.assert_close(none(gray), gray, atol=1e-5, rtol=0)


def test_a_blur_has_the_gaussian_s_width():
    point = torch.zeros(1, 41, 41)
    point[0, 20, 20] = 1
    seen = blurred(point, 2.0)[0]
    along = torch.arange(41) - 20.0
    assert seen.sum().item() == pytest.approx(1, abs=1e-5)
    assert (seen.sum(dim=0) * along.square()).sum().item() == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_blur_that_is_wider_than_the_image_leaves_one_colour_alone(size):
    torch.testing.assert_close(blurred(torch.full((3, size, size), 0.3), 3.0), torch.full((3, size, size), 0.3))
