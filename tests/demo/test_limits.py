"""What the page takes, in words for everybody."""

from __future__ import annotations

import numpy as np
import pytest

from adair_core.data.images import ImageInfo
from adair_core.demo import Limits
from adair_core.errors import DataError, UsageError


def image(height: int, width: int) -> ImageInfo:
    return ImageInfo(height=height, width=width, colors=3, has_alpha=False, dtype=np.dtype(np.uint8))


def test_images_up_to_the_limit_pass_and_one_row_more_does_not():
    limits = Limits(megapixels=24)
    limits.check_image(image(4000, 6000))
    with pytest.raises(DataError, match=r"too large, 6,000 x 4,001 pixels \(24\.0 megapixels\): the limit is 24 mega"):
        limits.check_image(image(4001, 6000))


def test_what_an_enlarged_image_becomes_counts():
    limits = Limits(megapixels=24)
    limits.check_image(image(1000, 2666), scale=3)
    with pytest.raises(DataError, match="would become too large, 8,001 x 3,000"):
        limits.check_image(image(1000, 2667), scale=3)


def test_thin_images_have_a_longest_side():
    Limits().check_image(image(1, 16383))
    with pytest.raises(DataError, match="16,383 pixels a side"):
        Limits().check_image(image(1, 16384))


@pytest.mark.parametrize(("size", "said"), [(0, "is empty"), (2_000_001, r"it has 2\.0 MB, and the limit is 2 MB")])
def test_files(size, said):
    limits = Limits(upload_megabytes=2)
    limits.check_file(2_000_000)
    with pytest.raises(DataError, match=said):
        limits.check_file(size)


@pytest.mark.parametrize("name", ["megapixels", "upload_megabytes", "waiting", "sessions", "idle_seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_limits_let_something_through(name, value):
    with pytest.raises(UsageError, match=f"limit {name}: expected a positive number, got"):
        Limits(**{name: value})
