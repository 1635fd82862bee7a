import itertools
import os
import struct
import zlib

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image, ImageCms

from adair_core.data.images import ImageFile, read_header, read_image, write_image
from adair_core.errors import DataError

RNG = np.random.default_rng(2)
COLORS = RNG.integers(0, 256, (8, 12, 3), dtype=np.uint8)
GRAY = COLORS[..., 0]
LOSSLESS = {"png": {}, "webp": {"lossless": True}, "tif": {}}


def header_matches(path, image):
    header = read_header(path)
    size = header.height, header.width, header.colors, header.itemsize, header.has_alpha
    pixels = image.pixels
    return size == (*pixels.shape, pixels.itemsize, image.alpha is not None) and header.format == image.format


@pytest.mark.parametrize(
    ("mode", "ending"),
    [*itertools.product(["RGB", "RGBA", "L", "LA", "1", "P"], ["png", "tif"]), ("RGB", "webp"), ("RGBA", "webp")],
)
def test_pillows_files(tmp_path, mode, ending):
    name = f"x.{ending}"
    source = Image.fromarray(np.dstack([COLORS, GRAY])).convert("RGB" if mode in ("RGB", "P") else "RGBA")
    source = source.quantize(16) if mode == "P" else source.convert(mode)
    source.save(tmp_path / name, **LOSSLESS[ending])
    image = read_image(tmp_path / name)
    alpha = source.getchannel("A") if mode in ("RGBA", "LA") else None
    plain = np.asarray(source.convert("RGB" if mode in ("RGB", "RGBA", "P") else "L"))
    assert np.array_equal(image.pixels, plain.reshape(8, 12, -1))
    assert (image.alpha is None) == (alpha is None)
    assert alpha is None or np.array_equal(image.alpha, np.asarray(alpha))
    assert header_matches(tmp_path / name, image)
    assert image.notes == {"1": ("1 bit became 8 bit gray",), "P": ("palette became full colour",)}.get(mode, ())


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_tifffiles_files(tmp_path, dtype, planes):
    pixels = RNG.random((8, 12, 3)) * (1 if dtype.startswith("f") else np.iinfo(dtype).max)
    pixels = pixels.astype(dtype)
    stored = pixels if planes == "contig" else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "x.tif", stored, photometric="rgb", planarconfig=planes)
    image = read_image(tmp_path / "x.tif")
    assert np.array_equal(image.pixels, pixels)
    assert image.pixels.dtype == dtype
    assert header_matches(tmp_path / "x.tif", image)


@pytest.mark.parametrize("interlaced", [False, True])
def test_16_bit_png(tmp_path, interlaced):
    pixels = RNG.integers(0, 65536, (8, 12, 3), dtype=np.uint16)
    vips = pyvips.Image.new_from_array(pixels).copy(interpretation="rgb16")
    vips.pngsave(str(tmp_path / "x.png"), interlace=interlaced)
    assert np.array_equal(read_image(tmp_path / "x.png").pixels, pixels)


def test_jpeg_agrees_with_pillow(tmp_path):
    Image.fromarray(COLORS).save(tmp_path / "x.jpg", quality=90, subsampling=0)
    image = read_image(tmp_path / "x.jpg")
    assert image.format == "jpeg"
    with Image.open(tmp_path / "x.jpg") as peer:
        assert np.abs(image.pixels.astype(int) - np.asarray(peer)).max() <= 1


def test_the_content_tells_the_format(tmp_path):
    Image.fromarray(COLORS).save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / "x.jpg")
    assert read_image(tmp_path / "x.jpg").format == "png"


@pytest.mark.parametrize("name", ["x.jpg", "x.tif"])
def test_cmyk_becomes_rgb(tmp_path, name):
    flat = np.zeros((16, 16, 4), np.uint8)
    flat[:8] = 0, 255, 255, 0  # magenta and yellow ink: red
    Image.fromarray(flat, mode="CMYK").save(tmp_path / name)
    image = read_image(tmp_path / name)
    red, white = image.pixels[2, 2].astype(int), image.pixels[13, 13].astype(int)
    assert image.pixels.shape == (16, 16, 3)
    assert red[0] > 180
    assert red[1:].max() < 100
    assert white.min() > 240
    assert image.notes == ("converted from CMYK to sRGB",)
    assert "icc-profile-data" not in image.metadata or image.metadata["icc-profile-data"][16:20] == b"RGB "
    assert header_matches(tmp_path / name, image)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
def test_images_are_turned_the_right_way_up(tmp_path, orientation, ending):
    upright = {
        1: COLORS,
        2: COLORS[:, ::-1],
        3: COLORS[::-1, ::-1],
        4: COLORS[::-1],
        5: COLORS.transpose(1, 0, 2),
        6: np.rot90(COLORS, -1),
        7: COLORS[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(COLORS),
    }[orientation]
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(COLORS).save(tmp_path / f"x.{ending}", exif=exif, **LOSSLESS[ending])
    image = read_image(tmp_path / f"x.{ending}")
    assert np.array_equal(image.pixels, upright)
    assert header_matches(tmp_path / f"x.{ending}", image)
    # and it is not turned again when the result is opened
    write_image(tmp_path / "y.png", image)
    with Image.open(tmp_path / "y.png") as written:
        assert written.getexif().get(0x112, 1) == 1
    assert np.array_equal(read_image(tmp_path / "y.png").pixels, upright)


@pytest.mark.parametrize("source", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("target", ["jpg", "png", "webp", "tif"])
def test_metadata_are_kept(tmp_path, source, target):
    exif = Image.Exif()
    exif[0x112], exif[0x10F] = 6, "Camera maker"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(COLORS).save(tmp_path / f"x.{source}", exif=exif.tobytes(), icc_profile=profile, dpi=(300, 300))
    write_image(tmp_path / f"y.{target}", read_image(tmp_path / f"x.{source}"))
    with Image.open(tmp_path / f"y.{target}") as written:
        assert written.info["icc_profile"] == profile
        about = written.getexif()
        assert about.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
        assert about.get(0x112, 1) == 1
        assert about[0x10F] == "Camera maker"
        if "webp" not in (source, target):
            assert written.info["dpi"] == pytest.approx((300, 300), abs=0.01)


def test_further_pages_are_noted(tmp_path):
    frames = [Image.fromarray(np.roll(COLORS, shift, axis=0)) for shift in range(3)]
    frames[0].save(tmp_path / "x.tif", save_all=True, append_images=frames[1:])
    image = read_image(tmp_path / "x.tif")
    assert np.array_equal(image.pixels, COLORS)
    assert image.notes == ("only the first of 3 pages or frames is used",)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_a_small_file_that_claims_a_huge_image_is_refused(tmp_path):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    content = chunk(b"IDAT", zlib.compress(bytes(1000)))
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + content + chunk(b"IEND", b""))
    for read in (read_header, read_image):
        with pytest.raises(DataError, match=r"at most 268,435,456 pixels, got 100000 x 100000 = 10,000,000,000"):
            read(tmp_path / "x.png")


def test_the_pixel_limit_is_the_callers(tmp_path):
    Image.fromarray(COLORS).save(tmp_path / "x.png")
    with pytest.raises(DataError, match="at most 95 pixels, got 12 x 8 = 96"):
        read_image(tmp_path / "x.png", max_pixels=95)
    assert read_image(tmp_path / "x.png", max_pixels=96).width == 12


def test_a_million_by_one_pixels_can_be_read(tmp_path):
    Image.fromarray(np.zeros((1, 1_000_000), np.uint8)).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png").pixels.shape == (1, 1_000_000, 1)


def test_files_that_are_no_images(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(COLORS).save(tmp_path / "x.bmp")
    Image.fromarray(COLORS).save(tmp_path / "x.ppm")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    for name, words in {
        "none.png": "no such file",
        "empty.png": r"empty \(0 bytes\)",
        "text.png": "expected a PNG, JPEG, WebP, TIFF, AVIF or GIF image, got a file that begins with b'no image'",
        "x.bmp": "got BMP; convert it first",
        "photo.heic": "got HEIC; convert it first",
        "x.ppm": r"got Netpbm \(PPM\); convert it first",
        "pipe.png": "got a folder or a device",
        ".": "got a folder or a device",
        "text.png/x.png": "cannot be read: Not a directory",
        "a\0b.png": "cannot be read",
    }.items():
        with pytest.raises(DataError, match=words):
            read_header(tmp_path / name)


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint32"])
def test_value_types_that_are_not_read(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((8, 8), dtype), photometric="minisblack")
    with pytest.raises(DataError, match=r"x\.tif: expected 8 or 16 bit .*, got \d+ bit (un)?signed integers"):
        read_header(tmp_path / "x.tif")


@pytest.mark.parametrize("channels", [3, 4, 5])
def test_other_numbers_of_channels_are_not_read(tmp_path, channels):
    values = np.zeros((8, 8, channels), np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="minisblack", planarconfig="contig")
    words = rf"x\.tif: expected gray, RGB, CMYK or CIELAB, with or without alpha, got {channels} channels of gray"
    with pytest.raises(DataError, match=words):
        read_header(tmp_path / "x.tif")


@pytest.mark.parametrize(("meaning", "told"), [("unspecified", True), ("unassalpha", False)])
@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
def test_a_further_channel_that_does_not_say_what_it_is_counts_as_alpha_and_is_told(
    tmp_path, meaning, told, photometric
):
    values = np.dstack([COLORS, GRAY]) if photometric == "rgb" else np.dstack([GRAY, 255 - GRAY])
    tifffile.imwrite(tmp_path / "x.tif", values, photometric=photometric, planarconfig="contig", extrasamples=[meaning])
    image = read_image(tmp_path / "x.tif")
    assert np.array_equal(image.alpha, values[..., -1])
    assert ("the last channel, whose meaning is not stated, counts as alpha" in image.notes) == told


def samples(tmp_path):
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for ending, options in {**LOSSLESS, "jpg": {"quality": 95}}.items():
        Image.fromarray(noise).save(tmp_path / f"x.{ending}", **options)
    tifffile.imwrite(tmp_path / "z.tif", noise, photometric="rgb", compression="zlib", rowsperstrip=8)
    return [*tmp_path.iterdir()]


def test_images_below_a_tiffs_first_are_noted(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
        writer.write(COLORS, photometric="rgb", subifds=1)
        writer.write(COLORS[::2, ::2].copy(), photometric="rgb", subfiletype=1)
    image = read_image(tmp_path / "x.tif")
    assert np.array_equal(image.pixels, COLORS)
    assert image.notes == ("1 smaller or further images below it are left out",)


@pytest.mark.parametrize("progressive", [False, True])
def test_what_follows_a_jpegs_picture_is_noted(tmp_path, progressive):
    path = tmp_path / "x.jpg"
    preview = Image.fromarray(COLORS)
    preview.save(path)
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    inner = path.read_bytes()  # a picture in the header, with an end of its own
    Image.fromarray(noise).save(path, progressive=progressive, comment=inner, quality=95)
    content = path.read_bytes()
    assert content.count(b"\xff\xd9") > 1
    assert read_image(path).notes == ()
    path.write_bytes(content + bytes(4096))
    assert read_image(path).notes == ()
    path.write_bytes(content + b"\0\0\0\x18ftypmp42" + bytes(1000))
    (note,) = read_image(path).notes
    assert note.startswith("1,012 bytes after the picture")
    first, second = Image.fromarray(COLORS), Image.fromarray(COLORS[::-1])
    first.save(path, format="MPO", save_all=True, append_images=[second])
    (note,) = read_image(path).notes
    assert note.endswith("bytes after the picture (such as further pictures or a video) are left out")


def test_names_need_not_be_utf_8(tmp_path):
    path = tmp_path / os.fsdecode(b"scan-\xe9.png")
    write_image(path, ImageFile(pixels=COLORS))
    assert np.array_equal(read_image(path).pixels, COLORS)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DataError, match="damaged or truncated"):
        read_image(path)


def test_damaged_pixels_of_a_jpeg_are_found_and_oddities_of_its_header_taken(tmp_path):
    path = tmp_path / "x.jpg"
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path, quality=95)
    content = path.read_bytes()
    expected = read_image(path).pixels
    version = content.index(b"JFIF\0") + 5
    path.write_bytes(content[:version] + b"\x02" + content[version + 1 :])
    assert np.array_equal(read_image(path).pixels, expected)
    middle = len(content) // 2
    path.write_bytes(content[:middle] + b"\xff\xe5" + content[middle + 2 :])  # a marker among the pixels
    with pytest.raises(DataError, match=r"x\.jpg: damaged or truncated image"):
        read_image(path)


def test_truncated_files_are_found(tmp_path):
    for path in samples(tmp_path):
        whole = path.read_bytes()
        for share in (0.02, 0.5, 0.9, 0.99):
            path.write_bytes(whole[: int(len(whole) * share)])
            with pytest.raises(DataError, match=path.name):
                read_image(path)


def test_damage_never_ends_in_anything_but_an_image_or_a_clear_error(tmp_path):
    damaged = 0
    for path in samples(tmp_path):
        whole = path.read_bytes()
        for _ in range(60):
            content = bytearray(whole)
            for _ in range(RNG.integers(1, 6)):
                content[RNG.integers(0, len(content) if RNG.random() < 0.3 else 200)] = RNG.integers(0, 256)
            path.write_bytes(content)
            try:
                image = read_image(path, max_pixels=2**22)
                assert image.pixels.size
            except DataError as error:
                assert path.name in str(error)  # noqa: PT017 - either outcome is right
                damaged += 1
    assert damaged > 100


def test_a_link_to_nothing_is_told_from_a_file_that_is_not_there(tmp_path):
    (tmp_path / "a.png").symlink_to("gone.png")
    with pytest.raises(DataError, match=r"a\.png: a symbolic link to gone\.png, which is not there"):
        read_image(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"gone\.png: no such file"):
        read_image(tmp_path / "gone.png")
