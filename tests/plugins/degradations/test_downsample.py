"""Downsampling against MATLAB's imresize, written as matrices from its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)

from adair_core.errors import UnknownNameError, UsageError
from adair_core.plugins import plugins
from adair_core.specs import Choice
from adair_plugins.degradations.downsample import imresize
from adair_plugins.degradations.jpeg import compress


def matlab_matrix(length: int, out_length: int, scale: float) -> np.ndarray:
    """Row by row, with 1-based coordinates as MATLAB's contributions() has them; ``(out_length, length)``."""

    def keys(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0

    width = 4 / scale if scale < 1 else 4.0
    reflected = [*range(1, length + 1), *range(length, 0, -1)]
    matrix = np.zeros((out_length, length))
    for x in range(1, out_length + 1):
        u = x / scale + 0.5 * (1 - 1 / scale)
        left = math.floor(u - width / 2)
        positions = [left + k for k in range(math.ceil(width) + 2)]
        weights = [scale * keys(scale * (u - p)) if scale < 1 else keys(u - p) for p in positions]
        total = sum(weights)
        for position, weight in zip(positions, weights, strict=True):
            matrix[x - 1, reflected[(position - 1) % (2 * length)] - 1] += weight / total
    return matrix


def image(height: int, width: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.rand(2, channels, height, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (7, 10), (24, 36), (37, 53)])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_against_matlab(scale: int, height: int, width: int):
    x = image(height, width)
    small = math.ceil(height / scale), math.ceil(width / scale)
    down = [matlab_matrix(n, m, 1 / scale) for n, m in zip((height, width), small, strict=True)]
    up = [matlab_matrix(m, n, scale) for n, m in zip((height, width), small, strict=True)]
    expected_small = down[0] @ x.numpy() @ down[1].T
    np.testing.assert_allclose(imresize(x, scale=1 / scale).numpy(), expected_small, atol=1e-12)
    degradation = plugins().degradation(Choice(name="downsample", options={"scale": scale}))
    degraded = degradation(x, torch.Generator())
    np.testing.assert_allclose(degraded.numpy(), up[0] @ expected_small @ up[1].T, atol=1e-12)
    single = degradation(x.float(), torch.Generator())
    np.testing.assert_allclose(single.numpy(), degraded.numpy(), atol=2e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_torch_is_the_same_inside(scale: int):
    x = image(48, 60)
    other = F.interpolate(x, scale_factor=1 / scale, mode="bicubic", antialias=True)
    ours = imresize(x, scale=1 / scale)
    assert ours.shape == other.shape
    torch.testing.assert_close(ours[..., 2:-2, 2:-2], other[..., 2:-2, 2:-2], atol=1e-12, rtol=0)
    large = F.interpolate(ours, size=(48, 60), mode="bicubic", antialias=True)
    border = 2 * scale
    inside = slice(border, -border)
    again = imresize(ours, scale=scale)[..., inside, inside]
    torch.testing.assert_close(again, large[..., inside, inside], atol=1e-12, rtol=0)


def test_flat_images_stay_flat():
    flat = torch.full((1, 3, 13, 17), 0.3, dtype=torch.float64)
    degraded = plugins().degradation(Choice(name="downsample"))(flat, torch.Generator().manual_seed(0))
    torch.testing.assert_close(degraded, flat, atol=1e-14, rtol=0)


def test_removes_what_the_small_image_cannot_hold():
    # Stripes of one pixel lie above the small image's Nyquist frequency: antialiasing leaves their mean.
    stripes = (torch.arange(64) % 2).double().expand(1, 1, 64, 64).contiguous()
    degradation = plugins().degradation(Choice(name="downsample", options={"scale": 4}))
    degraded = degradation(stripes, torch.Generator())[..., 16:-16, 16:-16]
    torch.testing.assert_close(degraded, torch.full_like(degraded, 0.5), atol=0.02, rtol=0)


def test_draws_every_scale_about_equally():
    degradation = plugins().degradation(Choice(name="downsample", options={"scale": "2,3,4"}))
    generator = torch.Generator().manual_seed(0)
    scales = [degradation.draw((3, 8, 8), generator)["scale"] for _ in range(300)]
    assert {2, 3, 4} == set(scales)
    assert min(scales.count(scale) for scale in (2, 3, 4)) > 70


def test_scale_one_keeps_the_bits():
    x = image(9, 9)
    assert torch.equal(plugins().degradation(Choice(name="downsample", options={"scale": 1}))(x, torch.Generator()), x)


@pytest.mark.parametrize("scale", ["0", "2.5", "x", [], "17"])
def test_wrong_scales(scale: object):
    with pytest.raises(UsageError, match="degradation 'downsample': scale"):
        plugins().degradation(Choice(name="downsample", options={"scale": scale}))


def test_what_happens_to_the_small_image():
    """Against its parts: shrink, compress with Pillow's codec, enlarge."""
    x = image(13, 18)
    small = imresize(x, scale=1 / 2)
    compressed = torch.stack([compress(one, quality=50, subsampling="4:2:0") for one in small])
    expected = imresize(compressed, scale=2, size=(13, 18))
    jpeg = {"name": "jpeg", "options": {"quality": 50}}
    degradation = plugins().degradation(Choice(name="downsample", options={"scale": 2, "small": [jpeg]}))
    torch.testing.assert_close(degradation(x, torch.Generator()), expected)
    assert (expected - imresize(small, scale=2, size=(13, 18))).abs().mean() > 1e-2


@pytest.mark.parametrize("scale", [1, 3])
def test_noise_of_the_small_image_is_as_large_as_its_pixels(scale: int):
    x = torch.full((1, 1, 120, 120), 0.5, dtype=torch.float64)
    options = {"scale": scale, "small": "gaussian-noise"}
    noise = plugins().degradation(Choice(name="downsample", options=options))(x, torch.Generator().manual_seed(0)) - 0.5
    neighbours = (noise[..., 1:] * noise[..., :-1]).mean() / noise.var()
    assert neighbours < 0.05 if scale == 1 else neighbours > 0.7


def test_small_degradations_may_be_left_out_or_unknown():
    assert plugins().degradation(Choice(name="downsample", options={"small": ""})).config.small == ()
    with pytest.raises(UnknownNameError, match="jpg"):
        plugins().degradation(Choice(name="downsample", options={"small": "jpg"}))
