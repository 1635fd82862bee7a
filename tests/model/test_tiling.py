from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from adair_core.errors import UsageError
from adair_core.model.tiling import (
    ALIGNMENT,
    ROWS_BUDGET,
    ROWS_BYTES,
    SMALLEST_TILE,
    _shortened,
    _starts,
    _windows,
    automatic_tile,
    check_tile,
    resolve_overlap,
    tiled,
)

LENGTHS = st.integers(1, 400)
TILES = st.tuples(st.integers(1, 150), st.integers(0, 75)).filter(lambda pair: pair[1] <= pair[0] // 2)


def image(height, width, channels=3):
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.rand(2, channels, height, width, generator=generator, dtype=torch.float64)


@settings(deadline=None, max_examples=50)
@given(length=LENGTHS, pair=TILES)
def test_tiles_cover_and_overlap(length, pair):
    tile, overlap = pair
    starts = _starts(length, tile, overlap)
    ends = [min(start + tile, length) for start in starts]
    assert starts[0] == 0
    assert ends[-1] == length
    assert all(earlier < later for earlier, later in itertools.pairwise(starts))
    assert all(end - start >= overlap for end, start in zip(ends[:-1], starts[1:], strict=True))
    if tile - overlap >= ALIGNMENT:
        assert all(start % ALIGNMENT == 0 for start in starts)


@settings(deadline=None, max_examples=50)
@given(length=LENGTHS, pair=TILES)
def test_windows_are_a_partition_of_unity(length, pair):
    total = torch.zeros(length, dtype=torch.float64)
    for start, window in _windows(length, *pair):
        assert window.min() >= 0
        total[start : start + len(window)] += window
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-12, atol=1e-12)


def test_the_fade_is_a_raised_cosine():
    (_, first), (start, second) = _windows(96, 64, 32)
    assert start == 32
    # The tiles share pixels 32 to 63; the fade goes over their middle half, 40 to 55.
    expected = (1 - torch.cos(torch.pi * (torch.arange(16, dtype=torch.float64) + 0.5) / 16)) / 2
    torch.testing.assert_close(second[8:24], expected)
    torch.testing.assert_close(first[40:56], 1 - expected)
    assert torch.equal(second[:8], torch.zeros(8, dtype=torch.float64))
    assert torch.equal(second[24:], torch.ones(40, dtype=torch.float64))


@pytest.mark.parametrize("size", [(1, 1), (5, 200), (64, 64), (65, 64), (100, 129), (33, 31)])
@pytest.mark.parametrize("pair", [(64, 16), (32, 16), (20, 0), (7, 3), (5, 0)])
def test_the_identity_gives_the_input_back(size, pair):
    x = image(*size)[:1, :1]
    torch.testing.assert_close(tiled(lambda part: part, x, *pair), x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(150, 90), (64, 200), (20, 300)])
def test_an_operation_within_a_quarter_of_the_overlap_is_exact(size):
    x = image(*size)
    kernel = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def convolve(part):
        # Zeros outside a tile stand where the whole image has pixels: only blending hides them.
        return functional.conv2d(part, kernel, padding=4)

    torch.testing.assert_close(tiled(convolve, x, 64, 16), convolve(x), rtol=1e-10, atol=1e-10)
    assert not torch.allclose(tiled(convolve, x, 16, 0), convolve(x), rtol=1e-3, atol=1e-3)


def test_a_network_that_halves_the_size_sees_its_own_phase():
    x = image(120, 170)

    def blocks(part):
        # The mean of each 16 x 16 block: wrong wherever a tile starts within a block.
        size = part.shape[-2:]
        part = functional.pad(part, (0, -size[1] % 16, 0, -size[0] % 16), mode="replicate")
        return (
            functional.avg_pool2d(part, 16).repeat_interleave(16, 2).repeat_interleave(16, 3)[..., : size[0], : size[1]]
        )

    torch.testing.assert_close(tiled(blocks, x, 64, 32), blocks(x), rtol=1e-10, atol=1e-10)


def test_tiles_are_no_larger_than_asked_for():
    sizes = []
    tiled(lambda part: sizes.append(part.shape[-2:]) or part, image(300, 210), 64, 16)
    assert max(max(size) for size in sizes) <= 64
    assert len(sizes) > 12


def test_the_windows_of_a_long_line_are_no_longer_than_its_tiles():
    windows = _windows(1_000_000, 100, 50)
    assert len(windows) > 20_000
    assert max(len(window) for _, window in windows) == 100
    assert windows[-1][0] + len(windows[-1][1]) == 1_000_000


def test_the_share_that_is_done_is_told_after_each_tile():
    shares, parts = [], []
    tiled(lambda part: parts.append(len(shares)) or part, image(100, 70), 40, 10, on_share=shares.append)
    assert len(shares) == len(parts) > 4
    assert parts == list(range(len(parts)))
    assert shares == [(index + 1) / len(parts) for index in range(len(parts))]


def test_gradients_pass():
    x = image(20, 30).requires_grad_()
    tiled(lambda part: part**2, x, 16, 4).sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pair", [(0, 0), (16, 9), (16, -1), (-5, 0)])
def test_impossible_tiles(pair):
    with pytest.raises(UsageError, match="overlap of 0 to half a tile"):
        tiled(lambda part: part, image(40, 40), *pair)


def test_a_function_that_changes_the_size():
    with pytest.raises(UsageError, match="the size unchanged"):
        tiled(lambda part: part[..., 1:], image(40, 40), 16, 4)


@settings(deadline=None, max_examples=200)
@given(length=LENGTHS, pair=TILES)
def test_tiles_are_as_small_as_their_number_allows(length, pair):
    tile, overlap = pair
    shorter = _shortened(length, tile, overlap)
    starts = _starts(length, shorter, overlap)
    assert shorter <= tile
    assert len(starts) == len(_starts(length, tile, overlap))
    assert starts[-1] + shorter >= length
    assert all(later - earlier <= shorter - overlap for earlier, later in itertools.pairwise(starts))


def test_an_image_just_larger_than_a_tile_costs_no_more_than_its_pixels_and_overlaps():
    seen = []
    tiled(lambda part: seen.append(part.shape[-2] * part.shape[-1]) or part, image(330, 325)[:1], 320, 64)
    assert len(seen) == 4
    assert sum(seen) < 1.6 * 330 * 325


def test_the_automatic_tile():
    assert automatic_tile(600_000, 600, 1000) is None
    assert automatic_tile(600_000, 601, 1000) == 768
    assert 768**2 <= 600_000 < (768 + ALIGNMENT) ** 2
    # However little is affordable, small images are whole.
    assert automatic_tile(1, SMALLEST_TILE, SMALLEST_TILE) is None
    assert automatic_tile(1, SMALLEST_TILE, SMALLEST_TILE + 1) == SMALLEST_TILE


def test_a_row_of_automatic_tiles_keeps_to_its_budget():
    for height, width in ((20_000, 20_000), (300, 70_000), (5_000, 10_000)):
        side = automatic_tile(10**9, height, width)
        assert side % ALIGNMENT == 0
        assert min(side, height) * width * ROWS_BYTES <= ROWS_BUDGET < (side + 2 * ALIGNMENT) * width * ROWS_BYTES
    assert automatic_tile(10**9, 4_000, 4_000) is None
    assert automatic_tile(10**9, 300, 10**6) == SMALLEST_TILE  # and no less


def test_the_automatic_tile_counts_what_the_network_pads_to():
    # 200,000 x 1 pixels are 3.2 million for a network that pads to 16.
    assert automatic_tile(10**6, 1, 200_000) == automatic_tile(10**6, 200_000, 1) == 992
    assert automatic_tile(10**6, 1, 10**6 // 16) is None


def test_wrong_tiles():
    for right in ("auto", None, 1, 1000):
        check_tile(right)
    for wrong in (0, -1, 2.5, "large", True):
        with pytest.raises(UsageError, match="'auto', None or a positive number"):
            check_tile(wrong)


@pytest.mark.parametrize(
    ("overlap", "tile", "resolved"),
    [
        *((None, "auto", 64), (None, None, 64), (None, 512, 64), (None, 256, 64), (None, 240, 32), (None, 128, 32)),
        *((None, 48, 24), (None, 1, 0), (128, "auto", 128), (48, 96, 48)),
    ],
)
def test_the_overlap(overlap, tile, resolved):
    assert resolve_overlap(overlap, tile) == resolved


@pytest.mark.parametrize(("overlap", "tile"), [(49, 96), (-1, 96), (129, "auto"), (-1, None)])
def test_impossible_overlaps(overlap, tile):
    with pytest.raises(UsageError, match="overlap of 0 to half a tile"):
        resolve_overlap(overlap, tile)
