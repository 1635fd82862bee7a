"""Bicubic enlargement against MATLAB's definition."""

from __future__ import annotations

import pytest
import torch

from adair_core.inference import enlarged
from adair_plugins.degradations.downsample import imresize


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(7, 12), (1, 1), (1, 5), (3, 2)])
def test_is_what_super_resolution_is_trained_on(scale: int, height: int, width: int) -> None:
    """The degradation resizes by its own tables of taps, not by interpolate."""
    x = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(enlarged(x, scale), imresize(x, scale=scale), atol=1e-9, rtol=0)


def test_interior_is_keys_cubic_convolution() -> None:
    # At x2 a pixel lies 1/4 of a pixel off: Keys' kernel with a = -1/2 at 1.25, 0.25, 0.75 and 1.75.
    x = torch.rand(1, 1, 1, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    taps = torch.tensor([-0.0703125, 0.8671875, 0.2265625, -0.0234375], dtype=torch.float64)
    row = enlarged(x, 2)[0, 0, 0]
    for pixel in range(2, 6):
        assert row[2 * pixel + 1].item() == pytest.approx((x[0, 0, 0, pixel - 1 : pixel + 3] * taps).sum().item())


def test_scale_one_is_the_image_itself() -> None:
    x = torch.rand(1, 3, 4, 5)
    assert enlarged(x, 1) is x
