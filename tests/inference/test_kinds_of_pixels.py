"""Transparency, depth and floats through the whole way from file to file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from adair_core.data.images import ImageFile, read_image, write_image
from adair_core.inference import FileResult, Settings, plan, restore_files
from adair_core.model import RestorationModel
from adair_core.model.backbone import BaseInfo
from adair_core.specs import Choice


class Blur(nn.Module):
    """Mixes each pixel with its neighbours, as every network does: a fringe would show."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.full((3, 1, 5, 5), 1 / 25))

    def forward(self, x: Tensor) -> Tensor:
        padded = nn.functional.pad(x, (2, 2, 2, 2), mode="replicate")
        return nn.functional.conv2d(padded, self.kernel, groups=3)


def blur() -> RestorationModel:
    return RestorationModel(Blur(), [], info=BaseInfo(name="blur", backbone=Choice(name="blur"), fingerprint="0"))


def restored(path: Path, output: Path, **settings: Any) -> tuple[ImageFile, str]:
    (result,) = restore_files(blur(), plan([path], output), Settings(**settings))
    assert result.status == "restored", result.message
    return read_image(result.output), result.message


def failed(path: Path, **settings: Any) -> FileResult:
    (result,) = restore_files(blur(), plan([path]), Settings(**settings))
    assert result.status == "failed"
    return result


def cut_out(hidden: tuple[int, int, int]) -> ImageFile:
    """A red disc with a soft edge on transparent ground of any colour."""
    rows, columns = np.mgrid[:48, :48]
    distance = np.hypot(rows - 23.5, columns - 23.5)
    alpha = (np.clip(16 - distance, 0, 1) * 255).round().astype(np.uint8)
    pixels = np.where(alpha[..., None] > 0, np.array([220, 30, 20]), np.array(hidden)).astype(np.uint8)
    return ImageFile(pixels=pixels, alpha=alpha)


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("hidden", [(0, 0, 0), (0, 255, 0), (255, 255, 255)])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "a.avif"])
def test_nothing_transparent_fringes(tmp_path: Path, scale: int, hidden: tuple[int, int, int], name: str) -> None:
    write_image(tmp_path / name, cut_out(hidden))
    after, _ = restored(tmp_path / name, tmp_path / f"out-{name}", scale=scale)
    assert after.pixels.shape == (48 * scale, 48 * scale, 3)
    assert after.alpha is not None
    visible = after.alpha >= 4
    assert np.abs(after.pixels[visible].astype(int) - (220, 30, 20)).max() <= 1
    if scale == 1 and name != "a.avif":  # which does not say that it is lossless, and is then written with loss
        assert np.array_equal(after.alpha, cut_out(hidden).alpha)
        assert (after.pixels[after.alpha == 0] == hidden).all()


def test_gray_with_alpha(tmp_path: Path) -> None:
    image = cut_out((0, 0, 0))
    write_image(tmp_path / "a.png", ImageFile(pixels=image.pixels[..., :1], alpha=image.alpha))
    after, _ = restored(tmp_path / "a.png", tmp_path / "b.png")
    assert after.pixels.shape == (48, 48, 1)
    assert np.abs(after.pixels[after.alpha > 0].astype(int) - 220).max() <= 1


@pytest.mark.parametrize(("colors", "name"), [(1, "a.png"), (3, "a.png"), (3, "a.tif")])
def test_sixteen_bits_in_are_sixteen_bits_out(tmp_path: Path, colors: int, name: str) -> None:
    values = np.random.default_rng(0).integers(20_000, 24_000, (60, 70, colors), dtype=np.uint16)
    write_image(tmp_path / name, ImageFile(pixels=values))
    after, _ = restored(tmp_path / name, tmp_path / f"b-{name}")
    assert after.pixels.dtype == np.uint16
    assert len(np.unique(after.pixels)) > 1000
    padded = np.pad(values.astype(np.float64), ((2, 2), (2, 2), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(0, 1))
    assert np.abs(after.pixels - windows.mean(axis=(-1, -2))).max() <= 1


def test_highlights_of_a_float_image_stay_and_the_rest_is_restored(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((40, 40, 3)).astype(np.float32)
    values[10, 10] = 500.0
    write_image(tmp_path / "a.tif", ImageFile(pixels=values))
    after, message = restored(tmp_path / "a.tif", tmp_path / "b.tif")
    assert "highlights above 2" in message
    assert after.pixels.dtype == np.float32
    assert after.pixels[10, 10].min() > 497
    assert after.pixels[20:, 20:].std() < values[20:, 20:].std() / 2
    assert after.pixels[8, 8].max() < 2  # and do not spread


def test_noise_around_black_and_white_is_not_cut(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0.5, 0.25, (40, 40, 3)).astype(np.float32)
    assert values.min() < 0
    write_image(tmp_path / "a.tif", ImageFile(pixels=values))
    after, message = restored(tmp_path / "a.tif", tmp_path / "b.tif")
    batch = torch.from_numpy(values).permute(2, 0, 1)[None]
    with torch.no_grad():
        wanted = Blur()(batch)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(after.pixels, wanted, atol=1e-6)
    assert message == ""


def test_floats_to_255_need_white(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(0, 255, (40, 40, 1)).astype(np.float32)
    write_image(tmp_path / "a.tif", ImageFile(pixels=values))
    assert "are above 2, where 1 is taken for white; give --white 255" in failed(tmp_path / "a.tif").message
    after, _ = restored(tmp_path / "a.tif", tmp_path / "b.tif", white=255)
    assert abs(after.pixels.mean() - values.mean()) < 1
    assert after.pixels.std() < values.std() / 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_floats_that_are_not_finite_are_refused_by_name(tmp_path: Path, bad: float) -> None:
    values = np.full((8, 8, 1), 0.5, np.float32)
    values[3, 3] = bad
    write_image(tmp_path / "a.tif", ImageFile(pixels=values))
    assert "a.tif: holds NaN or infinite values" in failed(tmp_path / "a.tif").message


def test_float_alpha(tmp_path: Path) -> None:
    image = cut_out((0, 255, 0))
    floats = ImageFile(
        pixels=image.pixels.astype(np.float32) / np.float32(255), alpha=image.alpha.astype(np.float32) / np.float32(255)
    )
    write_image(tmp_path / "a.tif", floats)
    after, _ = restored(tmp_path / "a.tif", tmp_path / "b.tif")
    assert np.array_equal(after.alpha, floats.alpha)
    assert np.abs(after.pixels[after.alpha > 0.02] * 255 - (220, 30, 20)).max() < 0.01


def test_what_was_converted_is_said(tmp_path: Path) -> None:
    Image.fromarray(cut_out((0, 0, 0)).pixels).quantize(16).save(tmp_path / "a.gif")
    (job,) = plan([tmp_path / "a.gif"])
    assert job.output.name == "a.restored.png"
    after, message = restored(tmp_path / "a.gif", tmp_path / "b.png")
    assert message == "palette became full colour"
    Image.fromarray(after.pixels).save(tmp_path / "really.png")
    (tmp_path / "really.png").rename(tmp_path / "named.jpg")
    assert "its content is PNG" in restored(tmp_path / "named.jpg", tmp_path / "c.jpg")[1]
