"""JPEG against the standard's own arithmetic, and against another program's files."""

from __future__ import annotations

import numpy as np
import pytest
import pyvips
import scipy.fft
import scipy.stats
import skimage.data
import torch

from adair_core.errors import UsageError
from adair_core.plugins import plugins
from adair_core.specs import Choice
from adair_plugins.degradations.jpeg import compress

# ITU-T T.81, table K.1
LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)


def photo() -> torch.Tensor:
    return torch.from_numpy(skimage.data.astronaut()[:96, 150:270].copy()).permute(2, 0, 1).float() / 255


def degrade(images: torch.Tensor, **options: object) -> torch.Tensor:
    return plugins().degradation(Choice(name="jpeg", options=options))(images, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("quality", [10, 30, 50, 80])
def test_gray_blocks_are_quantised_by_the_standards_table(quality: int):
    # Low contrast, so that no decoded value is clipped.
    gray = photo().mean(0, keepdim=True) * 0.5 + 0.25
    decoded = compress(gray, quality=quality, subsampling="4:4:4")[0].double().numpy() * 255 - 128
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = np.clip((LUMINANCE * scale + 50) // 100, 1, 255)
    blocks = decoded.reshape(12, 8, 15, 8).transpose(0, 2, 1, 3)
    levels = scipy.fft.dctn(blocks, axes=(-2, -1), norm="ortho") / table
    # Pixels are rounded after the inverse transform: sqrt(1/12) of a level of 255 in every coefficient.
    error = np.abs(levels - levels.round()) * table
    assert error[..., table >= 8].mean() < 0.3  # of another table, 2 or more
    assert error[..., table >= 16].max() < 4.01  # all 64 roundings of half a level in one direction
    assert np.count_nonzero(levels.round()) > 100


@pytest.mark.parametrize(("subsampling", "vips"), [("4:4:4", "off"), ("4:2:0", "on")])
@pytest.mark.parametrize("quality", [10, 40, 85])
def test_libvips_makes_the_same_picture(quality: int, subsampling: str, vips: str):
    image = photo()
    array = (image * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    file = pyvips.Image.new_from_array(array).jpegsave_buffer(Q=quality, subsample_mode=vips)
    expected = pyvips.Image.new_from_buffer(file, "").numpy()
    degraded = degrade(image[None], quality=quality, subsampling=subsampling)[0]
    ours = (degraded * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(ours - expected).max() <= 2
    assert np.abs(ours - array).mean() > 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 9), (16, 1), (33, 40)])
def test_flat_images_survive(height: int, width: int, channels: int):
    flat = torch.full((2, channels, height, width), 100 / 255)
    torch.testing.assert_close(degrade(flat, quality=90), flat, atol=1.01 / 255, rtol=0)


def test_values_are_eight_bit_and_clipped():
    images = torch.linspace(-0.5, 1.5, 3 * 24 * 24).view(1, 3, 24, 24)
    degraded = degrade(images, quality=75) * 255
    torch.testing.assert_close(degraded, degraded.round(), atol=1e-4, rtol=0)
    assert degraded.min() >= 0
    assert degraded.max() <= 255


def test_subsampling_costs_colour_and_not_light():
    red = torch.zeros(1, 3, 32, 32)
    red[:, 0, :, 1::2] = 0.6  # stripes of colour, one pixel wide
    red[:, 1, :, ::2] = 0.6 * 0.299 / 0.587  # of equal luma
    full, half = (degrade(red, quality=95, subsampling=kind) for kind in ("4:4:4", "4:2:0"))
    assert (full - red).abs().mean() < 0.05
    assert (half - red).abs().mean() > 0.15


def test_quality_is_drawn_from_its_range_and_decides_the_error():
    degradation = plugins().degradation(Choice(name="jpeg", options={"quality": "20,60"}))
    generator = torch.Generator().manual_seed(0)
    qualities = [degradation.draw((3, 8, 8), generator)["quality"] for _ in range(400)]
    assert min(qualities) >= 20
    assert max(qualities) <= 60
    assert scipy.stats.kstest(qualities, scipy.stats.uniform(19.5, 41).cdf).pvalue > 1e-3
    errors = [(degrade(photo()[None], quality=quality) - photo()).abs().mean() for quality in (1, 10, 50, 100)]
    assert errors == sorted(errors, reverse=True)


def test_random_subsampling_draws_all_three():
    degradation = plugins().degradation(Choice(name="jpeg", options={"subsampling": "random"}))
    generator = torch.Generator().manual_seed(0)
    kinds = [degradation.draw((3, 8, 8), generator)["subsampling"] for _ in range(300)]
    assert min(kinds.count(kind) for kind in ("4:4:4", "4:2:2", "4:2:0")) > 70


def test_blocks_begin_where_the_larger_picture_has_them():
    """The mean of a block survives coarse quantisation as steps between blocks of a ramp: the steps lie on the grid."""
    ramp = torch.linspace(0.1, 0.9, 64).expand(3, 48, 64).contiguous()
    for left in (0, 3, 7):
        found = compress(ramp, quality=1, subsampling="4:4:4", corner=(5, left))
        steps = set(((found[0, 0, 1:] - found[0, 0, :-1]).abs() > 1e-6).nonzero().flatten().add(1).tolist())
        assert steps
        assert all((column + left) % 8 == 0 for column in steps)
    larger = np.pad(ramp.numpy(), ((0, 0), (5, 0), (3, 0)), mode="edge")
    whole = compress(torch.from_numpy(larger), quality=30, subsampling="4:2:0")
    assert torch.equal(compress(ramp, quality=30, subsampling="4:2:0", corner=(5, 3)), whole[:, 5:, 3:])


def test_half_of_the_images_keep_the_grid_at_the_corner():
    degradation = plugins().degradation(Choice(name="jpeg", options={"shifted": 0.5}))
    generator = torch.Generator().manual_seed(0)
    corners = [degradation.draw((3, 8, 8), generator)["corner"] for _ in range(1000)]
    assert abs(corners.count((0, 0)) / 1000 - 0.5) < 0.07


def test_a_shifted_grid_has_every_place_of_the_largest_blocks():
    degradation = plugins().degradation(Choice(name="jpeg", options={"shifted": 1}))
    generator = torch.Generator().manual_seed(0)
    corners = []
    for _ in range(3000):
        corners.append(degradation.draw((3, 8, 8), generator)["corner"])
    assert set(corners) == {(row, column) for row in range(16) for column in range(16)}


def test_other_channel_counts_are_refused():
    with pytest.raises(UsageError, match=r"expected 1 or 3 channels .* got 4 channels, 8 x 9"):
        degrade(torch.zeros(1, 4, 8, 9))


@pytest.mark.parametrize("quality", ["0", "101", "50,20"])
def test_wrong_qualities(quality: str):
    with pytest.raises(UsageError, match="degradation 'jpeg': quality"):
        plugins().degradation(Choice(name="jpeg", options={"quality": quality}))
