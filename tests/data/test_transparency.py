import numpy as np
import pytest
import torch

from adair_core.data.transparency import fill_invisible, is_visible

GENERATOR = torch.Generator().manual_seed(5)


def test_visible_pixels_keep_every_bit_and_the_others_are_forgotten():
    image = torch.rand(2, 3, 37, 50, generator=GENERATOR)
    visible = torch.rand(2, 1, 37, 50, generator=GENERATOR) > 0.6
    garbage = torch.where(visible, image, 1e6)
    filled = fill_invisible(image, visible)
    assert torch.equal(torch.where(visible, filled, 0), torch.where(visible, image, 0))
    assert torch.equal(filled, fill_invisible(garbage, visible))
    assert filled.min() >= image.min() - 1e-6
    assert filled.max() <= image.max() + 1e-6


def test_one_colour_continues_as_that_colour():
    visible = torch.zeros(1, 1, 61, 33, dtype=torch.bool)
    visible[..., 50:, 3:7] = True
    color = torch.tensor([0.8, 0.1, 0.3])[None, :, None, None]
    filled = fill_invisible(torch.where(visible, color, 0.0), visible)
    torch.testing.assert_close(filled, color.expand_as(filled), atol=1e-6, rtol=0)


def test_a_hole_takes_the_colour_of_its_side():
    image = torch.zeros(1, 1, 16, 64)
    image[..., 32:] = 1
    visible = torch.ones(1, 1, 16, 64, dtype=torch.bool)
    visible[..., 4:12, 8:12] = visible[..., 4:12, 52:56] = False
    filled = fill_invisible(torch.where(visible, image, 0.5), visible)
    assert filled[..., 4:12, 8:12].max() < 0.05
    assert filled[..., 4:12, 52:56].min() > 0.95


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (2, 3)])
def test_any_size_and_nothing_or_everything_visible(size):
    image = torch.rand(1, 3, *size, generator=GENERATOR)
    for value in (False, True):
        assert torch.equal(fill_invisible(image, torch.full((1, 1, *size), value)), image)
    one = torch.zeros(1, 1, *size, dtype=torch.bool)
    one[..., 0, 0] = True
    torch.testing.assert_close(fill_invisible(image, one), image[..., :1, :1].expand_as(image), atol=1e-6, rtol=0)


def test_in_a_batch_each_image_is_filled_by_its_own():
    image = torch.rand(2, 3, 8, 8, generator=GENERATOR)
    visible = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    visible[1, :, 0, 0] = True
    filled = fill_invisible(image, visible)
    assert torch.equal(filled[0], image[0])
    assert np.ptp(filled[1, 0].numpy()) < 1e-6


def test_the_faintest_pixels_count_as_invisible():
    alpha = torch.tensor([0, 3, 4, 255]).reshape(1, 1, 1, 4) / 255
    assert is_visible(alpha).flatten().tolist() == [False, False, True, True]
