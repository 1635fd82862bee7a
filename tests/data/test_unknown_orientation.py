"""TIFF files whose orientation is none of the eight: scanners write 0. libvips refuses them."""

import numpy as np
import pytest
import tifffile

from adair_core.data.images import read_image, write_image


@pytest.mark.parametrize("orientation", [0, 9])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_it_is_taken_for_upright_and_told(tmp_path, caplog, orientation, dtype, channels, compression):
    stored = np.random.default_rng(0).integers(0, 250, (10, 12, channels)).astype(dtype)
    tifffile.imwrite(
        tmp_path / "scan.tif",
        stored if channels > 1 else stored[..., 0],
        photometric="rgb" if channels > 1 else "minisblack",
        compression=compression,
        extrasamples=["unassalpha"] if channels == 4 else None,
        extratags=[(274, 3, 1, orientation, True)],
    )
    caplog.clear()  # what tifffile says of the number as it writes it
    image = read_image(tmp_path / "scan.tif")
    colours = 1 if channels == 1 else 3
    assert np.array_equal(image.pixels, stored[..., :colours])
    assert (image.alpha is not None) == (channels == 4)
    assert image.notes == (f"orientation {orientation} was taken for upright",)
    assert not caplog.records
    write_image(tmp_path / "result.tif", image)
    again = read_image(tmp_path / "result.tif")
    assert np.array_equal(again.pixels, image.pixels)
    assert again.notes == ()


def test_its_profile_is_kept(tmp_path):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.zeros((4, 5, 3), np.uint8)
    tags = [(274, 3, 1, 0, True)]
    tifffile.imwrite(tmp_path / "scan.tif", pixels, photometric="rgb", iccprofile=profile, extratags=tags)
    assert read_image(tmp_path / "scan.tif").metadata["icc-profile-data"] == profile
