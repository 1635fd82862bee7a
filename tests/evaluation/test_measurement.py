"""What is done to an image before a metric sees it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr

from adair_core import Choice, Condition, Protocol
from adair_core.errors import DataError
from adair_core.evaluation.measurement import cropped_to_multiple, luma, measured, quantized

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
