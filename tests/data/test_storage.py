"""How a file stores its pixels, and whether a result stores them the same way."""

import struct

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image, ImageCms, JpegImagePlugin
from small_pictures import COLORS, RNG, SMOOTH, again

from adair_core.data.images import ImageFile, read_header, read_image, write_image
from adair_core.errors import DataError


@pytest.mark.parametrize(("number", "name"), [(0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")])
def test_a_jpegs_subsampling_is_kept_or_chosen(tmp_path, number, name):
    Image.fromarray(SMOOTH).save(tmp_path / "x.jpg", subsampling=number)
    assert read_image(tmp_path / "x.jpg").storage.subsampling == name
    with Image.open(again(tmp_path / "x.jpg", "y.jpg")) as peer:
        assert JpegImagePlugin.get_sampling(peer) == number
    with Image.open(again(tmp_path / "x.jpg", "z.jpg", subsampling="4:2:2")) as peer:
        assert JpegImagePlugin.get_sampling(peer) == 1


def test_a_jpegs_tables_are_kept_when_asked_and_when_they_are_finer(tmp_path):
    for quality in (60, 99):
        Image.fromarray(SMOOTH).save(tmp_path / "x.jpg", quality=quality)
        with Image.open(tmp_path / "x.jpg") as peer:
            own = peer.quantization
        written = {
            asked: Image.open(again(tmp_path / "x.jpg", f"{asked}.jpg", quality=asked)) for asked in (None, "keep")
        }
        assert written["keep"].quantization == own
        assert (written[None].quantization == own) == (quality == 99)
        for image in written.values():
            image.close()


def test_progressive_and_resolution_in_centimetres_are_kept(tmp_path):
    Image.fromarray(SMOOTH).save(tmp_path / "x.jpg", progressive=True, dpi=(254, 127))
    content = bytearray((tmp_path / "x.jpg").read_bytes())
    place = content.index(b"JFIF\0") + 7
    content[place : place + 5] = struct.pack(">BHH", 2, 100, 50)
    (tmp_path / "x.jpg").write_bytes(content)
    assert read_image(tmp_path / "x.jpg").storage.resolution == (10.0, 5.0)
    with Image.open(again(tmp_path / "x.jpg", "y.jpg")) as peer:
        assert peer.info["progressive"]
        assert peer.info["dpi"] == (254, 127)


# --- Lossless and lossy


def test_lossless_webp_stays_lossless_and_lossy_stays_lossy(tmp_path):
    for lossless in (True, False):
        Image.fromarray(SMOOTH).save(tmp_path / "x.webp", lossless=lossless, quality=90)
        assert read_image(tmp_path / "x.webp").storage.lossless == lossless
        assert read_image(again(tmp_path / "x.webp", "y.webp")).storage.lossless == lossless
        animated = [Image.fromarray(COLORS), Image.fromarray(COLORS[::-1])]
        animated[0].save(tmp_path / "x.webp", save_all=True, append_images=animated[1:], lossless=lossless)
        assert read_image(tmp_path / "x.webp").storage.lossless == lossless


def test_avif_is_lossless_from_lossless_sources(tmp_path):
    write_image(tmp_path / "x.png", ImageFile(pixels=COLORS, alpha=COLORS[..., 0]))
    after = read_image(again(tmp_path / "x.png", "y.avif"))
    assert np.array_equal(after.pixels, COLORS)
    assert np.array_equal(after.alpha, COLORS[..., 0])
    small = again(tmp_path / "x.png", "z.avif", quality=40)
    assert small.stat().st_size < (tmp_path / "y.avif").stat().st_size / 2
    with Image.open(tmp_path / "y.avif") as peer:
        assert np.abs(np.asarray(peer.convert("RGB")).astype(int) - COLORS).max() <= 1


@pytest.mark.parametrize("bits", [10, 12])
def test_avif_keeps_ten_and_twelve_bits(tmp_path, bits):
    top = 2**bits - 1
    levels = np.linspace(0, top, 40 * 48 * 3).round().reshape(40, 48, 3)
    pixels = np.round(levels / top * 65535).astype(np.uint16)
    vips = pyvips.Image.new_from_array(levels.astype(np.uint16) << (16 - bits)).copy(interpretation="rgb16")
    vips.heifsave(str(tmp_path / "x.avif"), compression="av1", lossless=True, bitdepth=bits)
    image = read_image(tmp_path / "x.avif")
    assert image.storage.bits == bits
    assert np.array_equal(image.pixels, pixels)  # white is 65535, not 65472
    write_image(tmp_path / "y.avif", ImageFile(pixels=pixels, storage=type(image.storage)(bits=bits)))
    assert np.array_equal(read_image(tmp_path / "y.avif").pixels, pixels)


@pytest.mark.parametrize("compression", ["none", "lzw", "deflate", "packbits"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_tiffs_compression_is_kept(tmp_path, compression, dtype):
    pixels = (RNG.random((40, 48, 3)) * (1 if dtype == "float32" else np.iinfo(dtype).max)).astype(dtype)
    space = {"uint8": "srgb", "uint16": "rgb16", "float32": "scrgb"}[dtype]
    pyvips.Image.new_from_array(pixels).copy(interpretation=space).tiffsave(
        str(tmp_path / "x.tif"), compression=compression
    )
    written = again(tmp_path / "x.tif", "y.tif")
    assert np.array_equal(read_image(written).pixels, pixels)
    with tifffile.TiffFile(tmp_path / "x.tif") as one, tifffile.TiffFile(written) as other:
        assert other.pages[0].compression == one.pages[0].compression


def test_a_big_endian_bigtiff_is_read_with_its_exif_data(tmp_path):
    maker = [(271, "s", 0, "Maker", True)]
    tifffile.imwrite(
        tmp_path / "x.tif", COLORS, bigtiff=True, byteorder=">", photometric="rgb", extratags=maker,
        resolution=(300, 150), resolutionunit=2,
    )  # fmt: skip
    image = read_image(tmp_path / "x.tif")
    assert np.array_equal(image.pixels, COLORS)
    assert image.storage.resolution == pytest.approx((300 / 25.4, 150 / 25.4))
    with Image.open(again(tmp_path / "x.tif", "y.jpg")) as peer:
        assert peer.getexif()[271] == "Maker"


# --- Kinds of pixels that become others


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_floats_of_other_sizes(tmp_path, dtype, planes):
    pixels = RNG.normal(0.5, 1, (8, 12, 3)).astype(dtype)
    stored = pixels if planes == "contig" else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "x.tif", stored, photometric="rgb", planarconfig=planes, compression="zlib")
    image = read_image(tmp_path / "x.tif")
    assert np.array_equal(image.pixels, pixels.astype(np.float32))
    assert any("bit floats" in note for note in image.notes)
    header = read_header(tmp_path / "x.tif")
    assert (*header.shape, header.itemsize) == (8, 12, 3, 4)
    with pytest.raises(DataError, match="at most 95 pixels, got 12 x 8"):
        read_image(tmp_path / "x.tif", max_pixels=95)
    content = (tmp_path / "x.tif").read_bytes()
    (tmp_path / "x.tif").write_bytes(content[: len(content) - 40])
    with pytest.raises(DataError, match=r"x\.tif"):
        read_image(tmp_path / "x.tif")


def test_eight_bit_cielab(tmp_path):
    flat = np.zeros((40, 48, 3), np.uint8)
    flat[:20] = 200, 30, 40
    flat[20:] = 128
    lab = ImageCms.profileToProfile(
        Image.fromarray(flat), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    lab.save(tmp_path / "x.tif")
    image = read_image(tmp_path / "x.tif")
    assert np.abs(image.pixels.astype(int) - flat).max() <= 3
    assert image.notes == ("converted from CIELAB to sRGB",)


def test_sixteen_bit_cielab(tmp_path):
    lab = np.zeros((8, 8, 3), np.int16)
    lab[..., 0] = np.uint16(round(53.24 / 100 * 65535)).astype(np.int16)  # sRGB's red: L 53.24, a 80.09, b 67.20 (D65)
    lab[..., 1:] = round(80.09 * 256), round(67.20 * 256)
    tifffile.imwrite(tmp_path / "x.tif", lab.view(np.uint16), photometric="cielab")
    image = read_image(tmp_path / "x.tif")
    assert image.pixels.dtype == np.uint16
    assert np.abs(image.pixels / 257.0 - (255, 0, 0)).max() < 4
    assert image.notes == ("converted from CIELAB to sRGB",)


@pytest.mark.parametrize("options", [{}, {"compression": "jpeg"}])
def test_ycbcr_tiff(tmp_path, options):
    Image.fromarray(SMOOTH).convert("YCbCr").save(tmp_path / "x.tif", **options)
    assert np.abs(read_image(tmp_path / "x.tif").pixels.astype(int) - SMOOTH).mean() < 3


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_becomes_an_alpha_channel(tmp_path, mode):
    source = Image.fromarray(COLORS).quantize(16) if mode == "P" else Image.fromarray(COLORS).convert(mode)
    corner = source.getpixel((5, 7))
    source.save(tmp_path / "x.png", transparency=corner)
    image = read_image(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as peer:
        assert np.array_equal(image.alpha, np.asarray(peer.convert("RGBA"))[..., 3])
    assert image.alpha[7, 5] == 0


@pytest.mark.parametrize("name", ["x.gif", "x.png", "x.webp", "x.avif", "x.tif"])
def test_the_first_frame_of_an_animation_is_used_and_said(tmp_path, name):
    frames = [Image.fromarray(np.full((40, 48, 3), level, np.uint8)) for level in (200, 100, 0)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    image = read_image(tmp_path / name)
    assert np.abs(image.pixels.astype(int) - 200).max() <= 2
    assert any("only the first" in note for note in image.notes)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_premultiplied_alpha_becomes_straight(tmp_path, dtype):
    top = 1.0 if dtype == "float32" else np.iinfo(dtype).max
    alpha = np.linspace(0, 1, 48)[None, :].repeat(40, 0)
    color = np.array([0.9, 0.5, 0.1])
    stored = np.dstack([color * alpha[..., None], alpha]) * top
    stored = (stored if dtype == "float32" else stored.round()).astype(dtype)
    tifffile.imwrite(tmp_path / "x.tif", stored, photometric="rgb", extrasamples=["assocalpha"])
    image = read_image(tmp_path / "x.tif")
    assert np.array_equal(image.alpha, stored[..., 3])
    assert np.abs(image.pixels[:, 24:] / top - color).max() < 0.006
    assert "premultiplied alpha became straight" in image.notes
    write_image(tmp_path / "y.tif", image)
    assert np.array_equal(read_image(tmp_path / "y.tif").pixels, image.pixels)
