"""Images read and written by rows: what comes whole comes by rows, and the other way round."""

from __future__ import annotations

import errno
import itertools
import resource
import signal
import threading

import numpy as np
import pytest
import tifffile
from PIL import Image

from adair_core.data import encoding
from adair_core.data.decoding import open_image
from adair_core.data.encoding import writing_rows
from adair_core.data.images import ImageFile, Storage, read_image, write_image
from adair_core.errors import DataError

RNG = np.random.default_rng(4)
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>five stars</x:xmpmeta>"


def picture(dtype="uint8", colors=3, alpha=False, size=(61, 43), **more):
    dtype = np.dtype(dtype)
    top = 1 if dtype.kind == "f" else np.iinfo(dtype).max
    values = (RNG.random((*size, colors + alpha)) * top).astype(dtype)
    return ImageFile(pixels=values[..., :colors], alpha=values[..., colors] if alpha else None, **more)


def equal(one, other):
    same = one.pixels.dtype == other.pixels.dtype and np.array_equal(one.pixels, other.pixels)
    if one.alpha is None or other.alpha is None:
        return same and one.alpha is other.alpha
    return same and np.array_equal(one.alpha, other.alpha)


def about():
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 1
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8769)[0x927C] = b"NOTES" * 40
    return {"exif-data": b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0"), "xmp-data": XMP}


KINDS = [
    *itertools.product(["png"], ["uint8", "uint16"], [1, 3], [False, True]),
    *itertools.product(["tif"], ["uint8", "uint16", "float32"], [1, 3], [False, True]),
    ("webp", "uint8", 3, True),
    ("avif", "uint8", 3, False),
    ("avif", "uint16", 3, False),
    ("jpg", "uint8", 1, False),
    ("jpg", "uint8", 3, False),
]


# --- Reading


@pytest.mark.parametrize(("ending", "dtype", "colors", "alpha"), KINDS)
def test_rows_are_those_of_the_whole(tmp_path, ending, dtype, colors, alpha):
    path = tmp_path / f"x.{ending}"
    write_image(path, picture(dtype, colors, alpha))
    whole, opened = read_image(path), open_image(path)
    info = opened.info
    assert (info.height, info.width, info.dtype) == (*whole.pixels.shape[:2], whole.pixels.dtype)
    assert info == whole.info
    # Overlapping, the same once more, in parts, with a gap, and a few rows at the end.
    for top, bottom in ((0, 7), (3, 20), (3, 20), (15, 20), (3, 10), (10, 21), (30, 52), (60, 61)):
        assert equal(opened.rows(top, bottom), whole.rows(top, bottom))
    assert opened.passes == 1
    assert equal(opened.rows(2, 61), whole.rows(2, 61))
    assert opened.passes == 2  # back beyond what is held
    assert equal(open_image(path).whole(), whole)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_rows_are_the_right_way_up(tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture().pixels).save(tmp_path / f"x.{ending}", exif=exif)
    whole, opened = read_image(tmp_path / f"x.{ending}"), open_image(tmp_path / f"x.{ending}")
    with Image.open(tmp_path / f"x.{ending}") as peer:
        from PIL import ImageOps

        assert np.array_equal(whole.pixels, np.asarray(ImageOps.exif_transpose(peer)))
    assert opened.info.metadata == whole.metadata
    height = opened.info.height
    for top in range(0, height, 10):
        assert equal(opened.rows(top, min(top + 12, height)), whole.rows(top, min(top + 12, height)))


@pytest.mark.parametrize(
    "options", [{"tile": (16, 16)}, {"rowsperstrip": 5}, {"bigtiff": True}, {"planarconfig": "separate"}]
)
def test_rows_of_strips_tiles_planes_and_bigtiff(tmp_path, options):
    pixels = picture("uint16").pixels
    stored = pixels.transpose(2, 0, 1) if "planarconfig" in options else pixels
    tifffile.imwrite(tmp_path / "x.tif", stored, photometric="rgb", compression="zlib", **options)
    opened = open_image(tmp_path / "x.tif")
    bands = [opened.rows(top, min(top + 9, 61)).pixels.copy() for top in range(0, 61, 9)]
    assert np.array_equal(np.concatenate(bands), pixels)


def test_rows_of_other_colour_spaces_and_values(tmp_path):
    Image.fromarray(picture(colors=3, alpha=True).pixels[..., [0, 1, 2, 0]], "CMYK").save(tmp_path / "cmyk.jpg")
    tifffile.imwrite(tmp_path / "half.tif", picture("float32").pixels.astype(np.float16), photometric="rgb")
    Image.fromarray(picture().pixels).quantize(9).save(tmp_path / "palette.gif")
    for name, note in {"cmyk.jpg": "CMYK", "half.tif": "16 bit floats", "palette.gif": "palette"}.items():
        whole, opened = read_image(tmp_path / name), open_image(tmp_path / name)
        assert note in opened.info.notes[0]
        assert equal(opened.rows(5, 40), whole.rows(5, 40))
        assert equal(opened.rows(20, 61), whole.rows(20, 61))


@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
def test_a_truncated_file_is_found_where_its_rows_end(tmp_path, ending):
    path, image = tmp_path / f"x.{ending}", picture(size=(400, 300))
    if ending == "tif":  # with its directory before its pixels, so that it can be opened
        tifffile.imwrite(path, image.pixels, photometric="rgb", compression="zlib", rowsperstrip=8)
    else:
        write_image(path, image)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    opened = open_image(path)
    opened.rows(0, 100)
    with pytest.raises(DataError, match=rf"{path.name}: damaged or truncated"):
        opened.rows(300, 400)


# --- Writing


def in_bands(path, image, *, step=7, **options):
    with writing_rows(path, image.info, **options) as write:
        for top in range(0, image.height, step):
            write(image.rows(top, min(top + step, image.height)))


@pytest.mark.parametrize("resolution", [None, (11.8, 11.8)])
@pytest.mark.parametrize(("ending", "dtype", "colors", "alpha"), KINDS)
def test_bands_make_the_file_that_the_whole_makes(tmp_path, ending, dtype, colors, alpha, resolution):
    image = picture(dtype, colors, alpha, metadata=about(), storage=Storage(resolution=resolution))
    write_image(tmp_path / f"x.{ending}", image)
    in_bands(tmp_path / f"y.{ending}", image)
    assert (tmp_path / f"y.{ending}").read_bytes() == (tmp_path / f"x.{ending}").read_bytes()
    if ending in ("png", "tif"):
        assert equal(read_image(tmp_path / f"y.{ending}"), image)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("adair-")]


@pytest.mark.parametrize("compression", ["none", "lzw", "deflate", "packbits"])
def test_bands_in_every_compression_of_tiff(tmp_path, compression):
    image = picture("uint16", size=(300, 200), storage=Storage(tiff_compression=compression))
    in_bands(tmp_path / "x.tif", image, step=33)
    after = read_image(tmp_path / "x.tif")
    assert equal(after, image)
    assert after.storage.tiff_compression == compression


def test_deeper_bands_are_rounded_as_the_whole_is(tmp_path):
    image = picture("float32", alpha=True)
    for ending in ("png", "webp", "avif"):
        write_image(tmp_path / f"x.{ending}", image)
        in_bands(tmp_path / f"y.{ending}", image)
        assert (tmp_path / f"y.{ending}").read_bytes() == (tmp_path / f"x.{ending}").read_bytes()


@pytest.mark.parametrize("step", [7, 61])
def test_a_bigtiff_keeps_what_a_tiff_keeps(tmp_path, monkeypatch, step):
    monkeypatch.setattr(encoding, "CLASSIC_TIFF", 0)
    for resolution in (None, (11.8, 5.9)):
        image = picture("uint16", metadata=about(), storage=Storage(resolution=resolution))
        in_bands(tmp_path / "x.tif", image, step=step, overwrite=True)
        assert (tmp_path / "x.tif").read_bytes()[:4] == b"II+\0"
        after = read_image(tmp_path / "x.tif")
        assert equal(after, image)
        assert after.metadata["xmp-data"] == XMP
        assert after.storage.resolution == (None if resolution is None else pytest.approx(resolution, rel=1e-4))
        with tifffile.TiffFile(tmp_path / "x.tif") as peer:
            tags = peer.pages[0].tags
            assert tags[0x010F].value == "Maker"
            assert tags[0x8769].value["DateTimeOriginal"] == "2020:01:02 03:04:05"
            assert (282 in tags) == (resolution is not None)
            assert np.array_equal(peer.asarray(), image.pixels)
        write_image(tmp_path / "y.jpg", ImageFile(pixels=after.pixels, metadata=after.metadata), overwrite=True)
        with Image.open(tmp_path / "y.jpg") as peer:
            assert peer.getexif().get_ifd(0x8769)[0x927C] == b"NOTES" * 40


@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
def test_an_image_without_all_its_rows_is_not_written(tmp_path, ending):
    image = picture()
    with (
        pytest.raises(DataError, match=r"x\.\w+: expected 61 rows, got 20"),
        writing_rows(tmp_path / f"x.{ending}", image.info) as write,
    ):
        write(image.rows(0, 20))
    with pytest.raises(DataError, match="pixels"), writing_rows(tmp_path / f"x.{ending}", image.info) as write:
        write(image.rows(0, 0))
    assert not [*tmp_path.iterdir()]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("adair-")]


@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
@pytest.mark.parametrize("step", [50, 1000])
def test_the_systems_own_error_where_a_file_may_not_grow(tmp_path, ending, step):
    image = picture(size=(1000, 300))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DataError, match=rf"x\.{ending}: cannot be written: File too large") as caught:
            in_bands(tmp_path / f"x.{ending}", image, step=step)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG
    assert not [*tmp_path.iterdir()]
