"""What browsers are shown."""

from __future__ import annotations

import numpy as np
import pytest
from demo_photos import gradient

from adair_core.data.images import ImageFile, read_image
from adair_core.demo.preview import as_shown, write_preview


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_type_is_shown_in_8_bits(dtype):
    pixels = gradient(dtype)
    top = 1.0 if dtype == np.float32 else float(np.iinfo(dtype).max)
    expected = pixels.astype(np.float64) / top * 255
    assert np.abs(as_shown(ImageFile(pixels=pixels)).pixels - expected).max() <= 0.5 + 1e-5


def test_every_16_bit_value_is_rounded_to_the_nearest():
    pixels = np.arange(2**16, dtype=np.uint16).reshape(256, 256, 1)
    assert np.array_equal(as_shown(ImageFile(pixels=pixels)).pixels, np.rint(pixels / 257.0))


def test_floats_beyond_white_are_white():
    pixels = np.array([-0.5, 0.5, 7.0], np.float32).reshape(1, 3, 1)
    assert as_shown(ImageFile(pixels=pixels)).pixels.ravel().tolist() == [0, 128, 255]


def test_transparency_is_shown_on_white():
    pixels, alpha = np.full((1, 3, 3), 100, np.uint8), np.array([[0, 51, 255]], np.uint8)
    shown = as_shown(ImageFile(pixels=pixels, alpha=alpha)).pixels[0, :, 0]
    assert shown.tolist() == [255, 224, 100]  # 0.2 x 100 + 0.8 x 255 = 224


def test_nothing_but_the_profile_is_sent(tmp_path):
    image = ImageFile(pixels=gradient(np.uint8), metadata={"exif-data": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"})
    assert as_shown(image).metadata == {}
    stored = read_image(write_preview(tmp_path / "shown.jpg", image))
    assert (stored.format, "exif-data" in stored.metadata) == ("jpeg", False)
    assert np.abs(stored.pixels.astype(float) - image.pixels).max() < 12  # JPEG
