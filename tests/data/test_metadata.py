"""EXIF, XMP, IPTC data and profiles: whether a result says what its source said."""

import io
import struct
import zlib
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps, IptcImagePlugin, PngImagePlugin
from small_pictures import COLORS, SMOOTH, again

from adair_core.data.encoding import losses
from adair_core.data.images import ImageFile, Storage, read_image, write_image
from adair_core.data.png_chunks import Chunk
from adair_core.errors import DataError

XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>five stars</x:xmpmeta>"


def camera_exif():
    about = Image.Exif()
    about[0x010F], about[0x0112], about[0x013B] = "Maker", 6, "Jos\u00e9".encode("utf8").decode("latin1")
    inner = about.get_ifd(0x8769)
    inner[0x927C], inner[0x9003], inner[0xA002], inner[0xEA1C] = b"NOTES" * 40, "2020:01:02 03:04:05", 48, b"unknown"
    place = about.get_ifd(0x8825)
    place[1], place[2] = "N", (48.0, 51.0, 30.5)
    return about


@pytest.mark.parametrize("target", ["jpg", "png", "webp", "tif", "avif"])
@pytest.mark.parametrize("source", ["jpg", "png", "webp", "tif", "avif"])
def test_exif_xmp_and_profile_survive(tmp_path, source, target):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options = {"exif": camera_exif().tobytes(), "icc_profile": profile, "xmp": XMP}
    if source == "png":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    Image.fromarray(COLORS).save(tmp_path / f"x.{source}", **options)
    if source == "tif":  # Pillow writes either EXIF data or XMP
        image = read_image(tmp_path / "x.tif")
        whole = replace(image, metadata={**image.metadata, "xmp-data": XMP})
        write_image(tmp_path / "x.tif", whole, overwrite=True)
    with Image.open(again(tmp_path / f"x.{source}", f"y.{target}")) as written:
        assert written.info["icc_profile"] == profile
        about = written.getexif()
        inner, place = about.get_ifd(0x8769), about.get_ifd(0x8825)
        assert about[0x010F] == "Maker"
        assert about.get(0x0112, 1) == 1
        assert inner[0x927C] == b"NOTES" * 40
        assert inner[0x9003] == "2020:01:02 03:04:05"
        assert inner[0xEA1C] == b"unknown"
        assert inner[0xA002] == written.width  # the width of the pixels as they are now
        assert place[1] == "N"
        assert [float(part) for part in place[2]] == [48.0, 51.0, 30.5]
        assert xmp_of(written) == XMP


def test_a_jpegs_comment_is_kept_or_its_loss_is_told(tmp_path):
    Image.fromarray(COLORS).save(tmp_path / "x.jpg", comment=b"by the lake")
    with Image.open(again(tmp_path / "x.jpg", "y.jpg")) as peer:
        assert peer.info["comment"] == b"by the lake"
    info = read_image(tmp_path / "x.jpg").info
    assert losses(info, "jpeg") == ()
    assert losses(info, "png") == ("without the JPEG's comment",)
    Image.fromarray(COLORS).save(tmp_path / "x.jpg")
    assert losses(read_image(tmp_path / "x.jpg").info, "png") == ()


@pytest.mark.parametrize("target", ["jpg", "png", "webp"])
def test_dimensions_in_the_first_directory_follow(tmp_path, target):
    about = camera_exif()
    about[0x0100], about[0x0101] = 48, 40  # as Android's cameras write them; the picture is then turned
    Image.fromarray(COLORS).save(tmp_path / "x.jpg", exif=about.tobytes())
    with Image.open(again(tmp_path / "x.jpg", f"y.{target}")) as after:
        assert after.size == (40, 48)
        assert (after.getexif()[0x0100], after.getexif()[0x0101]) == (40, 48)


def xmp_of(written):
    return written.info.get("xmp") or written.info.get("XML:com.adobe.xmp", "").encode() or written.tag_v2[700]


ELEMENTS = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:mine="http://mine.example/" mine:Orientation="6">
<tiff:Orientation>6</tiff:Orientation><tiff:ImageWidth>48</tiff:ImageWidth><tiff:ImageLength>40</tiff:ImageLength>
</rdf:Description></rdf:RDF></x:xmpmeta>"""
ATTRIBUTES = """<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>
<rdf:Description xmlns:t='http://ns.adobe.com/tiff/1.0/' xmlns:e="http://ns.adobe.com/exif/1.0/" t:Orientation = '6'
e:PixelXDimension="48" e:PixelYDimension="40" t:Make="6"/></rdf:RDF></x:xmpmeta>"""


def properties(xmp):
    """All values of XMP data by their names, as an XML parser finds them."""
    found = {}
    for element in ElementTree.fromstring(xmp).iter():
        found |= {element.tag: element.text, **element.attrib}
    return {name.partition("}")[2] if "mine" not in name else name: value for name, value in found.items()}


@pytest.mark.parametrize("xmp", [ELEMENTS, ATTRIBUTES])
@pytest.mark.parametrize("target", ["jpg", "png", "webp", "tif", "avif"])
@pytest.mark.parametrize("source", ["jpg", "png", "webp", "tif", "avif"])
def test_xmp_of_a_turned_picture_says_that_it_is_upright(tmp_path, source, target, xmp):
    about = Image.Exif()
    about[0x0112] = 6
    options = {"exif": about, "xmp": xmp.encode()}
    if source == "png":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp)
    if source == "tif":
        options = {"tiffinfo": {0x0112: 6, 700: xmp.encode()}}
    Image.fromarray(COLORS).save(tmp_path / f"x.{source}", **options)
    with Image.open(again(tmp_path / f"x.{source}", f"y.{target}")) as written:
        assert written.size == (40, 48)
        assert ImageOps.exif_transpose(written).size == (40, 48)  # Pillow turns by XMP where EXIF says nothing
        was, said = properties(xmp), properties(xmp_of(written))
    widths = {name: "40" for name in was if name in ("ImageWidth", "PixelXDimension")}
    heights = {name: "48" for name in was if name in ("ImageLength", "PixelYDimension")}
    assert said == {**was, "Orientation": "1", **widths, **heights}


@pytest.mark.parametrize("target", ["jpg", "png", "webp", "tif", "avif"])
@pytest.mark.parametrize("source", ["jpg", "webp"])
def test_an_orientation_that_xmp_alone_says_is_left_to_who_reads_it(tmp_path, source, target):
    Image.fromarray(SMOOTH).save(tmp_path / f"x.{source}", xmp=ELEMENTS.encode())
    with Image.open(again(tmp_path / f"x.{source}", f"y.{target}")) as written:
        assert written.size == (48, 40)
        is_oriented = target in ("tif", "avif")  # which say themselves how they are to be turned
        assert ImageOps.exif_transpose(written).size == ((48, 40) if is_oriented else (40, 48))
        assert properties(xmp_of(written))["Orientation"] == ("1" if is_oriented else "6")


@pytest.mark.parametrize("name", ["xmp", "exif"])
def test_data_that_are_too_long_for_a_jpeg_are_left_out_and_said(tmp_path, name):
    start = b"Exif\0\0II*\0\x08\0\0\0" if name == "exif" else b"<x>"
    most = 2**16 - 3 - (29 if name == "xmp" else 0)  # without the marker of XMP, a name of 28 letters and a zero
    for length, is_kept in ((most, True), (most + 1, False)):
        image = ImageFile(pixels=COLORS, metadata={f"{name}-data": start + bytes(length - len(start))})
        write_image(tmp_path / f"{length}.jpg", image)
        with Image.open(tmp_path / f"{length}.jpg") as written:
            assert (name in written.info) == is_kept
        said = (f"without {name.upper()} data, which are too long for JPEG",)
        assert losses(image.info, "jpeg") == (() if is_kept else said)
        assert losses(image.info, "png") == ()


@pytest.mark.parametrize("source", ["jpg", "avif"])
def test_exif_data_in_avif_are_those_of_the_source_byte_for_byte(tmp_path, source):
    about = camera_exif()
    about[0x0112] = 1
    Image.fromarray(COLORS).save(tmp_path / "x.jpg", exif=about)
    path = tmp_path / "x.jpg" if source == "jpg" else again(tmp_path / "x.jpg", "x.avif")
    own = read_image(path).metadata["exif-data"]
    with Image.open(again(path, "y.avif")) as peer:
        assert peer.info["exif"].rstrip(b"\0") == own.rstrip(b"\0")
        assert 0x011A not in peer.getexif()  # a resolution
    image = read_image(tmp_path / "x.jpg")
    longer = replace(image, metadata={"exif-data": own + bytes(70_000)})
    write_image(tmp_path / "z.avif", longer)
    with Image.open(tmp_path / "z.avif") as peer:
        assert "exif" not in peer.info
    assert losses(longer.info, "avif")[0] == "without EXIF data, which are too long for AVIF"


def test_what_avif_cannot_hold_is_told_before_it_is_encoded(tmp_path):
    with pytest.raises(DataError, match="at most 16,384 rows and columns, got 16385 x 1"):
        write_image(tmp_path / "x.avif", ImageFile(pixels=np.zeros((1, 16385, 3), np.uint8)))


def test_a_preview_of_the_unrestored_picture_goes(tmp_path):
    preview = io.BytesIO()
    Image.fromarray(COLORS).resize((16, 16)).save(preview, "JPEG")
    content = bytearray(camera_exif().tobytes()[6:])
    order = ">" if content[:2] == b"MM" else "<"
    first = struct.unpack_from(f"{order}I", content, 4)[0]
    count = struct.unpack_from(f"{order}H", content, first)[0]
    struct.pack_into(f"{order}I", content, first + 2 + 12 * count, len(content))
    start = len(content) + 2 + 2 * 12 + 4
    length = len(preview.getvalue())
    content += struct.pack(f"{order}H2HIIHHIII", 2, 0x201, 4, 1, start, 0x202, 4, 1, length, 0)
    content += preview.getvalue()
    Image.fromarray(COLORS).save(tmp_path / "x.jpg", exif=b"Exif\0\0" + bytes(content))
    with Image.open(tmp_path / "x.jpg") as before:
        assert before.getexif().get_ifd(-1)[0x202] == len(preview.getvalue())
    with Image.open(again(tmp_path / "x.jpg", "y.jpg")) as after:
        assert after.getexif().get_ifd(-1) == {}
        assert after.getexif()[0x010F] == "Maker"


@pytest.mark.parametrize("cut", [2, 7, 8, 12, 40, 100])
def test_damaged_exif_does_not_stop_the_picture(tmp_path, cut):
    exif = camera_exif().tobytes()
    for broken in (exif[:cut], exif[:10] + b"\xff" * 8 + exif[18:]):
        for target in ("jpg", "png", "tif"):
            image = ImageFile(pixels=COLORS, metadata={"exif-data": b"Exif\0\0" + broken[6:]})
            write_image(tmp_path / f"y.{target}", image, overwrite=True)
            assert read_image(tmp_path / f"y.{target}").pixels.shape == COLORS.shape


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.tif", "x.webp", "x.avif"])
def test_nothing_is_made_up(tmp_path, name):
    """No resolution, no EXIF data where the source had none."""
    write_image(tmp_path / name, ImageFile(pixels=COLORS))
    with Image.open(tmp_path / name) as peer:
        if name == "x.tif":
            assert not {282, 283, 296, 700, 34665, 34675} & set(peer.tag_v2)
        else:
            assert not {"dpi", "exif", "xmp", "icc_profile", "jfif_unit"} & {key for key in peer.info if peer.info[key]}
            assert dict(peer.getexif()) == {}


def test_pngs_colour_chunks_and_texts_are_kept(tmp_path):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    Image.fromarray(COLORS).save(tmp_path / "x.png")
    whole = (tmp_path / "x.png").read_bytes()
    extra = {
        b"gAMA": struct.pack(">I", 100000),
        b"cICP": bytes([9, 16, 0, 1]),
        b"tEXt": b"Title\0A barn",
        b"iTXt": b"Author\0\0\0\0\0" + "Zoë".encode(),
    }
    (tmp_path / "x.png").write_bytes(whole[:33] + b"".join(chunk(*item) for item in extra.items()) + whole[33:])
    written = again(tmp_path / "x.png", "y.png").read_bytes()
    for item in extra.items():
        assert chunk(*item) in written
    with Image.open(io.BytesIO(written)) as peer:
        assert peer.text["Author"] == "Zoë"
        assert np.array_equal(np.asarray(peer), COLORS)


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        ({}, "jpeg", ()),
        ({"pixels": COLORS.astype(np.uint16)}, "jpeg", ("16 bits were rounded to 8 bits",)),
        ({"pixels": COLORS.astype(np.uint16)}, "avif", ("16 bits were rounded to 12 bits",)),
        ({"pixels": COLORS.astype(np.float32)}, "png", ("floats were clipped to 0 to 1 and rounded to 16 bits",)),
        ({"pixels": COLORS.astype(np.float32)}, "tiff", ()),
        ({"metadata": {"iptc-data": b"x"}}, "webp", ("without IPTC data",)),
        ({"metadata": {"icc-profile-data": bytes(16) + b"RGB " + bytes(108)}}, "webp", ()),
        ({"storage": Storage(resolution=(12.0, 12.0))}, "webp", ("without the resolution",)),
        ({"storage": Storage(png_chunks=(Chunk(b"gAMA", bytes([0, 1, 134, 160])),))}, "jpeg", ("without PNG's gAMA",)),
        ({"storage": Storage(png_chunks=(Chunk(b"gAMA", bytes([0, 0, 177, 143])),))}, "jpeg", ()),
        ({"storage": Storage(png_chunks=(Chunk(b"cICP", b"1234"), Chunk(b"sRGB", b"0")))}, "jpeg", ()),
    ],
)
def test_what_a_format_cannot_keep_is_told(options, kind, told):
    assert losses(ImageFile(**{"pixels": COLORS, **options}).info, kind) == told


def gray_profile():
    """The smallest ICC profile of linear gray that color management takes."""
    white = b"".join(struct.pack(">i", round(part * 2**16)) for part in (0.9642, 1.0, 0.8249))
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"gray" + bytes(79),
        b"cprt": b"text" + bytes(4) + b"none",
        b"wtpt": b"XYZ " + bytes(4) + white,
        b"kTRC": b"curv" + bytes(8),
    }
    table, content = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(content), len(value))
        content += value + bytes(-len(value) % 4)
    head = bytes(4) + b"\x02\x10\0\0mntrGRAYXYZ " + bytes(12) + b"acsp" + bytes(28) + white + bytes(48)
    size = len(table) + len(content) + 128
    return struct.pack(">I", size) + head + table + content


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp", "avif"])
def test_a_profile_of_gray_values_is_not_one_of_rgb(tmp_path, ending):
    profile = gray_profile()
    assert ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space == "GRAY"
    image = ImageFile(pixels=COLORS[..., :1], metadata={"icc-profile-data": profile})
    write_image(tmp_path / f"x.{ending}", image)
    after = read_image(tmp_path / f"x.{ending}")
    is_kept = ending not in ("webp", "avif")
    assert after.metadata.get("icc-profile-data") == (profile if is_kept else None)
    told = losses(image.info, after.format)
    told_of_it = [note for note in told if note.startswith("without the colour profile, which is of gray values")]
    assert len(told_of_it) == (not is_kept)


# --- IPTC data

IPTC = {(2, 5): b"A barn", (2, 25): b"wood", (2, 120): b"at noon"}
IIM = b"".join(bytes([0x1C, *key]) + struct.pack(">H", len(text)) + text for key, text in IPTC.items())
URL = b"8BIM\x04\x0b\3url\0\0\0\5a.org\0"  # of an odd length, with a name
RESOURCES = b"Photoshop 3.0\0" + URL + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IIM)) + IIM


def write_with_iptc(path, *, kind=7, order="<"):
    if path.suffix == ".jpg":
        Image.fromarray(COLORS).save(path, extra=b"\xff\xed" + struct.pack(">H", len(RESOURCES) + 2) + RESOURCES)
        return
    content = IIM + bytes(-len(IIM) % 4)
    values = struct.unpack(f"<{len(content) // 4}I", content) if kind == 4 else content
    tag = (33723, kind, len(values), values, True)
    tifffile.imwrite(path, COLORS, photometric="rgb", byteorder=order, extratags=[tag])


def iptc_in(path):
    with Image.open(path) as peer:
        return IptcImagePlugin.getiptcinfo(peer)


@pytest.mark.parametrize("target", ["y.jpg", "y.tif"])
@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("x.jpg", {}),
        ("x.tif", {}),
        ("x.tif", {"kind": 4}),
        ("x.tif", {"kind": 4, "order": ">"}),  # numbers of the other order, as the bytes stand in the file
    ],
)
def test_iptc_data_survive(tmp_path, source, target, options):
    write_with_iptc(tmp_path / source, **options)
    assert iptc_in(again(tmp_path / source, target)) == IPTC


def test_a_jpegs_other_resources_of_photoshop_survive(tmp_path):
    write_with_iptc(tmp_path / "x.jpg")
    assert RESOURCES in again(tmp_path / "x.jpg", "y.jpg").read_bytes()


@pytest.mark.parametrize("content", [b"Photoshop 3.0\0" + URL, b"Photoshop 3.0\x008BIM\x04", b"Photoshop 3.0\0"])
def test_resources_without_iptc_data_do_not_go_into_a_tiff(tmp_path, content):
    image = ImageFile(pixels=COLORS, metadata={"iptc-data": content})
    write_image(tmp_path / "x.tif", image)
    assert "iptc-data" not in read_image(tmp_path / "x.tif").metadata
    assert losses(image.info, "tiff") == ("without IPTC data",)


def test_iptc_data_that_are_too_long_for_jpeg_are_left_out_and_said(tmp_path):
    image = ImageFile(pixels=COLORS, metadata={"iptc-data": IIM + bytes(2**16)})
    write_image(tmp_path / "x.jpg", image)
    assert "iptc-data" not in read_image(tmp_path / "x.jpg").metadata
    assert losses(image.info, "jpeg") == ("without IPTC data",)


def test_tiffs_that_libvips_cannot_read_keep_iptc_and_xmp_data(tmp_path):
    tags = [(33723, 7, len(IIM), IIM, True), (700, 1, len(XMP), XMP, True)]
    tifffile.imwrite(tmp_path / "x.tif", COLORS / 255.0, photometric="rgb", extratags=tags)
    with tifffile.TiffFile(again(tmp_path / "x.tif", "y.tif")) as peer:
        assert [bytes(peer.pages[0].tags[tag].value) for tag in (33723, 700)] == [IIM, XMP]
