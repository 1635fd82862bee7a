import numpy as np
import pytest
from skimage import data

import adair_core.data.photos as photos
from adair_core.data.photos import SAMPLE_PHOTOS, sample_photo_files, sample_photos
from adair_core.errors import DataError


@pytest.mark.parametrize("photo", SAMPLE_PHOTOS, ids=lambda photo: photo.name)
def test_the_photos_are_scikit_images(photo):
    pixels = sample_photos(held_out=photo.is_held_out)[photo.name]
    peer = getattr(data, photo.name)()
    assert pixels.shape == peer.shape
    assert pixels.dtype == np.uint8
    # two JPEG decoders may round differently
    assert np.abs(pixels.astype(int) - peer).max() <= (1 if photo.file.endswith(".jpg") else 0)


def test_no_held_out_photo_is_trained_on():
    assert sample_photos().keys() & sample_photos(held_out=True).keys() == set()
    assert len(sample_photos()) + len(sample_photos(held_out=True)) == len(SAMPLE_PHOTOS)
    assert not set(sample_photo_files()) & set(sample_photo_files(held_out=True))


def test_without_scikit_image(monkeypatch):
    monkeypatch.setattr(photos, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="scikit-image is not installed; install it or name a folder with --data"):
        sample_photo_files()


def test_a_photo_that_is_no_longer_shipped(monkeypatch):
    monkeypatch.setattr(photos, "SAMPLE_PHOTOS", (photos.SamplePhoto("x", "x.png", "nothing", "CC0"),))
    with pytest.raises(DataError, match=r"comes without .*x\.png; name a folder with --data"):
        sample_photo_files()
