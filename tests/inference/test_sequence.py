"""Restorations one after the other: what one makes reaches the next as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affine_network import affine_model, picture
from clips import make_clip

from adair_core.data.images import ImageFile, read_image, write_image
from adair_core.errors import AdairError, UnknownNameError, UsageError
from adair_core.inference import Settings, Step, files, image_restoring, plan, restore_files, restore_sequence
from adair_core.model import RestorationModel
from adair_core.model.maps import Store

THERE, BACK = Step(adapters={"there": 1.0}), Step(adapters={"back": 1.0})
GENERATOR = np.random.default_rng(1)
MIX, TURN = GENERATOR.uniform(0, 0.4, (3, 3)), GENERATOR.uniform(0, 0.4, (3, 3))


def affine(image: np.ndarray, matrix: np.ndarray, bias: float, strength: float = 1.0) -> np.ndarray:
    """In float64."""
    return image + strength * (image @ matrix.T + bias - image)


def restored(model: RestorationModel, image: ImageFile, folder: Path, *, ending: str = ".tif", **settings: Any) -> Any:
    folder.mkdir(exist_ok=True)
    write_image(folder / f"a{ending}", image, overwrite=True)
    jobs = plan([folder / f"a{ending}"])
    (result,) = restore_files(model, jobs, Settings(overwrite=True, **settings))
    assert result.status == "restored", result.message
    return read_image(result.output)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("colors", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_nothing_is_rounded_in_between(tmp_path: Path, dtype: str, colors: int, alpha: bool) -> None:
    """A hundredth and then a hundredfold is the image; with 8 bits in between it would have three levels."""
    model = affine_model(there=(0.01, 0), back=(100, 0))
    image = picture(dtype, colors, alpha=alpha)
    after = restored(model, image, tmp_path, steps=(THERE, BACK))
    assert after.pixels.dtype == image.pixels.dtype
    difference = np.abs(after.pixels.astype(np.float64) - image.pixels)
    assert difference.max() <= (1e-5 if dtype == "float32" else 0)
    if alpha:
        assert np.array_equal(after.alpha, image.alpha)
    once = restored(model, restored(model, image, tmp_path, steps=(THERE,)), tmp_path, steps=(BACK,))
    if dtype == "uint8":
        assert len(np.unique(once.pixels[image.alpha > 4] if alpha else once.pixels)) <= 4


def test_nothing_is_clipped_in_between(tmp_path: Path) -> None:
    model = affine_model(there=(1, 0.9), back=(1, -0.9))
    image = picture("uint8")
    assert np.array_equal(restored(model, image, tmp_path, steps=(THERE, BACK)).pixels, image.pixels)


@pytest.mark.parametrize("settings", [{}, {"tile": 32}, {"exact": True}])
def test_order_and_strengths_against_float64(tmp_path: Path, settings: dict[str, Any]) -> None:
    model = affine_model(there=(MIX, 0.1), back=(TURN, 0.2))
    image = picture("uint16", size=(70, 50))
    steps = (Step(adapters={"there": 1.0}, strength=0.8), Step(adapters={"back": 0.5}, strength=0.6))
    half = 0.5 * TURN + 0.5 * np.eye(3)
    wanted = affine(affine(image.pixels / 65535, MIX, 0.1, 0.8), half, 0.1, 0.6) * 65535
    after = restored(model, image, tmp_path, steps=steps, **settings)
    assert np.abs(after.pixels - wanted).max() < 1
    backwards = restored(model, image, tmp_path, steps=steps[::-1], **settings)
    assert np.abs(backwards.pixels - wanted).max() > 500


def test_sizes_multiply_and_alpha_is_not_rounded_either(tmp_path: Path) -> None:
    """Against bicubic enlargement by Pillow, of which only the border differs."""
    from PIL import Image

    model = affine_model(there=(0.5, 0), back=(2, 0))
    rows, columns = np.mgrid[:32, :32] / 31
    smooth = (np.dstack([rows, columns, rows * columns]) * 60000).astype(np.uint16)
    image = ImageFile(pixels=smooth, alpha=np.full((32, 32), 30_000, np.uint16))
    steps = (Step(adapters={"there": 1.0}, scale=2), Step(adapters={"back": 1.0}, scale=3))
    after = restored(model, image, tmp_path, steps=steps)
    assert after.pixels.shape == (192, 192, 3)
    assert np.all(after.alpha == 30_000)
    for channel in range(3):
        plane = Image.fromarray(smooth[..., channel].astype(np.float32))
        wanted = np.asarray(
            plane.resize((64, 64), Image.Resampling.BICUBIC).resize((192, 192), Image.Resampling.BICUBIC)
        )
        assert np.abs(after.pixels[24:-24, 24:-24, channel] - wanted[24:-24, 24:-24]).max() <= 1


@pytest.mark.parametrize(("ending", "dtype", "alpha"), [(".tif", "uint8", False), (".png", "uint16", True)])
@pytest.mark.parametrize("scales", [(1, 1), (1, 2), (2, 1)])
def test_by_rows_it_is_what_it_is_whole(
    tmp_path: Path, monkeypatch: Any, ending: str, dtype: str, alpha: bool, scales: tuple[int, int]
) -> None:
    """And what lies in between is a file then."""
    model = affine_model(there=(MIX, 0.1), back=(TURN, 0.2))
    image = picture(dtype, alpha=alpha, size=(130, 70))
    steps = tuple(Step(adapters={name: 1.0}, scale=s) for name, s in zip(("there", "back"), scales, strict=True))
    stores: list[Store] = []
    monkeypatch.setattr(image_restoring, "Store", lambda *a: stores.append(Store(*a)) or stores[-1])
    monkeypatch.setattr(image_restoring, "WRITTEN_AT_ONCE", 40_000)
    whole = restored(model, image, tmp_path, ending=ending, steps=steps, tile=64)
    monkeypatch.setattr(files, "WHOLE", 0)
    monkeypatch.setattr(image_restoring, "HELD_BETWEEN", 0)
    rows = restored(model, image, tmp_path, ending=ending, steps=steps, tile=64)
    channels = 4 if alpha else 3
    assert [store.written for store in stores] == [0, 130 * 70 * scales[0] ** 2 * channels * 4]
    assert np.array_equal(rows.pixels, whole.pixels)
    assert (rows.alpha is None) == (not alpha)
    assert not alpha or np.array_equal(rows.alpha, whole.alpha)


def test_highlights_stay_through_both(tmp_path: Path) -> None:
    model = affine_model(there=(1, -0.25), back=(1, 0.125))
    pixels = picture("float32").pixels * 255
    pixels[3, 4] = 255 * 50.0
    after = restored(model, ImageFile(pixels=pixels), tmp_path, steps=(THERE, BACK), white=255.0)
    assert np.abs(after.pixels - (pixels - 255 * 0.125)).max() < 2e-3


def test_the_model_is_left_as_it_was_and_nothing_is_folded_again(tmp_path: Path) -> None:
    model = affine_model(there=(MIX, 0.1), back=(TURN, 0.2))
    model.set_adapters("back", [0.3])
    image = picture("uint8").pixels
    folded = []
    for _ in range(2):
        restore_sequence(model, image, [THERE, BACK])
        folded.append([id(values["matrix"]) for _, values in model._folded._entries.values()])
    assert model.active == {"back": 0.3}
    assert folded[0] == folded[1]
    with pytest.raises(UnknownNameError):
        restore_sequence(model, image, [THERE, Step(adapters={"none": 1.0})])
    assert model.active == {"back": 0.3}


@pytest.mark.parametrize("shape", [(20, 10), (20, 10, 1), (20, 10, 2), (20, 10, 3), (20, 10, 4)])
def test_arrays_come_back_as_the_arrays_that_they_were(shape: tuple[int, ...]) -> None:
    model = affine_model(there=(0.5, 0), back=(2, 0))
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(restore_sequence(model, image, [THERE, BACK]), image)
    assert restore_sequence(model, image, [Step(scale=2), THERE]).shape == (40, 20, *shape[2:])


def test_strength_zero_in_all_is_the_file_and_in_one_is_the_other(tmp_path: Path) -> None:
    model = affine_model(there=(MIX, 0.1), back=(TURN, 0.2))
    image = picture("uint8")
    idle = Step(adapters={"back": 1.0}, strength=0)
    alone = restored(model, image, tmp_path, steps=(THERE,))
    assert np.array_equal(restored(model, image, tmp_path, steps=(THERE, idle)).pixels, alone.pixels)
    assert np.array_equal(restored(model, image, tmp_path, steps=(idle, THERE)).pixels, alone.pixels)
    restored(model, image, tmp_path, steps=(idle, idle))
    assert (tmp_path / "a.restored.tif").read_bytes() == (tmp_path / "a.tif").read_bytes()


def test_how_far_an_image_is(tmp_path: Path) -> None:
    model = affine_model(there=(MIX, 0.1), back=(TURN, 0.2))
    write_image(tmp_path / "a.png", picture("uint8", size=(100, 80)))
    shares: list[float] = []
    settings = Settings(steps=(THERE, Step(adapters={"back": 1.0}, scale=2)), tile=64)
    restore_files(model, plan([tmp_path / "a.png"]), settings, on_share=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert any(share == pytest.approx(0.2) for share in shares)  # a fifth of the pixels are the first step's


def test_a_video(tmp_path: Path) -> None:
    from adair_core.inference import VideoCoding

    make_clip(tmp_path / "a.mkv")
    model = affine_model(there=(0.01, 0.3), back=(100, -30))
    same = affine_model(there=(1, 0))
    coding = VideoCoding(codec="ffv1")
    for steps, network, name in (((THERE, BACK), model, "b.mkv"), ((THERE,), same, "c.mkv")):
        (result,) = restore_files(
            network, plan([tmp_path / "a.mkv"], tmp_path / name), Settings(steps=steps, video=coding)
        )
        assert result.status == "restored", result.message
    import av

    def frames(name: str) -> list[np.ndarray]:
        with av.open(str(tmp_path / name)) as reader:
            return [frame.to_ndarray(format="rgb24").astype(int) for frame in reader.decode(video=0)]

    both, one = frames("b.mkv"), frames("c.mkv")
    assert len(both) == len(one) > 2
    assert max(np.abs(a - b).max() for a, b in zip(both, one, strict=True)) <= 2  # a step of YUV's rounding


def test_wrong_requests() -> None:
    model = affine_model(there=(1, 0))
    with pytest.raises(UsageError, match="steps: expected at least one, got none"):
        restore_sequence(model, np.zeros((4, 4), np.uint8), [])
    with pytest.raises(UsageError, match=r"expected strength and scale in the steps themselves, got strength 0\.5"):
        Settings(steps=(THERE,), strength=0.5)
    with pytest.raises(UsageError, match="strength: expected 0"):
        Step(strength=float("nan"))
    with pytest.raises(UsageError, match="scale: expected a whole number from 1, got 0"):
        Step(scale=0)
    model.set_adapters("there")
    model.merge()
    with pytest.raises(AdairError, match="merged into the base"), torch.no_grad():
        restore_sequence(model, np.zeros((4, 4), np.uint8), [THERE])
