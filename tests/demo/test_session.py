"""A photo, its results at every strength, and nothing that stays behind."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from demo_photos import gradient
from PIL import Image, ImageCms

from adair_core.data.images import ImageFile, read_image, write_image
from adair_core.demo import Limits, Restorer, Session
from adair_core.errors import DataError
from adair_core.inference import Settings, plan, restore_files
from adair_core.inference.enlarging import enlarged
from adair_core.model import load


def by_restore(folder: Path, source: Path, to: Path, adapter: str, **settings) -> bytes:
    """What `adair restore` makes of a file."""
    model = load(folder / "tiny.safetensors")
    model.load_adapter(folder / adapter)
    (result,) = restore_files(model, plan([source], to), Settings(**settings))
    assert result.status == "restored", result.message
    return to.read_bytes()


def with_metadata(path: Path, dtype=np.uint8, **how) -> Path:
    """With a profile and EXIF data."""
    plain = path.with_name("plain.png")
    write_image(plain, ImageFile(pixels=gradient(np.uint8)))
    exif = Image.Exif()
    exif[0x010E] = "a photo of ours"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    holder = path.with_name(f"holder{path.suffix}")
    Image.open(plain).save(holder, exif=exif, icc_profile=profile, **how)
    stored = read_image(holder)
    write_image(
        path,
        ImageFile(pixels=gradient(dtype), format=stored.format, metadata=stored.metadata, storage=stored.storage),
    )
    return path


@pytest.mark.parametrize(("name", "dtype"), [("deep.png", np.uint16), ("deep.tif", np.uint16), ("photo.jpg", np.uint8)])
@pytest.mark.parametrize("strength", [1.0, 0.35])
def test_results_are_those_of_adair_restore_to_the_byte(folder, restorer, session, tmp_path, name, dtype, strength):
    source = with_metadata(tmp_path / name, dtype)
    expected = by_restore(folder, source, tmp_path / f"expected{source.suffix}", "denoise", strength=strength)
    session.receive(source)
    shown = session.restore(restorer, "denoise", strength)
    assert shown.download.read_bytes() == expected
    result = read_image(shown.download)
    assert result.pixels.dtype == dtype
    assert result.metadata["icc-profile-data"]
    assert b"a photo of ours" in result.metadata["exif-data"]
    assert shown.download.name == f"{Path(name).stem}.restored{Path(name).suffix}"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strengths_blend_what_the_network_gave(restorer, session, photo, dtype):
    pixels, top = gradient(dtype), float(np.iinfo(dtype).max)
    write_image(photo, ImageFile(pixels=pixels), overwrite=True)
    session.receive(photo)
    session.restore(restorer, "denoise", 1.0)
    with restorer.using(restorer.offers[0]) as model:
        restored = model.restore(pixels / top).astype(np.float64)
    assert np.abs(restored * top - pixels).max() > 3  # the adapter does something
    for strength in (0.0, 0.2, 0.5, 1.0):
        blended = pixels / top + strength * (restored - pixels / top)
        shown = session.blend(strength)
        stored = read_image(shown.download).pixels
        assert stored.dtype == dtype
        # Rounded to the nearest value; the network's own floats have 24 bits.
        assert np.abs(stored - np.clip(blended, 0, 1) * top).max() <= 0.5 + 1e-6 * top


def test_another_strength_does_not_run_the_network(restorer, session, photo, monkeypatch):
    calls = []
    restore_rows = restorer.model.restore_rows
    monkeypatch.setattr(
        restorer.model, "restore_rows", lambda *a, **k: (calls.append(k["strength"]), restore_rows(*a, **k))
    )
    session.receive(photo)
    session.restore(restorer, "denoise", 0.5)
    assert [session.blend(strength).download.exists() for strength in (0.0, 0.3, 0.9, 1.0)] == [True] * 4
    assert calls == [1.0]


def test_strength_0_is_the_file(restorer, session, tmp_path):
    source = with_metadata(tmp_path / "photo.jpg", quality=40)
    given = source.read_bytes()
    session.receive(source)
    assert session.restore(restorer, "denoise", 0.0).download.read_bytes() == given


def test_before_has_the_size_of_an_enlarged_result(folder, restorer, session, photo, tmp_path):
    expected = by_restore(folder, photo, tmp_path / "expected.png", "enlarge", scale=2)
    pixels = read_image(photo).pixels
    session.receive(photo)
    shown = session.restore(restorer, "super-resolve", 1.0)
    assert shown.download.read_bytes() == expected
    before, after = read_image(shown.before).pixels, read_image(shown.after).pixels
    assert before.shape == after.shape == (80, 112, 3)
    bicubic = enlarged(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255, 2)[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(before - bicubic).mean() < 2  # but for the preview's JPEG
    again = session.restore(restorer, "super-resolve", 1.0)
    assert again.before.exists()
    assert not shown.before.exists()


def test_a_photo_that_would_become_too_large_is_not_enlarged(restorer, tmp_path, photo):
    session = Session(tmp_path / "private", tmp_path / "served", Limits(megapixels=0.005))
    session.receive(photo)
    with pytest.raises(DataError, match="would become too large, 112 x 80"):
        session.restore(restorer, "super-resolve", 1.0)


def test_the_content_decides_about_the_format(restorer, session, tmp_path):
    write_image(tmp_path / "real.jpg", ImageFile(pixels=gradient(np.uint8)))
    misnamed = (tmp_path / "real.jpg").rename(tmp_path / "a <b> & c.png")
    session.receive(misnamed)
    shown = session.restore(restorer, "denoise", 1.0)
    assert shown.download.name == "a _b_ _ c.restored.jpg"
    assert read_image(shown.download).format == "jpeg"


def test_gif_becomes_png(restorer, session, tmp_path):
    Image.fromarray(gradient(np.uint8)).save(tmp_path / "old.gif")
    session.receive(tmp_path / "old.gif")
    assert session.restore(restorer, "denoise", 1.0).download.name == "old.restored.png"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "This file is empty."),
        (b"hello, this is a letter", "This file cannot be used as a photo: expected a PNG,"),
        ("half", "This file cannot be used as a photo: damaged or truncated"),
        (bytes(1_000_001), "This file is too large: it has 1.0 MB"),
    ],
    ids=["empty", "text", "half", "large"],
)
def test_bad_files_are_told_in_plain_words(session, photo, content, said):
    photo.write_bytes(photo.read_bytes()[:700] if content == "half" else content)
    with pytest.raises(DataError) as error:
        session.receive(photo)
    assert str(error.value).startswith(said)
    assert str(photo.parent.parent) not in str(error.value)


def test_too_many_pixels_are_told_before_they_are_decoded(session, tmp_path, monkeypatch):
    write_image(tmp_path / "large.png", ImageFile(pixels=np.zeros((101, 100, 3), np.uint8)))
    monkeypatch.setattr("adair_core.data.file_rows.FileRows.whole", lambda self: pytest.fail("was decoded"))
    with pytest.raises(DataError, match=r"100 x 101 pixels .* the limit is 0\.01 megapixels"):
        session.receive(tmp_path / "large.png")


def test_nothing_is_restored_without_a_photo_or_a_task(restorer, session, photo):
    with pytest.raises(DataError, match="choose a photo first"):
        session.restore(restorer, "denoise", 1.0)
    assert session.blend(0.5) is None
    session.receive(photo)
    for label in ("", "auto", "../denoise"):
        with pytest.raises(DataError, match="choose what to restore"):
            session.restore(restorer, label, 1.0)


def files(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def test_a_new_photo_and_an_end_remove_what_was_there(restorer, session, photo, tmp_path):
    copy = tmp_path / "other.png"
    copy.write_bytes(photo.read_bytes())
    session.receive(photo)
    assert not photo.exists()
    shown = session.restore(restorer, "denoise", 1.0)
    for strength in (0.1, 0.2, 0.3, 0.4):
        shown = session.blend(strength)
    private, served = tmp_path / "private", tmp_path / "served"
    assert len(files(private)) == 1
    assert len(files(served)) == 5  # before, and after and download of the last two strengths
    session.receive(copy)
    assert not shown.download.exists()
    assert len(files(private, served)) == 2
    assert session.blend(0.5) is None
    session.forget()
    assert files(private, served) == []
    session.close()
    assert not private.exists()
    assert not served.exists()


def test_a_busy_session_says_so_and_a_closed_one_stops(restorer, photo, tmp_path):
    session = Session(tmp_path / "private", tmp_path / "served", Limits())
    restorer = Restorer(restorer.model, restorer.offers, settings=Settings(tile=32, overlap=8))
    session.receive(photo)
    running, goes_on, said = threading.Event(), threading.Event(), []

    def on_share(share: float) -> None:
        running.set()
        assert goes_on.wait(60)

    def work() -> None:
        try:
            session.restore(restorer, "denoise", 1.0, on_share=on_share)
        except DataError as error:
            said.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    assert running.wait(60)
    with pytest.raises(DataError, match="still being restored"):
        session.receive(tmp_path / "other.png")
    assert session.blend(0.5) is None
    session.close()
    goes_on.set()
    thread.join(60)
    assert said == ["The photo is not here any more. Please choose it again."]
