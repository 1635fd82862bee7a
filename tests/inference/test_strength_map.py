"""Strength by a mask: input where it is black, restored where it is white, and the mixture in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affine_network import affine_model, picture

from adair_core.data.document import Document
from adair_core.data.images import ImageFile, read_image, write_image
from adair_core.errors import DataError, UsageError
from adair_core.inference import Settings, Step, files, image_restoring, plan, restore_files
from adair_core.inference.strength_map import StrengthMap
from adair_core.model import RestorationModel

MATRIX = np.random.default_rng(1).uniform(0, 0.4, (3, 3))
STEPS = (Step(adapters={"mixing": 1.0}),)
SIZE = 120, 70
OPEN = Document.open


@pytest.fixture
def model() -> RestorationModel:
    return affine_model(mixing=(MATRIX, 0.1), darker=(0.5, 0))


def mask(dtype: str = "uint8", size: tuple[int, int] = SIZE) -> ImageFile:
    """Black on the left, white on the right, a ramp between."""
    ramp = np.clip(np.linspace(-0.5, 1.5, size[1]), 0, 1) * np.ones((size[0], 1))
    return ImageFile(pixels=np.rint(ramp * np.iinfo(dtype).max).astype(dtype)[..., None])


def restored(model: RestorationModel, image: ImageFile, by: ImageFile, folder: Path, **settings: Any) -> ImageFile:
    write_image(folder / "a.tif", image, overwrite=True)
    write_image(folder / "mask.png", by, overwrite=True)
    jobs = plan([folder / "a.tif"], strength_map=folder / "mask.png")
    (result,) = restore_files(model, jobs, Settings(**{"overwrite": True, "steps": STEPS, **settings}))
    assert result.status == "restored", result.message
    return read_image(result.output)


@pytest.mark.parametrize("settings", [{}, {"tile": 64}, {"exact": True}])
@pytest.mark.parametrize("depth", ["uint8", "uint16"])
def test_against_the_equation_in_float64(
    tmp_path: Path, model: RestorationModel, depth: str, settings: dict[str, Any]
) -> None:
    image, by = picture("uint16", alpha=not settings, size=SIZE), mask(depth)
    after = restored(model, image, by, tmp_path, **settings)
    given, m = image.pixels / 65535, by.pixels / np.iinfo(depth).max
    wanted = (given + m * (given @ MATRIX.T + 0.1 - given)) * 65535
    visible = image.alpha > 65535 / 64 if image.alpha is not None else np.ones(SIZE, bool)
    assert np.abs(after.pixels - wanted)[visible].max() <= 0.6
    assert np.array_equal(after.pixels[~visible], image.pixels[~visible])
    assert image.alpha is None or np.array_equal(after.alpha, image.alpha)


@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("colors", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_black_is_the_input_and_white_the_restored_image_bit_for_bit(
    tmp_path: Path, model: RestorationModel, monkeypatch: Any, dtype: str, colors: int, by_rows: bool
) -> None:
    image = picture(dtype, colors, size=SIZE)
    if dtype == "float32":
        image = ImageFile(pixels=image.pixels * 255)
    if by_rows:
        monkeypatch.setattr(files, "WHOLE", 0)
        monkeypatch.setattr(image_restoring, "WRITTEN_AT_ONCE", 20_000)
    settings: dict[str, Any] = {"tile": 64, "white": 255.0}
    after = restored(model, image, mask(), tmp_path, **settings).pixels
    white = ImageFile(pixels=np.full((*SIZE, 1), 255, np.uint8))
    full = restored(model, image, white, tmp_path, **settings).pixels
    (result,) = restore_files(model, plan([tmp_path / "a.tif"], tmp_path / "b.tif"), Settings(steps=STEPS, **settings))
    alone = read_image(result.output).pixels
    assert np.array_equal(full, alone)
    values = mask().pixels[0, :, 0]
    assert np.array_equal(after[:, values == 0], image.pixels[:, values == 0])
    assert np.array_equal(after[:, values == 255], alone[:, values == 255])
    between = (values > 20) & (values < 235)
    assert not np.array_equal(after[:, between], image.pixels[:, between])


def test_by_rows_it_is_what_it_is_whole_and_no_file_is_begun_twice(
    tmp_path: Path, model: RestorationModel, monkeypatch: Any
) -> None:
    image, opened = picture("uint16", alpha=True, size=SIZE), []
    whole = restored(model, image, mask(), tmp_path, tile=64)
    monkeypatch.setattr(files, "WHOLE", 0)
    monkeypatch.setattr(Document, "open", lambda *which: opened.append(OPEN(*which)) or opened[-1])
    rows = restored(model, image, mask(), tmp_path, tile=64)
    assert np.array_equal(rows.pixels, whole.pixels)
    assert [file.passes for file in opened] == [1, 1]  # the image and the map


def test_a_sequence_is_mixed_with_the_input_and_strength_comes_first(tmp_path: Path, model: RestorationModel) -> None:
    image, gray = picture("uint16", size=SIZE), ImageFile(pixels=np.full((*SIZE, 1), 51, np.uint8))
    steps = (Step(adapters={"darker": 1.0}), Step(adapters={"darker": 1.0}, strength=0.5))
    after = restored(model, image, gray, tmp_path, steps=steps)
    wanted = image.pixels * (1 + 0.2 * (0.5 * 0.75 - 1))
    assert np.abs(after.pixels - wanted).max() <= 0.6


@pytest.mark.parametrize("size", [(30, 35), (200, 91), (1, 1), (119, 71)])
def test_stretching_against_torch(size: tuple[int, int]) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (*size, 1), dtype=np.uint16)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(values[None, None, ..., 0] / 65535), SIZE, mode="bilinear", align_corners=False
    )
    stretched = StrengthMap(ImageFile(pixels=values), *SIZE)
    bands = torch.cat([stretched.rows(top, min(top + 7, SIZE[0])) for top in range(0, SIZE[0], 7)], dim=2)
    assert bands.shape == wanted.shape
    assert float((bands - wanted).abs().max()) < 1e-5
    assert torch.equal(bands, stretched.rows(0, SIZE[0]))


def test_a_map_of_another_size(tmp_path: Path, model: RestorationModel) -> None:
    image, small = picture("uint8", size=SIZE), mask(size=(12, 7))
    after = restored(model, image, small, tmp_path, resize_map=True)
    assert np.array_equal(after.pixels[:, :10], image.pixels[:, :10])
    (result,) = restore_files(
        model, plan([tmp_path / "a.tif"], tmp_path / "b.tif", strength_map=tmp_path / "mask.png"), Settings(steps=STEPS)
    )
    assert result.status == "failed"
    assert "mask.png: expected 70 x 120 pixels, as the image, got 7 x 12; --resize-strength-map" in result.message


@pytest.mark.parametrize(
    ("by", "got"),
    [
        (picture("uint8", 3, size=SIZE), "got colour of uint8"),
        (picture("uint8", 1, alpha=True, size=SIZE), "got gray with alpha of uint8"),
        (picture("float32", 1, size=SIZE), "got gray of float32"),
    ],
)
def test_maps_that_are_not_plain_gray(tmp_path: Path, model: RestorationModel, by: ImageFile, got: str) -> None:
    write_image(tmp_path / "a.png", picture("uint8", size=SIZE))
    write_image(tmp_path / "mask.tif", by)
    jobs = plan([tmp_path / "a.png"], strength_map=tmp_path / "mask.tif")
    (result,) = restore_files(model, jobs, Settings(steps=STEPS))
    assert "expected a gray image of 8 or 16 bits" in result.message
    assert got in result.message
    assert not jobs[0].output.exists()


def test_a_folder_has_a_map_for_each(tmp_path: Path, model: RestorationModel) -> None:
    for folder in ("photos/x", "maps/x"):
        (tmp_path / folder).mkdir(parents=True)
    for name, value in (("p", 0), ("x/q", 255)):
        write_image(tmp_path / f"photos/{name}.png", picture("uint8", size=SIZE))
        level = ImageFile(pixels=np.full((*SIZE, 1), value, np.uint8))
        write_image(tmp_path / f"maps/{name}.tif", level)
    jobs = plan([tmp_path / "photos"], tmp_path / "out", strength_map=tmp_path / "maps")
    assert [job.strength_map for job in jobs] == [tmp_path / "maps/p.tif", tmp_path / "maps/x/q.tif"]
    restore_files(model, jobs, Settings(steps=STEPS))
    p, q = (read_image(tmp_path / f"out/{name}.png").pixels for name in ("p", "x/q"))
    assert np.array_equal(p, picture("uint8", size=SIZE).pixels)
    assert not np.array_equal(p, q)
    write_image(tmp_path / "maps/p.png", mask())
    with pytest.raises(DataError, match=r"expected one for p\.png, got .*p\.png.*, .*p\.tif"):
        plan([tmp_path / "photos"], tmp_path / "new", strength_map=tmp_path / "maps")
    (tmp_path / "maps/x/q.tif").unlink()
    with pytest.raises(DataError, match=r"a map of the same name for each of 2 images, got none for x/q\.png"):
        plan([tmp_path / "photos"], tmp_path / "new", strength_map=tmp_path / "maps")


def test_wrong_requests(tmp_path: Path, model: RestorationModel) -> None:
    write_image(tmp_path / "a.png", picture("uint8", size=SIZE))
    write_image(tmp_path / "mask.png", mask())
    with pytest.raises(DataError, match=r"strength map .*none\.png: there is no such file or folder"):
        plan([tmp_path / "a.png"], strength_map=tmp_path / "none.png")
    with pytest.raises(UsageError, match=r"mask\.png: is the input .*; inputs are never overwritten"):
        plan([tmp_path / "a.png"], tmp_path / "mask.png", strength_map=tmp_path / "mask.png")
    with pytest.raises(UsageError, match=r"clip\.mp4: a strength map is for one picture"):
        plan([tmp_path / "clip.mp4"], strength_map=tmp_path / "mask.png")
    jobs = plan([tmp_path / "a.png"], strength_map=tmp_path / "mask.png")
    with pytest.raises(
        UsageError, match="a result of the input's size, where it can mix both, got one that is 6 times"
    ):
        restore_files(model, jobs, Settings(steps=(Step(scale=2), Step(scale=3))))


def test_strength_zero_copies_the_file(tmp_path: Path, model: RestorationModel) -> None:
    image = picture("uint8", size=SIZE)
    restored(model, image, mask(), tmp_path, steps=(Step(strength=0),))
    assert (tmp_path / "a.restored.tif").read_bytes() == (tmp_path / "a.tif").read_bytes()
