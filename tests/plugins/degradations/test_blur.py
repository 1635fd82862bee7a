"""Gaussian and motion blur against scipy and against the integrals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.ndimage
import torch

from adair_core.plugins import plugins
from adair_core.specs import Choice
from adair_plugins.degradations.convolution import convolve, convolve_valid, fast_length, reflect_indices
from adair_plugins.degradations.gaussian_blur import gaussian_kernel
from adair_plugins.degradations.motion_blur import path_kernel
from adair_plugins.degradations.paths import splat, wandering_path

SIZES = [(1, 1), (1, 7), (3, 2), (17, 23), (40, 33)]


def degrade(name: str, images: torch.Tensor, **options: object) -> torch.Tensor:
    return plugins().degradation(Choice(name=name, options=options))(images, torch.Generator().manual_seed(0))


def image(channels: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * 100 + width)
    return torch.rand(1, channels, height, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("length", [1, 2, 3, 5])
@pytest.mark.parametrize("radius", [0, 1, 4, 11])
def test_reflection_of_any_depth(length: int, radius: int):
    row = np.arange(length)
    expected = np.pad(row, radius, mode="reflect")
    assert reflect_indices(length, radius, radius).tolist() == expected.tolist()


@pytest.mark.parametrize("length", [1, 7, 59, 79, 158, 1021])
def test_fast_length_is_that_of_scipy_fftpack(length: int):
    import scipy.fftpack

    assert fast_length(length) == scipy.fftpack.next_fast_len(length)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_convolution_against_scipy(height: int, width: int):
    kernel = torch.rand(9, 13, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = image(3, height, width)[0]
    expected = np.stack([scipy.ndimage.convolve(channel, kernel.numpy(), mode="mirror") for channel in x.numpy()])
    np.testing.assert_allclose(convolve(x, kernel).numpy(), expected, atol=1e-12)
    single = convolve(x.float(), kernel)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected, rtol=1e-6)


def test_valid_convolution_against_the_sum():
    field, kernel = image(1, 11, 13)[0, 0], image(1, 3, 5)[0, 0]
    out = convolve_valid(field, kernel)
    assert out.shape == (9, 9)
    expected = sum(kernel[i, j] * field[2 - i : 11 - i, 4 - j : 13 - j] for i in range(3) for j in range(5))
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.7])
def test_isotropic_gaussian_against_scipy(sigma: float, height: int, width: int):
    x = image(3, height, width)
    blurred = degrade("gaussian-blur", x, sigma=sigma, ratio=1)
    expected = scipy.ndimage.gaussian_filter(x.numpy(), (0, 0, sigma, sigma), mode="mirror", truncate=4)
    np.testing.assert_allclose(blurred.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("angle", [0, 30, 90, 135])
def test_anisotropic_gaussian_has_the_covariance_of_its_equation(angle: float):
    sigma, ratio = 4.0, 0.5
    kernel = gaussian_kernel(sigma, ratio, angle).numpy()
    radius = kernel.shape[0] // 2
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    x, y = columns, -rows
    theta = math.radians(angle)
    rotation = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    expected = rotation @ np.diag([sigma**2, (ratio * sigma) ** 2]) @ rotation.T
    moments = np.array([[(kernel * a * b).sum() for a in (x, y)] for b in (x, y)])
    np.testing.assert_allclose(moments, expected, atol=0.03)  # 0.03: the kernel ends at 4 sigma
    assert kernel.sum() == pytest.approx(1, abs=1e-12)


def test_no_blur_keeps_the_bits():
    x = image(3, 9, 9)
    assert torch.equal(degrade("gaussian-blur", x, sigma=0), x)
    assert torch.equal(degrade("motion-blur", x, length=0), x)


@pytest.mark.parametrize("length", [1.0, 4.0, 9.5])
def test_straight_motion_is_the_integral_of_the_path(length: float):
    kernel = path_kernel(wandering_path(length, 0, 0, torch.zeros(4, dtype=torch.float64)))
    radius = kernel.shape[0] // 2
    for column in range(-radius, radius + 1):
        tent, _ = scipy.integrate.quad(
            lambda s, c=column: max(0, 1 - abs(s - c)), -length / 2, length / 2, points=[column], limit=200
        )
        # A quarter of a pixel between samples of the path: the midpoint rule.
        assert kernel[radius, column + radius].item() == pytest.approx(tent / length, abs=0.02 / length)
    assert kernel.sum().item() == pytest.approx(1, abs=1e-12)
    assert kernel.sum(1)[radius].item() == pytest.approx(1, abs=1e-9)


def test_direction_of_motion_is_anticlockwise_from_horizontal():
    def kernel(angle: float) -> np.ndarray:
        return path_kernel(wandering_path(10, angle, 0, torch.zeros(4, dtype=torch.float64))).numpy()

    np.testing.assert_allclose(kernel(90), kernel(0).T, atol=1e-9)
    diagonal = kernel(45)
    assert np.trace(diagonal[::-1]) > 0.5  # from the bottom left to the top right
    assert np.trace(diagonal) < 0.2
    np.testing.assert_allclose(kernel(135), diagonal[:, ::-1], atol=1e-9)


@pytest.mark.parametrize("shake", [0, 0.5, 1])
def test_path_keeps_its_length_and_its_middle(shake: float):
    wander = torch.randn(4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    path = wandering_path(20, 70, shake, wander)
    steps = (path[1:] - path[:-1]).norm(dim=1)
    torch.testing.assert_close(steps, torch.full_like(steps, 20 / len(path)), atol=1e-12, rtol=0)
    torch.testing.assert_close(path.mean(0), torch.zeros(2, dtype=torch.float64), atol=1e-12, rtol=0)
    straightness = (path[-1] - path[0]).norm() / steps.sum()
    assert (straightness > 1 - 1e-12) == (shake == 0)


def test_splat_drops_what_falls_outside():
    positions = torch.tensor([[0.25, 1.5], [-1.0, 0.0], [1.5, 2.0]], dtype=torch.float64)
    expected = torch.tensor([[0, 0.375, 0.375], [0, 0.125, 0.125 + 0.5]], dtype=torch.float64)
    torch.testing.assert_close(splat(positions, 2, 3), expected)


def test_blur_of_one_pixel_images_is_the_pixel():
    x = image(3, 1, 1)
    for name, options in (("gaussian-blur", {"sigma": 20}), ("motion-blur", {"length": 60})):
        torch.testing.assert_close(degrade(name, x, **options), x, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("name", "options"), [("gaussian-blur", {"sigma": 2}), ("motion-blur", {"length": 9})])
def test_a_stored_blur_is_that_of_a_file(name: str, options: dict[str, float]):
    images = image(3, 21, 30).expand(50, -1, -1, -1)
    whole, stored = degrade(name, images, **options), degrade(name, images, stored=1, **options)
    np.testing.assert_array_equal(stored.numpy(), np.round(whole.numpy() * 255) / 255)
    some = degrade(name, images, stored=0.5, **options)
    which = (some == stored).flatten(1).all(1)
    assert 10 < which.sum() < 40
    assert torch.equal(some[~which], whole[~which])
