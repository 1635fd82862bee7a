import logging
import multiprocessing.util
import tempfile

import numpy as np
import pytest
import tifffile
from PIL import Image

import adair_core.data.decode_cache as decode_cache
from adair_core.data.sources import CleanImages, PairedImages
from adair_core.errors import DataError

RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def _temporary_folder(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    # Chosen once for the process: its sockets need a short path, and a folder that outlives this test.
    multiprocessing.util.get_temp_dir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


def save(path, height=20, width=24, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (height, width, 4), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    image.save(path)
    return np.asarray(image)


def save_truncated_tiff(path):
    """A file whose header is whole, so that only decoding finds the damage."""
    tifffile.imwrite(path, RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), photometric="rgb")
    path.write_bytes(path.read_bytes()[:6000])


def bad_folder(folder):
    save(folder / "good-1.png")
    save(folder / "good-2.jpg")
    save(folder / "small.png", 8, 40)
    (folder / "zero.png").touch()
    (folder / "text.jpg").write_text("not an image")
    for name in ("cut.png", "cut.jpg", "cut.webp"):
        save(folder / name, 40, 40)
        (folder / name).write_bytes((folder / name).read_bytes()[:-300])
    Image.fromarray(np.zeros((1, 1_000_000), np.uint8)).save(folder / "line.png")
    (folder / "gone.png").symlink_to(folder / "none.png")
    return folder


def test_images_are_read_in_order_with_their_depth(tmp_path):
    pixels = [save(tmp_path / f"{index}.png") for index in range(3)]
    deep = RNG.integers(0, 65536, (20, 24, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "3.tif", deep, photometric="rgb")
    gray = save(tmp_path / "4.png", mode="L")
    source = CleanImages.from_folders([tmp_path])
    assert len(source) == 5
    for _ in range(2):  # decoded, then from the cache
        for index, expected in enumerate([*pixels, deep, gray[..., None]]):
            target, degraded = source.read(index)
            assert degraded is None
            assert target.dtype == expected.dtype
            assert np.array_equal(target, expected)


def test_bad_images_are_named_and_skipped(tmp_path):
    source = CleanImages.from_folders([bad_folder(tmp_path / "data")], smallest=16)
    assert [header.path.name for header in source.survey.usable] == ["good-1.png", "good-2.jpg"]
    reasons = {rejected.path.name: rejected.reason for rejected in source.rejected()}
    assert reasons.keys() == {
        "small.png", "zero.png", "text.jpg", "cut.png", "cut.jpg", "cut.webp", "line.png", "gone.png"
    }  # fmt: skip
    assert reasons["small.png"] == "40 x 8 is smaller than the patch, 16 x 16"
    assert reasons["line.png"] == "1000000 x 1 is smaller than the patch, 16 x 16"
    assert reasons["zero.png"] == "the file is empty (0 bytes)"
    assert reasons["gone.png"] == f"a symbolic link to {tmp_path / 'data' / 'none.png'}, which is not there"
    assert "begins with b'not an i'" in reasons["text.jpg"]
    assert "damaged or truncated image" in reasons["cut.png"]
    (notice,) = source.survey.notices()
    assert notice.startswith("skipped 8 of 10 images: ")
    assert "cut.jpg (" in notice
    assert notice.endswith(" and 3 more")


def test_strict_refuses_bad_images(tmp_path):
    with pytest.raises(DataError, match=r"8 of 10 images cannot be used, which a strict data set refuses: .*cut\.jpg"):
        CleanImages.from_folders([bad_folder(tmp_path / "data")], smallest=16, strict=True)


def test_strict_finds_what_only_decoding_finds(tmp_path):
    save(tmp_path / "data" / "good.png")
    save_truncated_tiff(tmp_path / "data" / "cut.tif")
    assert len(CleanImages.from_folders([tmp_path / "data"])) == 2
    with pytest.raises(DataError, match=r"1 of 2 images cannot be used.*cut\.tif \(damaged or truncated image"):
        CleanImages.from_folders([tmp_path / "data"], strict=True)


def test_strict_is_content_with_good_images(tmp_path):
    save(tmp_path / "data" / "good.png")
    assert len(CleanImages.from_folders([tmp_path / "data"], strict=True)) == 1


def test_nothing_usable_says_why(tmp_path):
    for index in range(5):
        save(tmp_path / f"{index}.png", 10, 10)
    with pytest.raises(DataError, match=r"none of 5 images can be used: .*0\.png \(10 x 10 is smaller.* and 2 more"):
        CleanImages.from_folders([tmp_path], smallest=16)


def test_no_files_at_all():
    with pytest.raises(DataError, match="there are no images"):
        CleanImages([])


def test_the_pixel_limit(tmp_path):
    save(tmp_path / "x.png")
    with pytest.raises(DataError, match="at most 100 pixels"):
        CleanImages.from_folders([tmp_path], max_pixels=100)


def test_alpha_is_dropped_with_a_notice(tmp_path):
    pixels = save(tmp_path / "x.png", mode="RGBA")
    source = CleanImages.from_folders([tmp_path])
    assert np.array_equal(source.read(0).target, pixels[..., :3])
    notice = f"alpha channels are ignored in training (1 of 1 images): {tmp_path / 'x.png'}"
    assert source.survey.notices() == [notice]


def test_bytes_after_the_image_do_no_harm(tmp_path):
    save(tmp_path / "x.png")
    with (tmp_path / "x.png").open("ab") as stream:
        stream.write(b"trailing")
    source = CleanImages.from_folders([tmp_path])
    assert source.rejected() == []


def test_an_image_named_twice_counts_once(tmp_path):
    for name in ("a/1.png", "a/b/2.png", "c/3.png"):
        save(tmp_path / name)
    (tmp_path / "c" / "link.png").symlink_to(tmp_path / "a" / "1.png")
    folders = [tmp_path / "a", tmp_path / "a" / "b", tmp_path / "c"]
    source = CleanImages.from_folders(folders)
    assert [header.path.name for header in source.survey.usable] == ["1.png", "2.png", "3.png"]


def test_floats_that_are_not_finite_are_damage(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.full((8, 8), np.inf, np.float32), photometric="minisblack")
    source = CleanImages.from_folders([tmp_path])
    with pytest.raises(DataError, match="NaN or infinite"):
        source.read(0)


@pytest.mark.parametrize(("scale", "usable"), [(1, True), (1.9, True), (255, False), (-2, False)])
def test_floats_far_outside_0_to_1_are_no_image(tmp_path, scale, usable):
    pixels = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8) * np.float32(scale)
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="minisblack")
    source = CleanImages.from_folders([tmp_path])
    if usable:
        assert np.array_equal(source.read(0).target[..., 0], pixels)
    else:
        with pytest.raises(DataError, match=r"x\.tif: expected floating-point values of 0 to 1, got (0 to 255|-2 to )"):
            source.read(0)


def test_damaged_images_are_counted_while_they_are_found(tmp_path, caplog):
    for name in ("a.tif", "b.tif"):
        save_truncated_tiff(tmp_path / name)
    source = CleanImages.from_folders([tmp_path])
    for index in range(2):
        with pytest.raises(DataError):
            source.read(index)
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("adair_core")]
    assert [name for name in ("a.tif", "b.tif") if name in messages[1]] == ["b.tif"]
    assert ["damaged image number 1;" in messages[0], "damaged image number 2;" in messages[1]] == [True, True]


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files, in the order in which they were decoded."""
    names = []
    real = decode_cache.read_image

    def count(path, **options):
        names.append(path.name)
        return real(path, **options)

    monkeypatch.setattr(decode_cache, "read_image", count)
    return names


def test_an_image_is_decoded_once(tmp_path, decoded):
    for index in range(3):
        save(tmp_path / f"{index}.png")
    source = CleanImages.from_folders([tmp_path])
    for index in (0, 1, 2, 1, 0, 2, 2):
        source.read(index)
    assert decoded == ["0.png", "1.png", "2.png"]


def test_what_does_not_fit_into_the_cache_is_decoded_again(tmp_path, decoded):
    for index, height in enumerate((20, 40, 20)):
        save(tmp_path / f"{index}.png", height, 24)
    small = 20 * 24 * 3
    source = CleanImages.from_folders([tmp_path], cache_bytes=2 * small + 5)
    for index in (0, 1, 2, 0, 1, 2):
        source.read(index)
    assert decoded == ["0.png", "1.png", "2.png", "1.png"]
    folder = next((tmp_path / "tmp").iterdir())
    assert sum(file.stat().st_size for file in folder.glob("*.raw")) <= 2 * small + 5


def test_a_file_that_changes_its_size_is_decoded_each_time(tmp_path):
    save(tmp_path / "0.png")
    source = CleanImages.from_folders([tmp_path])
    pixels = save(tmp_path / "0.png", 30, 30)
    for _ in range(2):
        assert np.array_equal(source.read(0).target, pixels)


def test_without_a_cache(tmp_path, decoded):
    save(tmp_path / "0.png")
    source = CleanImages.from_folders([tmp_path], cache_bytes=0)
    assert np.array_equal(source.read(0).target, source.read(0).target)
    assert decoded == ["0.png", "0.png"]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_damaged_image_is_named_once_and_not_tried_again(tmp_path, decoded, caplog):
    save_truncated_tiff(tmp_path / "cut.tif")
    source = CleanImages.from_folders([tmp_path])
    assert source.rejected() == []
    for _ in range(3):
        with pytest.raises(DataError, match=r"cut\.tif: damaged"):
            source.read(0)
    assert decoded == ["cut.tif"]
    (record,) = [record for record in caplog.records if record.name.startswith("adair_core")]
    assert record.levelno == logging.WARNING
    assert "cut.tif" in record.getMessage()
    (rejected,) = source.rejected()
    assert rejected.path == tmp_path / "cut.tif"
    assert rejected.reason.startswith("damaged or truncated image")


def pair_folders(tmp_path, inputs, targets):
    for folder, names in (("input", inputs), ("target", targets)):
        for name, size in names.items():
            save(tmp_path / folder / name, *size)
    return tmp_path / "input", tmp_path / "target"


def test_pairs_are_matched_by_stem(tmp_path):
    names = ["b.png", "a.png", "scene/a.png"]
    inputs, targets = tmp_path / "input", tmp_path / "target"
    degraded = {name: save(inputs / name) for name in names}
    clean = {name: save((targets / name).with_suffix(".tif")) for name in names}
    source = PairedImages(inputs, targets)
    assert len(source) == 3
    for index, name in enumerate(["a.png", "b.png", "scene/a.png"]):
        pixels = source.read(index)
        assert np.array_equal(pixels.input, degraded[name])
        assert np.array_equal(pixels.target, clean[name])


def test_images_without_a_partner_are_listed(tmp_path):
    folders = pair_folders(
        tmp_path, {"a.png": (20, 20), "b.png": (20, 20)}, {"a.png": (20, 20), "c.png": (20, 20), "d.png": (20, 20)}
    )
    with pytest.raises(DataError, match=r"inputs without a partner \(1\): b; targets without a partner \(2\): c, d"):
        PairedImages(*folders)


def test_two_files_of_one_stem_are_ambiguous(tmp_path):
    folders = pair_folders(tmp_path, {"a.png": (20, 20), "a.jpg": (20, 20)}, {"a.png": (20, 20)})
    with pytest.raises(DataError, match=r"a\.png: has the same name as .*a\.jpg"):
        PairedImages(*folders)


def test_pairs_of_unequal_size_are_named(tmp_path):
    folders = pair_folders(tmp_path, {"a.png": (20, 24), "b.png": (20, 20)}, {"a.png": (24, 20), "b.png": (20, 20)})
    with pytest.raises(DataError, match=r"pairs of unequal size \(1\): .*a\.png \(24 x 20\) and .*a\.png \(20 x 24\)"):
        PairedImages(*folders)


def test_a_pair_with_a_bad_half_is_skipped(tmp_path):
    inputs, targets = pair_folders(
        tmp_path, {"a.png": (20, 24), "b.png": (20, 24)}, {"a.png": (20, 24), "b.png": (20, 24)}
    )
    (targets / "a.png").write_bytes(b"")
    source = PairedImages(inputs, targets)
    assert [target.path.name for _, target in source.pairs] == ["b.png"]
    assert [rejected.path for rejected in source.rejected()] == [targets / "a.png"]
    with pytest.raises(DataError, match="1 of 4 images cannot be used"):
        PairedImages(inputs, targets, strict=True)


def test_no_usable_pair(tmp_path):
    inputs, targets = pair_folders(tmp_path, {"a.png": (20, 24)}, {"a.png": (20, 24)})
    (inputs / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"no pair can be used: .*a\.png \(the file is empty"):
        PairedImages(inputs, targets)
