"""Rain, snow and haze against their equations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial import cKDTree

from adair_core.degradation import Degradation
from adair_core.plugins import plugins
from adair_core.specs import Choice
from adair_plugins.degradations.scene_parts import scene_parts
from adair_plugins.degradations.smooth_field import smooth_field
from adair_plugins.degradations.streaks import draw_points, line_kernel, render


def build(name: str, **options: object) -> Degradation:
    return plugins().degradation(Choice(name=name, options=options))


def on_flat(name: str, value: float, shape: tuple[int, int] = (64, 80), **options: object) -> torch.Tensor:
    images = torch.full((1, 3, *shape), value, dtype=torch.float64)
    return build(name, **options)(images, torch.Generator().manual_seed(0))


def photo(*size: int) -> torch.Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


@pytest.mark.parametrize(("length", "width", "angle"), [(20, 2, 0), (31, 3, 30), (12, 1.5, 100), (0, 4, 0)])
def test_line_has_its_length_width_and_direction(length: float, width: float, angle: float):
    kernel = line_kernel(length, width, angle).numpy()
    assert kernel.max() == kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] == 1
    radius = kernel.shape[0] // 2
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    total = kernel.sum()
    along = columns * math.cos(math.radians(angle)) - rows * math.sin(math.radians(angle))
    across = columns * math.sin(math.radians(angle)) + rows * math.cos(math.radians(angle))
    # Half a cosine of half-length a has variance a^2 (1 - 8 / pi^2); the Gaussian's is (width / 2.355)^2.
    half = length / 2 + width
    assert (kernel * along**2).sum() / total == pytest.approx(half**2 * (1 - 8 / math.pi**2), rel=0.08)
    if length:
        assert (kernel * across**2).sum() / total == pytest.approx((width / 2.3548) ** 2, rel=0.08)
    assert total == pytest.approx(4 * half / math.pi * width / 2.3548 * math.sqrt(2 * math.pi), rel=0.15)


def test_render_stamps_a_particle_at_every_point():
    kernel = line_kernel(5, 1.2, 40)
    generator = torch.Generator().manual_seed(4)
    points = draw_points(20, 26, kernel, 0.2, generator)
    size = kernel.shape[0]
    canvas = np.zeros((20 + 2 * size, 26 + 2 * size))
    stamped = 0
    for row, column in points.nonzero().tolist():
        canvas[row : row + size, column : column + size] += points[row, column].item() * kernel.numpy()
        stamped += 1
    assert stamped > 3
    expected = canvas[size - 1 : size + 19, size - 1 : size + 25]
    np.testing.assert_allclose(render(points, kernel).numpy(), expected, atol=1e-12)


def test_points_cover_what_they_should():
    kernel = line_kernel(8, 2, 90)
    generator = torch.Generator().manual_seed(0)
    points = draw_points(400, 400, kernel, 0.1, generator)
    number = (points > 0).sum().item()
    expected = points.numel() * 0.1 / kernel.sum().item()
    assert abs(number - expected) < 4 * math.sqrt(expected)
    strengths = points[points > 0]
    assert strengths.min() > 0
    assert strengths.max() <= 1
    assert strengths.mean().item() == pytest.approx(1 / 3, abs=4 * 0.3 / math.sqrt(number))
    assert draw_points(10, 10, kernel, 0.0, generator).count_nonzero() == 0


def test_rain_adds_light_and_saturates():
    rain = on_flat("rain", 0.0)
    assert rain.min() >= 0
    assert rain.max() > 0.05
    assert torch.equal(rain[:, 0], rain[:, 1])
    x = photo(64, 80)
    rainy = build("rain")(x, torch.Generator().manual_seed(0))
    torch.testing.assert_close(rainy, (x + rain).clamp(max=1), atol=1e-12, rtol=0)
    assert torch.equal(on_flat("rain", 1.0), torch.ones(1, 3, 64, 80, dtype=torch.float64))


def test_rain_mean_is_what_its_options_promise():
    rain = on_flat("rain", 0.0, (500, 500), layers=2, coverage=0.1, brightness=0.3, length=20, width=2)
    # Strengths are squares of uniform numbers: 1/3 on average. The points' number and strengths vary: 10 %.
    assert rain.mean().item() == pytest.approx(2 * 0.1 * 0.3 / 3, rel=0.1)


@pytest.mark.parametrize("tilt", [-35, 0, 20])
def test_rain_falls_in_its_direction(tilt: float):
    rain = on_flat("rain", 0.0, (200, 200), tilt=tilt, spread=0, layers=1, length=30, width=4, coverage=0.05)
    down, right = np.gradient(rain[0, 0].numpy())
    # The structure tensor's weaker direction runs along the streaks; measured anticlockwise from horizontal.
    tensor = np.array([[(right**2).sum(), -(right * down).sum()], [-(right * down).sum(), (down**2).sum()]])
    vector = np.linalg.eigh(tensor)[1][:, 0]
    angle = math.degrees(math.atan2(vector[1], vector[0])) % 180
    assert abs((angle - (90 - tilt) + 90) % 180 - 90) < 3


def test_haze_is_the_scattering_model():
    air = on_flat("haze", 0.0)
    transmission = on_flat("haze", 1.0) - air
    torch.testing.assert_close(transmission[:, 0], transmission[:, 2])
    assert transmission.min() > 0
    assert transmission.max() <= 1
    x = photo(64, 80)
    hazy = build("haze")(x, torch.Generator().manual_seed(0))
    torch.testing.assert_close(hazy, x * transmission + air, atol=1e-12, rtol=0)
    airlight = air / (1 - transmission)
    torch.testing.assert_close(airlight, airlight[..., :1, :1].expand_as(airlight), atol=1e-6, rtol=0)
    assert airlight.min() >= 0.66
    assert airlight.max() <= 1


def test_haze_depth_is_the_slope_without_relief():
    options = {"beta": 1.5, "distance": 0.6, "slope": 0.8, "relief": 0, "airlight": 0.9, "tint": 0}
    hazy = on_flat("haze", 0.2, (50, 7), **options)[0, 0].numpy()
    v = (np.arange(50) + 0.5) / 50
    t = np.exp(-1.5 * (0.6 + 0.8 * (0.5 - v)))
    np.testing.assert_allclose(hazy, np.repeat((0.2 * t + 0.9 * (1 - t))[:, None], 7, 1), atol=1e-7)


def test_beta_thickens_the_same_depth():
    optical = [
        -torch.log(on_flat("haze", 1.0, beta=beta) - on_flat("haze", 0.0, beta=beta)) / beta for beta in (0.5, 1.0)
    ]
    torch.testing.assert_close(*optical, atol=1e-6, rtol=1e-5)
    assert optical[0].std() > 0.02


def test_smooth_field_is_smooth_with_mean_0_and_variance_1():
    generator = torch.Generator().manual_seed(0)
    fields = torch.stack([smooth_field(40, 50, generator) for _ in range(800)])
    assert abs(fields.mean().item()) < 0.1
    assert fields.var().item() == pytest.approx(1, abs=0.1)
    # sqrt(2 / 6) * 6 waves * 2 pi * 1.5 cycles / 40 pixels is the steepest that the equation allows.
    assert (fields[:, 1:] - fields[:, :-1]).abs().max() < math.sqrt(12) * 2 * math.pi * 1.5 / 40


def test_smooth_field_is_the_sum_of_its_waves():
    vertical, horizontal, phase = torch.rand(
        3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    ).numpy()
    v, u = np.meshgrid((np.arange(9) + 0.5) / 9, (np.arange(12) + 0.5) / 12, indexing="ij")
    waves = [
        np.cos(2 * np.pi * (2 * (2 * f - 1) * v + 2 * (2 * h - 1) * u + p))
        for f, h, p in zip(vertical, horizontal, phase, strict=True)
    ]
    field = smooth_field(9, 12, torch.Generator().manual_seed(1), cycles=2)
    np.testing.assert_allclose(field.numpy(), sum(waves) * math.sqrt(1 / 3), atol=1e-12)


def test_snow_is_laid_over_the_picture():
    black, white = on_flat("snow", 0.0), on_flat("snow", 1.0)
    mask = 1 - (white - black)
    assert mask.min() >= 0
    assert mask.max() <= 1 + 1e-12
    assert mask.max() > 0.3
    x = photo(64, 80)
    snowy = build("snow")(x, torch.Generator().manual_seed(0))
    torch.testing.assert_close(snowy, x * (1 - mask) + black, atol=1e-12, rtol=0)
    covered = mask > 0.05
    brightness = black[covered] / mask[covered]
    torch.testing.assert_close(brightness, brightness[:1].expand_as(brightness), atol=1e-9, rtol=0)
    assert 0.85 <= brightness[0] <= 1


def test_snow_veil_covers_everything():
    clear = on_flat("snow", 0.0, coverage=0, veil=0)
    assert torch.equal(clear, torch.zeros_like(clear))
    veiled = on_flat("snow", 0.0, coverage=0, veil=0.2, brightness=0.9)
    torch.testing.assert_close(veiled, torch.full_like(veiled, 0.18), atol=1e-12, rtol=0)


def test_snow_layers_hide_each_other():
    # Two layers of equal opacity m hide 1 - (1 - m)^2, so never more than all.
    thick = on_flat("snow", 0.0, layers=4, coverage=3, size=5, opacity=1, brightness=1, veil=0)
    assert thick.max() <= 1
    assert thick.mean() > 0.8


def test_haze_parts_lie_at_depths_of_their_own():
    x = blocks()
    options = {"beta": 1.5, "distance": 0.6, "slope": 0, "relief": 0, "airlight": 1, "tint": 0}
    hazy = build("haze", **options, parts=6, apart=0.1)(x, torch.Generator().manual_seed(3))
    optical = -torch.log((1 - hazy) / (1 - x)) / 1.5
    torch.testing.assert_close(optical[:, :1].expand_as(optical), optical, atol=1e-6, rtol=0)
    depths = np.unique(optical[0, 0].numpy().round(4))
    assert 2 <= len(depths) <= 6
    assert 0.1 < abs(depths - 0.6).max() < 0.5
    near = build("haze", **options, parts=6, apart=100)(x, torch.Generator().manual_seed(3))
    assert near.min() >= x.min()  # nothing lies behind the camera


def blocks() -> torch.Tensor:
    """Two tones that meet at a border."""
    x = torch.full((1, 3, 40, 60), 0.2, dtype=torch.float64)
    x[:, 0, 8:, 25:] = 0.7
    return x


@pytest.mark.parametrize("color_weight", [0.0, 0.4, 3.0])
def test_scene_parts_are_nearest_in_colour_and_place(color_weight: float):
    image = photo(23, 31)[0]
    seeds = torch.rand(7, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    smooth = ndimage.uniform_filter(image.numpy(), size=(1, 5, 5), mode="nearest")
    rows, columns = np.meshgrid((np.arange(23) + 0.5) / 23, (np.arange(31) + 0.5) / 31, indexing="ij")
    points = [math.sqrt(color_weight) * smooth, *(math.sqrt(0.3) * each[None] for each in (rows, columns))]
    features = np.concatenate(points).reshape(5, -1).T
    at_seeds = [
        [
            *(math.sqrt(color_weight) * smooth[:, int(row * 23), int(column * 31)]),
            *(math.sqrt(0.3) * np.array([row, column])),
        ]
        for row, column in seeds.tolist()
    ]
    _, wanted = cKDTree(at_seeds).query(features)
    found = scene_parts(image, seeds, color_weight)
    assert np.array_equal(found.numpy(), wanted.reshape(23, 31))
    assert torch.equal(scene_parts(image.float(), seeds, 0.0), scene_parts(image, seeds, 0.0))


def test_scene_parts_end_where_the_image_changes():
    seeds = torch.tensor([[0.1, 0.1], [0.9, 0.9]], dtype=torch.float64)
    parts = scene_parts(blocks()[0], seeds, 100.0).numpy()
    wanted = blocks()[0, 0].numpy() > 0.5
    border = ndimage.binary_dilation(wanted, iterations=2) & ~ndimage.binary_erosion(wanted, iterations=2)
    assert np.array_equal(parts[~border] == 1, wanted[~border])
