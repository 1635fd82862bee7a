"""Documents of several pages: each page restored as if it were alone, in one file."""

from __future__ import annotations

import struct
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import tifffile
from affine_network import affine_model
from PIL import Image, ImageCms

from adair_core.data.document import open_document
from adair_core.data.images import ImageFile, ImageInfo, ImageRows, read_image
from adair_core.errors import DataError, UsageError
from adair_core.inference import FileResult, Settings, files, plan, restore_files
from adair_core.inference.pages import Chosen
from adair_core.model import RestorationModel

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RNG = np.random.default_rng(0)
PAGES = [
    {"data": RNG.integers(0, 256, (40, 30, 3), np.uint8), "photometric": "rgb", "iccprofile": PROFILE},
    {"data": RNG.integers(0, 65536, (21, 50), np.uint16), "resolution": (300, 150), "compression": "zlib"},
    {"data": RNG.random((33, 17, 3), np.float32), "photometric": "rgb"},
    {
        "data": RNG.integers(0, 256, (25, 26, 4), np.uint8),
        "photometric": "rgb",
        "extrasamples": ["unassalpha"],
        "tile": (16, 16),
        "extratags": [(271, "s", 0, "Scanner", True), (285, "s", 0, "recto", True)],
    },
]
"""Pages as scanners and archives mix them: other sizes, types, channels, profiles, resolutions and compressions."""


@pytest.fixture
def model() -> RestorationModel:
    return affine_model(half=(0.5, 0.0), same=(1.0, 0.0))


def document(path: Path, pages: list[dict[str, Any]] = PAGES, **options: Any) -> Path:
    with tifffile.TiffWriter(path, **options) as writer:
        for page in pages:
            writer.write(**{"metadata": None, "software": False, **page})
    return path


def restored(model: RestorationModel, source: Path, output: Path | None = None, **more: Any) -> FileResult:
    jobs = plan([source], output, suffix=more.pop("suffix", None))
    choose = more.pop("choose", None)
    (result,) = restore_files(model, jobs, Settings(**more), choose=choose)
    return result


def pages_of(path: Path) -> list[np.ndarray]:
    """What an independent reader sees."""
    with tifffile.TiffFile(path) as file:
        return [page.asarray() for page in file.pages]


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}])
@pytest.mark.parametrize("limit", [0, 2**60])
def test_every_page_keeps_its_values_type_and_size(
    tmp_path: Path, model: RestorationModel, monkeypatch: Any, options: dict[str, Any], limit: int
) -> None:
    monkeypatch.setattr(files, "WHOLE", limit)
    result = restored(model, document(tmp_path / "a.tif", **options))
    assert (result.status, result.message) == ("restored", "")
    after = pages_of(result.output)
    assert len(after) == len(PAGES)
    for values, page in zip(after, PAGES, strict=True):
        assert values.dtype == page["data"].dtype
        np.testing.assert_array_equal(values, page["data"])


def test_every_page_keeps_what_is_said_about_it(tmp_path: Path, model: RestorationModel) -> None:
    result = restored(model, document(tmp_path / "a.tif"))
    with tifffile.TiffFile(result.output) as file:
        first, second, third, fourth = file.pages
        assert first.tags["InterColorProfile"].value == PROFILE
        assert all("InterColorProfile" not in page.tags for page in (second, third, fourth))
        assert second.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        across, down = (second.tags[tag].value for tag in (282, 283))
        assert (across[0] / across[1], down[0] / down[1]) == pytest.approx((300, 150))
        assert "XResolution" not in first.tags
        assert fourth.tags["Make"].value == "Scanner"
        assert fourth.tags["PageName"].value == "recto"
        assert fourth.photometric == tifffile.PHOTOMETRIC.RGB
        assert fourth.tags["ExtraSamples"].value == (2,)
        assert [page.subfiletype for page in file.pages] == [2] * 4  # pages of a document


def test_each_page_is_restored_as_a_file_of_its_own_would_be(tmp_path: Path, model: RestorationModel) -> None:
    model.set_adapters(["half"])
    result = restored(model, document(tmp_path / "a.tif"), scale=2)
    assert [page.shape[:2] for page in pages_of(result.output)] == [(80, 60), (42, 100), (66, 34), (50, 52)]
    for index, page in enumerate(PAGES):
        alone = restored(model, document(tmp_path / f"{index}.tif", [page]), scale=2)
        np.testing.assert_array_equal(pages_of(result.output)[index], pages_of(alone.output)[0])


def test_pillow_and_libvips_see_the_pages_too(tmp_path: Path, model: RestorationModel) -> None:
    output = restored(model, document(tmp_path / "a.tif", [PAGES[0], PAGES[3]])).output
    with Image.open(output) as peer:
        assert peer.n_frames == 2
        for index, page in enumerate((PAGES[0], PAGES[3])):
            peer.seek(index)
            np.testing.assert_array_equal(np.asarray(peer), page["data"])
    assert pyvips.Image.new_from_file(str(output)).get("n-pages") == 2
    np.testing.assert_array_equal(pyvips.Image.tiffload(str(output), page=1).numpy(), PAGES[3]["data"])


def test_a_document_of_more_than_four_gibibytes_is_a_bigtiff(
    tmp_path: Path, model: RestorationModel, monkeypatch: Any
) -> None:
    source = document(tmp_path / "a.tif")
    monkeypatch.setattr("adair_core.data.encoding.CLASSIC_TIFF", 10_000)  # no page alone has as much
    output = restored(model, source).output
    with tifffile.TiffFile(output) as file:
        assert file.is_bigtiff
    for values, page in zip(pages_of(output), PAGES, strict=True):
        np.testing.assert_array_equal(values, page["data"])


def test_what_only_some_pages_lose_is_said_of_them(tmp_path: Path, model: RestorationModel) -> None:
    bits = {"data": PAGES[1]["data"] > 30_000, "photometric": "minisblack"}
    result = restored(model, document(tmp_path / "a.tif", [PAGES[0], bits, bits]))
    assert result.message == "pages 2, 3: 1 bit became 8 bit gray"
    np.testing.assert_array_equal(pages_of(result.output)[2], 255 * bits["data"].astype(np.uint8))


def test_pages_that_libvips_cannot_read_are_read_by_others(tmp_path: Path, model: RestorationModel) -> None:
    half = {"data": RNG.random((12, 9), np.float32).astype(np.float16)}
    result = restored(model, document(tmp_path / "a.tif", [PAGES[0], half]))
    np.testing.assert_array_equal(pages_of(result.output)[1], half["data"].astype(np.float32))


def test_smaller_copies_and_masks_are_no_pages(tmp_path: Path, model: RestorationModel) -> None:
    small = {**PAGES[0], "data": PAGES[0]["data"][::2, ::2], "subfiletype": 1}
    result = restored(model, document(tmp_path / "a.tif", [PAGES[0], small, PAGES[1]]))
    assert [page.shape for page in pages_of(result.output)] == [(40, 30, 3), (21, 50)]
    assert result.message == "smaller copies or masks of pages are left out: 1"


def test_one_page_by_its_number(tmp_path: Path, model: RestorationModel) -> None:
    source = document(tmp_path / "a.tif")
    for number, page in enumerate(PAGES[:2], 1):
        output = restored(model, source, tmp_path / f"{number}.png", page=number).output
        np.testing.assert_array_equal(read_image(output).pixels.squeeze(), page["data"])
    assert restored(model, source, tmp_path / "9.png", page=9).message == (
        f"{source}: expected a file with a page 9, got 4 pages"
    )
    # nothing else of the file is copied, even where nothing is changed
    assert len(pages_of(restored(model, source, tmp_path / "2.tif", page=2, strength=0).output)) == 1
    with pytest.raises(UsageError, match="page: expected a whole number from 1, got 0"):
        Settings(page=0)


def test_formats_of_one_page_are_refused_before_anything_is_restored(tmp_path: Path, model: RestorationModel) -> None:
    result = restored(model, document(tmp_path / "a.tif"), tmp_path / "out", suffix=".png")
    assert result.status == "failed"
    assert result.message == (
        f"{tmp_path}/a.tif: expected one page, as PNG holds no more, got 4 pages; "
        "write a TIFF (--suffix .tif), or choose a page (--page 1)"
    )
    assert not (tmp_path / "out").exists()


def test_strength_zero_is_the_files_bytes(tmp_path: Path, model: RestorationModel) -> None:
    source = document(tmp_path / "a.tif")
    assert restored(model, source, strength=0).output.read_bytes() == source.read_bytes()


def test_a_damaged_page_leaves_no_result(tmp_path: Path, model: RestorationModel) -> None:
    source = document(tmp_path / "a.tif", [PAGES[0], {**PAGES[1], "data": PAGES[1]["data"]}])
    with tifffile.TiffFile(source) as file:
        start = file.pages[1].dataoffsets[0]
    content = bytearray(source.read_bytes())
    content[start : start + 100] = bytes(100)
    source.write_bytes(content)
    result = restored(model, source)
    assert result.status == "failed"
    assert result.message.startswith(f"{source}: page 2 of 2: damaged or truncated image: ")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_a_page_that_the_network_cannot_restore_is_named(tmp_path: Path) -> None:
    model = affine_model(good=(1.0, 0.0), bad=(np.nan, 0.0))

    def choose(image: ImageRows) -> Chosen:
        return Chosen("bad" if image.info.colors == 1 else "good", "")

    source = document(tmp_path / "a.tif", PAGES[:3])
    result = restored(model, source, choose=choose)
    assert result.status == "failed"
    assert result.message.startswith(f"{source}: page 2 of 3: restored image: expected finite values")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_a_file_that_was_cut_between_its_pages_is_not_taken_for_a_shorter_one(
    tmp_path: Path, model: RestorationModel
) -> None:
    source = document(tmp_path / "a.tif")
    with tifffile.TiffFile(source) as file:
        third = file.pages[2].offset
    source.write_bytes(source.read_bytes()[:third])
    result = restored(model, source)
    assert result.status == "failed"
    assert "expected a TIFF file with the page after page 2 that it names, got none there" in result.message


def test_a_chain_that_bites_its_tail_ends(tmp_path: Path) -> None:
    source = document(tmp_path / "a.tif", PAGES[:2])
    with tifffile.TiffFile(source) as file:
        first, second = (page.offset for page in file.pages)
    content = bytearray(source.read_bytes())
    count = struct.unpack_from("<H", content, second)[0]
    struct.pack_into("<I", content, second + 2 + 12 * count, first)
    source.write_bytes(content)
    with pytest.raises(DataError, match="page after page 2"):
        open_document(source)


def test_existing_results_are_left_alone(tmp_path: Path, model: RestorationModel) -> None:
    source = document(tmp_path / "a.tif")
    (tmp_path / "a.restored.tif").write_bytes(b"mine")
    assert restored(model, source, skip_existing=True).status == "skipped"
    assert "exists already" in restored(model, source).message
    assert (tmp_path / "a.restored.tif").read_bytes() == b"mine"


def test_each_page_chooses_its_adapter(tmp_path: Path, model: RestorationModel) -> None:
    def choose(image: ImageRows) -> Chosen:
        return Chosen(None, "clean") if image.info.colors == 1 else Chosen("half", "noisy")

    gray = {**PAGES[1], "data": PAGES[1]["data"]}
    result = restored(model, document(tmp_path / "a.tif", [PAGES[0], gray]), choose=choose)
    assert result.message == "page 1: noisy; page 2: left alone: clean"
    first, second = pages_of(result.output)
    assert np.abs(first - PAGES[0]["data"] / 2).max() <= 0.5
    np.testing.assert_array_equal(second, gray["data"])
    alone = restored(model, document(tmp_path / "b.tif", [gray, gray]), choose=choose)
    assert (alone.status, alone.message) == ("left alone", "clean")
    assert not alone.output.exists()


def test_a_map_for_all_pages_and_one_for_each(tmp_path: Path, model: RestorationModel) -> None:
    model.set_adapters(["half"])
    one, other = (RNG.integers(0, 256, (20, 30, 3), np.uint8) for _ in range(2))
    source = document(tmp_path / "a.tif", [{"data": one, "photometric": "rgb"}, {"data": other, "photometric": "rgb"}])
    black, white = np.zeros((20, 30), np.uint8), np.full((20, 30), 255, np.uint8)
    halves = [np.rint(values / 2) for values in (one, other)]
    maps = [[black], [black, white], [white, black], [white] * 3]
    wanted = [[one, other], [one, halves[1]], [halves[0], other], None]
    for number, (pages, results) in enumerate(zip(maps, wanted, strict=True)):
        strengths = document(tmp_path / f"map{number}.tif", [{"data": page} for page in pages])
        jobs = plan([source], tmp_path / f"{number}.tif", strength_map=strengths)
        (result,) = restore_files(model, jobs)
        if results is None:
            assert "expected one page, or 2 as the image has, got 3 pages" in result.message
            continue
        for after, values in zip(pages_of(result.output), results, strict=True):
            assert np.abs(after - values).max() <= (0 if values.dtype == np.uint8 else 0.5)


def test_shares_of_a_document_grow_to_one(tmp_path: Path, model: RestorationModel) -> None:
    page = {"data": RNG.integers(0, 256, (100, 90, 3), np.uint8), "photometric": "rgb"}
    shares: list[float] = []
    jobs = plan([document(tmp_path / "a.tif", [page, page])])
    restore_files(model, jobs, Settings(tile=64), on_share=shares.append)
    assert shares == sorted(shares)
    assert 0.5 in shares
    assert shares[-1] == 1


def test_pages_are_in_memory_one_after_another(tmp_path: Path, model: RestorationModel, monkeypatch: Any) -> None:
    page = {"data": RNG.integers(0, 256, (64, 48, 3), np.uint8), "photometric": "rgb"}
    source = document(tmp_path / "a.tif", [page] * 20)
    held: set[int] = set()
    most = 0
    blank = ImageInfo.image

    def counted(self: ImageInfo, pixels: np.ndarray, alpha: np.ndarray | None) -> ImageFile:
        nonlocal most
        image = blank(self, pixels, alpha)
        held.add(id(image))
        most = max(most, len(held))
        weakref.finalize(image, held.discard, id(image))
        return image

    monkeypatch.setattr(ImageInfo, "image", counted)
    assert restored(model, source).status == "restored"
    assert 0 < most <= 6
