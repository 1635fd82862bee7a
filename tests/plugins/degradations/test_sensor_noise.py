"""Gaussian noise, photon noise, low light, camera noise: the statistics that their equations promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

from adair_core.plugins import plugins
from adair_core.specs import Choice
from adair_plugins.degradations.camera_noise import COLOURS, bayer_masks, colour_matrix, demosaic
from adair_plugins.degradations.photons import log_uniform, shot_noise


def degrade(name: str, images: torch.Tensor, seed: int = 0, **options: object) -> torch.Tensor:
    return plugins().degradation(Choice(name=name, options=options))(images, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sigma", [1, 25, 100])
def test_gaussian_noise_is_white_and_normal(sigma: float):
    images = torch.full((1, 3, 200, 200), 0.5, dtype=torch.float64)
    noise = (degrade("gaussian-noise", images, sigma=sigma) - images).numpy()[0] * 255 / sigma
    assert scipy.stats.kstest(noise.ravel(), "norm").pvalue > 1e-3
    count = noise[0].size
    for channel in noise:
        assert abs(channel.mean()) < 4 / np.sqrt(count)
        assert abs(channel.std() - 1) < 4 / np.sqrt(2 * count)
        assert abs((channel[:, 1:] * channel[:, :-1]).mean()) < 4 / np.sqrt(count)
        assert abs((channel[1:] * channel[:-1]).mean()) < 4 / np.sqrt(count)
    assert abs((noise[0] * noise[1]).mean()) < 4 / np.sqrt(count)


def test_gaussian_noise_does_not_depend_on_the_image_and_is_not_clipped():
    black = degrade("gaussian-noise", torch.zeros(1, 3, 30, 30), sigma=50)
    white = degrade("gaussian-noise", torch.ones(1, 3, 30, 30), sigma=50)
    assert black.min() < 0
    assert white.max() > 1
    torch.testing.assert_close(white - 1, black, atol=2e-7, rtol=0)


def test_a_share_of_the_images_has_one_noise_in_all_channels_and_another_share_is_stored():
    """Which ones does not depend on each other, and the noise is the one that they would have had."""
    images = torch.full((400, 3, 8, 8), 0.5)
    usual = degrade("gaussian-noise", images, sigma=100)
    found = degrade("gaussian-noise", images, sigma=100, shared=0.3, stored=0.6)
    shared = (found == found[:, :1]).flatten(1).all(1)
    levels = found * 255
    stored = ((levels - levels.round()).abs() < 1e-4).flatten(1).all(1)
    for which, share in ((shared, 0.3), (stored, 0.6), (shared & stored, 0.18), (~shared & ~stored, 0.28)):
        assert abs(which.float().mean().item() - share) < 4 * math.sqrt(share * (1 - share) / 400)
    assert torch.equal(found[~shared & ~stored], usual[~shared & ~stored])
    one = usual[shared & ~stored][:, :1].expand(-1, 3, -1, -1)
    assert torch.equal(found[shared & ~stored], one)
    expected = np.clip(np.round(usual[~shared & stored].numpy() * np.float32(255)), 0, 255) / np.float32(255)
    np.testing.assert_array_equal(found[~shared & stored].numpy(), expected)


def test_gaussian_noise_draws_sigma_uniformly():
    degradation = plugins().degradation(Choice(name="gaussian-noise", options={"sigma": "5,55"}))
    generator = torch.Generator().manual_seed(0)
    sigmas = [degradation.draw((1, 1, 1), generator)["sigma"] for _ in range(500)]
    assert scipy.stats.kstest(sigmas, scipy.stats.uniform(5, 50).cdf).pvalue > 1e-3


@pytest.mark.parametrize(("photons", "level"), [(4, 0.5), (40, 0.25), (500, 0.9)])
def test_photon_counts_follow_poisson(photons: float, level: float):
    images = torch.full((1, 1, 200, 200), level, dtype=torch.float64)
    counts = degrade("poisson-noise", images, photons=photons, read=0).numpy().ravel() * photons
    np.testing.assert_allclose(counts, counts.round(), atol=1e-9)
    law = scipy.stats.poisson(photons * level)
    low, high = int(law.ppf(0.005)), int(law.ppf(0.995))
    edges = np.arange(low, high + 1)
    observed = [(counts < low - 0.5).sum(), *[(counts.round() == k).sum() for k in edges], (counts > high + 0.5).sum()]
    expected = np.array([law.cdf(low - 1), *law.pmf(edges), law.sf(high)]) * counts.size
    kept = expected > 5
    rest = expected[~kept].sum()
    observed, expected = np.array(observed)[kept], expected[kept]
    if rest > 0:
        expected = expected * observed.sum() / expected.sum()
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-3


def test_poisson_noise_variance_grows_with_the_signal():
    levels = torch.linspace(0.05, 1, 8, dtype=torch.float64)
    images = levels.view(1, 1, 8, 1).expand(1, 1, 8, 40000).contiguous()
    noisy = degrade("poisson-noise", images, photons=100, read=10)[0, 0]
    expected = levels / 100 + (10 / 255) ** 2
    np.testing.assert_allclose(noisy.mean(1), levels, atol=4 * (expected.max().item() / 40000) ** 0.5)
    np.testing.assert_allclose(noisy.var(1), expected, rtol=4 * (2 / 40000) ** 0.5)


def test_shot_noise_counts_negative_light_as_none():
    signal = torch.tensor([-0.5, 0.0, 1.0])
    counted = shot_noise(signal, 10.0, seed=1)
    assert counted[:2].tolist() == [0, 0]
    assert signal.tolist() == [-0.5, 0, 1]


def test_log_uniform_doublings_are_equally_likely():
    generator = torch.Generator().manual_seed(2)
    values = [log_uniform((10.0, 1000.0), generator) for _ in range(500)]
    assert scipy.stats.kstest(np.log10(values), scipy.stats.uniform(1, 2).cdf).pvalue > 1e-3


def test_low_light_without_noise_is_exposure_and_gamma():
    images = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    degraded = degrade("low-light", images, exposure=-3, gamma=1.3, photons=1e9, read=0)
    expected = (images.numpy() ** 2.2 / 8) ** (1.3 / 2.2)
    np.testing.assert_allclose(degraded.numpy(), expected, atol=2e-4)
    # One stop, as a photographer counts: the same as multiplying display values by 2^(1/2.2).
    brighter = degrade("low-light", images, exposure=-2, gamma=1, photons=1e9, read=0)
    darker = degrade("low-light", images, exposure=-3, gamma=1, photons=1e9, read=0)
    np.testing.assert_allclose(brighter.numpy(), darker.numpy() * 2 ** (1 / 2.2), atol=4e-4)


def test_low_light_noise_is_that_of_the_sensor_in_linear_light():
    images = torch.full((1, 1, 300, 300), 0.8, dtype=torch.float64)
    degraded = degrade("low-light", images, exposure=-2, gamma=1.2, photons=2000, read=0.5).numpy()
    linear = degraded ** (2.2 / 1.2)
    light = 0.8**2.2 / 4
    variance = light / 2000 + (0.5 / 255) ** 2
    assert abs(linear.mean() - light) < 4 * np.sqrt(variance / linear.size)
    assert linear.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / linear.size))


def test_low_light_stays_in_range_where_negative_values_would_be():
    degraded = degrade("low-light", torch.zeros(1, 3, 40, 40), exposure=-4, read=1)
    assert degraded.min() == 0
    assert 0.02 < degraded.max() < 0.3


@pytest.mark.parametrize("phase", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_bayer_pattern(phase: tuple[int, int]):
    masks = bayer_masks((3, 5, 7), phase)
    assert (masks.sum(0) == 1).all()
    red = masks[0].nonzero()
    assert ((red - torch.tensor(phase)) % 2 == 0).all()
    blue = masks[2].nonzero()
    assert ((blue - torch.tensor(phase)) % 2 == 1).all()


def test_demosaicing_averages_the_nearest_pixels_of_a_colour():
    mosaic = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    picture = demosaic(mosaic, (0, 0))
    red, green, blue = mosaic
    # Red pixels lie at even rows and columns, blue ones at odd rows and columns, green ones between them.
    assert picture[0, 2, 2] == red[2, 2]
    assert picture[0, 2, 3] == pytest.approx((red[2, 2] + red[2, 4]) / 2)
    assert picture[0, 3, 2] == pytest.approx((red[2, 2] + red[4, 2]) / 2)
    assert picture[0, 3, 3] == pytest.approx((red[2, 2] + red[2, 4] + red[4, 2] + red[4, 4]) / 4)
    assert picture[1, 2, 2] == pytest.approx((green[1, 2] + green[3, 2] + green[2, 1] + green[2, 3]) / 4)
    assert picture[1, 2, 3] == green[2, 3]
    assert picture[2, 2, 2] == pytest.approx((blue[1, 1] + blue[1, 3] + blue[3, 1] + blue[3, 3]) / 4)
    assert picture[0, 0, 5] == pytest.approx(red[0, 4])  # the border has one neighbour


def test_demosaicing_leaves_ramps_alone():
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(9.0), indexing="ij")
    ramp = torch.stack([rows + 2 * columns, 3 - rows, columns], 0).double()
    torch.testing.assert_close(demosaic(ramp, (1, 0))[:, 1:-1, 1:-1], ramp[:, 1:-1, 1:-1])


def test_camera_noise_is_that_of_the_sensor_weighed_by_the_interpolation():
    images = torch.full((1, 3, 401, 400), 0.7, dtype=torch.float64)
    degraded = degrade("camera-noise", images, photons=3000, read=0.4, gain=2, quality=None).numpy()[0]
    light = 0.7**2.2
    noise = degraded**2.2 - light
    # A quarter of the red pixels is measured, a half is the mean of two and a quarter that of four; of the green ones
    # a half is measured and a half the mean of four. Gains amplify what fewer photons made.
    share = {"red": 0.25 + 0.5 / 2 + 0.25 / 4, "green": 0.5 + 0.5 / 4}
    read = (0.4 / 255) ** 2
    expected = {"red": 4 * (light / 2 / 3000 + read), "green": light / 3000 + read}
    for channel, colour in enumerate(("red", "green", "red")):
        variance = expected[colour] * share[colour]
        assert abs(noise[channel].mean()) < 5 * np.sqrt(expected[colour] / noise[channel].size)
        assert noise[channel].var() == pytest.approx(variance, rel=0.03)
    # Interpolated pixels share the measured ones; white noise would have no such correlation.
    assert np.mean(noise[0][:, 1:] * noise[0][:, :-1]) / noise[0].var() > 0.3
    assert abs(np.mean(noise[0] * noise[2])) / noise[0].var() < 0.02


def test_a_colour_matrix_makes_noise_of_one_colour_that_of_all():
    # Balanced: one gain for all, so that only the matrix makes colours differ.
    images = torch.full((1, 3, 500, 500), 0.6, dtype=torch.float64)
    options = {"photons": 2000, "read": 0, "gain": 1, "quality": None}
    plain, coloured = (
        (degrade("camera-noise", images, matrix=strength, **options).numpy()[0] ** 2.2 - 0.6**2.2).reshape(3, -1)
        for strength in (0, 1)
    )
    # Gray stays gray, so the sensor counts as many photons: the same noise, seen through the matrix.
    matrix = np.array(COLOURS)
    np.testing.assert_allclose(coloured, matrix @ plain, atol=1e-3 * coloured.std())
    assert np.corrcoef(coloured)[0, 1] < -0.2


def test_a_colour_matrix_leaves_the_picture_alone():
    images = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.6, 0.4], [0.9, 0.9, 0.9]], dtype=torch.float64).T.reshape(
        1, 3, 1, 3
    )
    degraded = degrade("camera-noise", images, photons=1e9, read=0, quality=None, matrix=1, gain=2)
    np.testing.assert_allclose(degraded.numpy(), images.numpy(), atol=1e-3)


def test_white_stays_white_under_every_matrix():
    for strength in (0.5, 1, 2):
        np.testing.assert_allclose(colour_matrix(strength).sum(1), 1, atol=1e-12)


def test_the_share_of_processed_pictures():
    degradation = plugins().degradation(Choice(name="camera-noise", options={"processed": 0.25}))
    generator = torch.Generator().manual_seed(0)
    draws = [degradation.draw((3, 4, 4), generator)["processing"] for _ in range(400)]
    assert sum(processing is not None for processing in draws) / 400 == pytest.approx(0.25, abs=0.09)


def test_processed_noise_is_the_sensor_s_smoothed():
    images = torch.full((1, 3, 120, 120), 0.5)
    options = {"photons": 500, "read": 0.3, "quality": None, "gain": 1.5}
    plain, processed = (degrade("camera-noise", images, processed=share, **options)[0] - 0.5 for share in (0, 1))
    degradation = plugins().degradation(Choice(name="camera-noise", options={"processed": 1, **options}))
    processing = degradation.draw((3, 120, 120), torch.Generator().manual_seed(0))["processing"]
    torch.testing.assert_close(processed, processing(plain), atol=1e-6, rtol=0)


def test_camera_noise_without_noise_and_jpeg_is_the_picture():
    # Not black, where the development's slope is infinite.
    images = 0.2 + 0.8 * torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    degraded = degrade("camera-noise", images, photons=1e9, read=0, quality=None)
    np.testing.assert_allclose(degraded.numpy(), images.numpy(), atol=1e-3)


def test_camera_noise_ends_in_a_file():
    images = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    levels = degrade("camera-noise", images, quality=90) * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)


def test_a_camera_s_file_may_have_fewer_colours_than_pixels():
    images = 0.25 + 0.5 * torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    options = {"photons": 300.0, "quality": 95.0}
    whole = degrade("camera-noise", images, **options, subsampling="4:4:4").double()
    fewer = degrade("camera-noise", images, **options, subsampling="4:2:0").double()
    blue_difference = torch.tensor([-0.168736, -0.331264, 0.5], dtype=torch.float64)  # ITU-T T.871
    brightness = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)

    def plane(images: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return (images * weights.view(3, 1, 1)).sum(1)

    changes = [plane(fewer - whole, weights).square().mean().sqrt() for weights in (brightness, blue_difference)]
    assert changes[1] > 3 * changes[0]  # the same noise and picture, in fewer colours
    steps = [plane(images, blue_difference).diff(dim=-1).std() for images in (whole, fewer)]
    assert steps[1] < 0.6 * steps[0]
    drawn = {
        subsampling
        for seed in range(20)
        for subsampling in ("4:4:4", "4:2:2", "4:2:0")
        if torch.equal(
            degrade("camera-noise", images[:1], seed, **options, subsampling="random"),
            degrade("camera-noise", images[:1], seed, **options, subsampling=subsampling),
        )
    }
    assert drawn == {"4:4:4", "4:2:2", "4:2:0"}
