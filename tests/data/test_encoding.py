from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from adair_core.data.encoding import Coding
from adair_core.data.images import ImageFile, Storage, from_tensor, read_image, to_tensor, write_image
from adair_core.errors import DataError, UsageError

RNG = np.random.default_rng(1)


def picture(dtype="uint8", colors=3, alpha=False, size=(9, 14)):
    dtype = np.dtype(dtype)

    def plane(*shape):
        if dtype.kind == "f":
            return RNG.normal(0.5, 1, shape).astype(dtype)
        return RNG.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)

    return ImageFile(pixels=plane(*size, colors), alpha=plane(*size) if alpha else None)


def equal(one, other):
    same = one.pixels.dtype == other.pixels.dtype and np.array_equal(one.pixels, other.pixels)
    if one.alpha is None or other.alpha is None:
        return same and one.alpha is other.alpha
    return same and np.array_equal(one.alpha, other.alpha)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("colors", [1, 3])
@pytest.mark.parametrize(
    ("ending", "dtype"),
    [
        ("png", "uint8"),
        ("png", "uint16"),
        ("tif", "uint8"),
        ("TIFF", "uint16"),
        ("tiff", "float32"),
        ("webp", "uint8"),
        ("avif", "uint8"),
    ],
)
def test_lossless_formats_keep_every_bit(tmp_path, ending, dtype, colors, alpha):
    image = picture(dtype, colors, alpha)
    if alpha:
        image.alpha[:4] = 0  # the colours under full transparency are kept too
    write_image(tmp_path / f"x.{ending}", image)
    back = read_image(tmp_path / f"x.{ending}")
    if ending in ("webp", "avif"):  # which know no gray
        image = ImageFile(pixels=np.repeat(image.pixels, 3, axis=2) if colors == 1 else image.pixels, alpha=image.alpha)
    assert equal(back, image)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_other_programs_read_the_same_values(tmp_path, dtype):
    image = picture(dtype, 3)
    write_image(tmp_path / "x.tif", image)
    assert np.array_equal(tifffile.imread(tmp_path / "x.tif"), image.pixels)
    gray = picture(dtype, 1)
    write_image(tmp_path / "x.png", gray)
    with Image.open(tmp_path / "x.png") as peer:
        assert np.array_equal(np.asarray(peer), gray.pixels[..., 0])


def test_jpeg_is_close_and_quality_counts(tmp_path):
    rows, columns = np.mgrid[:64, :64]
    image = ImageFile(pixels=np.stack([rows * 4, columns * 4, rows + columns], axis=2).astype(np.uint8))
    errors, sizes = [], []
    for quality in (10, None):
        path = tmp_path / f"{quality}.jpg"
        write_image(path, image, coding=Coding(quality=quality))
        with Image.open(path) as peer:
            decoded = np.asarray(peer).astype(float)
        assert np.array_equal(decoded.round(), read_image(path).pixels)
        errors.append(np.abs(decoded - image.pixels).mean())
        sizes.append(path.stat().st_size)
    assert errors[1] < 1.5 < errors[0]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("quality", [None, 100, "keep"])
def test_a_jpeg_of_noise_has_room(tmp_path, quality):
    """More than two bytes a pixel, which is what Pillow makes room for."""
    tables = ((1,) * 64, (1,) * 64)
    image = replace(picture(size=(400, 300)), storage=Storage(jpeg_tables=tables if quality == "keep" else ()))
    write_image(tmp_path / "x.jpg", image, coding=Coding(quality=quality))
    assert (tmp_path / "x.jpg").stat().st_size > 400 * 300
    assert np.abs(read_image(tmp_path / "x.jpg").pixels.astype(int) - image.pixels).mean() < 5


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_deeper_images_are_rounded_not_cut(tmp_path, ending):
    level = 40_000  # 155.6 of 255
    image = ImageFile(pixels=np.full((16, 16, 3), level, np.uint16))
    write_image(tmp_path / f"x.{ending}", image)
    stored = read_image(tmp_path / f"x.{ending}").pixels
    assert np.unique(stored).tolist() == [level if ending == "png" else 156]


def test_floats_become_16_bit_png(tmp_path):
    values = np.array([[-0.5, 0.25, 1.5]], np.float32)[..., None]
    write_image(tmp_path / "x.png", ImageFile(pixels=values))
    assert read_image(tmp_path / "x.png").pixels.ravel().tolist() == [0, 16384, 65535]


def test_lossy_webp_only_when_asked(tmp_path):
    image = picture(size=(32, 32))
    write_image(tmp_path / "lossy.webp", image, coding=Coding(quality=30))
    assert not np.array_equal(read_image(tmp_path / "lossy.webp").pixels, image.pixels)


def test_a_file_is_overwritten_only_when_asked(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"precious")
    with pytest.raises(DataError, match=r"x\.png: exists already"):
        write_image(path, picture())
    assert path.read_bytes() == b"precious"
    image = picture()
    write_image(path, image, overwrite=True)
    assert equal(read_image(path), image)
    assert [file.name for file in tmp_path.iterdir()] == ["x.png"]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "x.webp"
    path.write_bytes(b"precious")
    with pytest.raises(DataError, match=r"x\.webp: cannot be written"):
        write_image(path, ImageFile(pixels=np.zeros((1, 20_000, 3), np.uint8)), overwrite=True)  # WebP ends at 16383
    assert path.read_bytes() == b"precious"
    assert [file.name for file in tmp_path.iterdir()] == ["x.webp"]
    with pytest.raises(
        DataError, match=r"x\.jpg: cannot be written: expected at most 65,500 .*, got 65501 x 1; write PNG"
    ):
        write_image(tmp_path / "x.jpg", ImageFile(pixels=np.zeros((1, 65_501, 3), np.uint8)))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x.gif", r"ends with \.png, \.jpg"),
        ("x", r"ends with \.png"),
        ("no/x.png", "there is no folder"),
        ("file/x.png", "there is no folder"),
        ("x.jpg", "JPEG cannot hold the image's alpha channel"),
    ],
)
def test_what_cannot_be_written_is_said(tmp_path, name, words):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=words):
        write_image(tmp_path / name, picture(alpha=True))


@pytest.mark.parametrize("quality", [0, 101, "best"])
def test_quality_has_bounds(quality):
    with pytest.raises(UsageError, match=f"quality: expected 1 to 100 or 'keep', got '?{quality}"):
        Coding(quality=quality)


def test_names_with_brackets_are_plain_names(tmp_path):  # libvips takes what is in brackets for options
    image = picture()
    write_image(tmp_path / "x[page=3].png", image)
    assert equal(read_image(tmp_path / "x[page=3].png"), image)


def test_a_rewritten_file_is_read_anew(tmp_path):
    for _ in range(2):
        image = picture()
        write_image(tmp_path / "x.png", image, overwrite=True)
        assert equal(read_image(tmp_path / "x.png"), image)


@pytest.mark.parametrize("colors", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_tensor_and_back(dtype, colors):
    image = picture(dtype, colors, alpha=True)
    tensor = to_tensor(image)
    assert tensor.shape == (1, 3, 9, 14)
    assert equal(from_tensor(tensor, image), image)
    changed = from_tensor(tensor * 0.5, image)
    assert not np.array_equal(changed.pixels, image.pixels)
    assert np.array_equal(changed.alpha, image.alpha)


def test_only_one_image_goes_into_a_file():
    with pytest.raises(DataError, match=r"\(1, 3, H, W\), got \(2, 3, 9, 14\)"):
        from_tensor(torch.zeros(2, 3, 9, 14), picture())


@pytest.mark.parametrize(
    "parts",
    [
        {"pixels": np.zeros((4, 4), np.uint8)},
        {"pixels": np.zeros((4, 4, 2), np.uint8)},
        {"pixels": np.zeros((4, 0, 3), np.uint8)},
        {"pixels": np.zeros((4, 4, 3), np.float64)},
        {"pixels": np.zeros((4, 4, 3), np.uint8), "alpha": np.zeros((4, 4), np.uint16)},
        {"pixels": np.zeros((4, 4, 3), np.uint8), "alpha": np.zeros((4, 5), np.uint8)},
    ],
)
def test_an_image_file_checks_its_parts(parts):
    with pytest.raises(DataError, match="expected"):
        ImageFile(**parts)
