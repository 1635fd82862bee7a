"""Restoring files: what must survive the way in and out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from adair_core.data.encoding import Coding
from adair_core.data.images import ImageFile, read_image, write_image
from adair_core.errors import UsageError
from adair_core.inference import FileResult, Settings, enlarged, plan
from adair_core.inference import restore_files as restore_jobs
from adair_core.model import RestorationModel
from adair_core.model.backbone import BaseInfo
from adair_core.specs import Choice


class Darken(nn.Module):
    """Known arithmetic in the place of a network, and a record of what it was given."""

    def __init__(self, factor: float = 0.5) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(tuple(x.shape))
        return x * self.factor


def model_of(backbone: nn.Module) -> RestorationModel:
    return RestorationModel(backbone, [], info=BaseInfo(name="darken", backbone=Choice(name="darken"), fingerprint="0"))


@pytest.fixture
def darken() -> Darken:
    return Darken()


@pytest.fixture
def model(darken: Darken) -> RestorationModel:
    return model_of(darken)


def pixels(height: int = 9, width: int = 7, channels: int = 3, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).random((height, width, channels))
    if dtype == np.float32:
        return values.astype(np.float32)
    return (values * np.iinfo(dtype).max).astype(dtype)


def save(path: Path, image: np.ndarray | ImageFile) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, image if isinstance(image, ImageFile) else ImageFile(pixels=image))
    return path


def restore_files(
    model: RestorationModel,
    inputs: list[Path],
    output: Path | None = None,
    *,
    suffix: str | None = None,
    on_share: Callable[[float], None] | None = None,
    on_result: Callable[[FileResult, int, int], None] | None = None,
    **settings: Any,
) -> list[FileResult]:
    """Plan and restore, as the command does."""
    jobs = plan(inputs, output, suffix=suffix)
    return restore_jobs(model, jobs, Settings(**settings), on_share=on_share, on_result=on_result)


def only(results: list[FileResult]) -> FileResult:
    (result,) = results
    assert result.status == "restored", result.message
    return result


def halved(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.float32:
        return image * np.float32(0.5)
    scale = float(np.iinfo(image.dtype).max)
    return np.rint((image.astype(np.float32) / np.float32(scale)) * np.float32(0.5) * np.float32(scale))


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_eight_bits_in_every_lossless_format(
    tmp_path: Path, model: RestorationModel, suffix: str, channels: int
) -> None:
    source = save(tmp_path / f"a{suffix}", pixels(channels=channels))
    before = read_image(source)
    result = only(restore_files(model, [source]))
    after = read_image(result.output)
    assert result.output == tmp_path / f"a.restored{suffix}"
    assert after.pixels.dtype == np.uint8
    assert after.pixels.shape == before.pixels.shape
    np.testing.assert_array_equal(after.pixels, halved(before.pixels))


@pytest.mark.parametrize(
    ("suffix", "dtype", "channels"), [(".png", np.uint16, 3), (".tif", np.uint16, 1), (".tiff", np.float32, 3)]
)
def test_depth_is_kept(tmp_path: Path, model: RestorationModel, suffix: str, dtype: Any, channels: int) -> None:
    source = save(tmp_path / f"a{suffix}", pixels(channels=channels, dtype=dtype))
    after = read_image(only(restore_files(model, [source])).output)
    assert after.pixels.dtype == dtype
    assert after.pixels.shape[2] == channels
    np.testing.assert_allclose(after.pixels, halved(read_image(source).pixels), atol=1 if dtype == np.uint16 else 1e-7)


def test_jpeg_is_restored_at_the_quality_asked_for(tmp_path: Path, model: RestorationModel) -> None:
    source = tmp_path / "a.jpg"
    ramp = np.linspace(40, 200, 64 * 64).reshape(64, 64).astype(np.uint8)
    Image.fromarray(np.stack([ramp] * 3, axis=2)).save(source, quality=95)
    sizes = {}
    for quality in (20, 95):
        result = only(restore_files(model, [source], tmp_path / f"{quality}.jpg", coding=Coding(quality=quality)))
        sizes[quality] = result.output.stat().st_size
    assert sizes[20] < sizes[95]
    after = read_image(tmp_path / "95.jpg").pixels.astype(float)
    assert np.abs(after - read_image(source).pixels / 2).mean() < 1.5


def test_alpha_is_kept_and_restored_images_are_under_it(tmp_path: Path, model: RestorationModel) -> None:
    alpha = pixels(channels=1, seed=1)[..., 0].clip(min=4)  # all of it is visible
    source = save(tmp_path / "a.png", ImageFile(pixels=pixels(), alpha=alpha))
    after = read_image(only(restore_files(model, [source])).output)
    assert after.alpha is not None
    np.testing.assert_array_equal(after.alpha, alpha)
    np.testing.assert_array_equal(after.pixels, halved(pixels()))


def test_metadata_is_kept_and_orientation_applied_once(tmp_path: Path, model: RestorationModel) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Camera & Co"
    profile = _profile()
    Image.fromarray(pixels(8, 16)).save(tmp_path / "a.jpg", exif=exif, icc_profile=profile)
    result = only(restore_files(model, [tmp_path / "a.jpg"], tmp_path / "a.png"))
    with Image.open(result.output) as after:
        assert after.size == (8, 16)
        assert after.getexif().get(0x0112, 1) == 1
        assert after.getexif()[0x010F] == "Camera & Co"
        assert after.info["icc_profile"] == profile


def _profile() -> bytes:
    """An sRGB profile. It holds the second in which it was made: two calls need not be equal."""
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
def test_strength_zero_gives_the_inputs_bytes_without_the_network(
    tmp_path: Path, model: RestorationModel, darken: Darken, name: str
) -> None:
    Image.fromarray(pixels(20, 30)).save(tmp_path / name)
    result = only(restore_files(model, [tmp_path / name], tmp_path / "out", strength=0))
    assert result.output.read_bytes() == (tmp_path / name).read_bytes()
    assert darken.seen == []


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strength_zero_into_another_format_gives_the_inputs_pixels(
    tmp_path: Path, model: RestorationModel, darken: Darken, dtype: Any
) -> None:
    source = save(tmp_path / "a.png", pixels(dtype=dtype))
    after = read_image(only(restore_files(model, [source], tmp_path / "b.tif", strength=0)).output)
    np.testing.assert_array_equal(after.pixels, pixels(dtype=dtype))
    assert after.pixels.dtype == dtype
    assert darken.seen == []


def test_strength_between_mixes(tmp_path: Path, model: RestorationModel) -> None:
    source = save(tmp_path / "a.png", np.full((4, 4, 3), 200, np.uint8))
    after = read_image(only(restore_files(model, [source], strength=0.5)).output)
    assert np.unique(after.pixels).tolist() == [150]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (37, 2)])
def test_any_size(tmp_path: Path, model: RestorationModel, height: int, width: int) -> None:
    source = save(tmp_path / "a.png", pixels(height, width))
    after = read_image(only(restore_files(model, [source])).output)
    np.testing.assert_array_equal(after.pixels, halved(pixels(height, width)))


def test_an_impossible_overlap_is_found_before_anything_is_written(tmp_path: Path, model: RestorationModel) -> None:
    source = save(tmp_path / "small.png", pixels())  # restored whole
    with pytest.raises(UsageError, match="half a tile"):
        restore_files(model, [source], overlap=500)
    assert [*tmp_path.iterdir()] == [source]


def test_large_images_are_restored_in_tiles(tmp_path: Path, model: RestorationModel, darken: Darken) -> None:
    source = save(tmp_path / "a.png", pixels(150, 200))
    after = read_image(only(restore_files(model, [source], tile=96)).output)
    assert len(darken.seen) > 1
    assert all(max(shape[-2:]) <= 96 for shape in darken.seen)
    assert np.abs(after.pixels - halved(pixels(150, 200))).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_super_resolution_enlarges_before_the_network(
    tmp_path: Path, model: RestorationModel, darken: Darken, channels: int
) -> None:
    image = np.repeat(np.linspace(60, 180, 8).astype(np.uint8)[:, None, None], 6, 1).repeat(channels, 2)
    alpha = np.full((8, 6), 77, np.uint8)
    source = save(tmp_path / "a.png", ImageFile(pixels=image, alpha=alpha))
    after = read_image(only(restore_files(model, [source], scale=3)).output)
    assert darken.seen == [(1, 3, 24, 18)]
    assert after.pixels.shape == (24, 18, channels)
    large = enlarged(torch.from_numpy(image).permute(2, 0, 1)[None].double() / 255, 3)
    expected = (large * 0.5 * 255)[0].permute(1, 2, 0).numpy()
    assert np.abs(after.pixels - expected).max() <= 0.5 + 1e-3
    assert after.alpha is not None
    assert np.unique(after.alpha).tolist() == [77]


def test_super_resolution_of_sixteen_bits_at_strength_zero_is_the_bicubic_image(
    tmp_path: Path, model: RestorationModel, darken: Darken
) -> None:
    source = save(tmp_path / "a.png", np.full((3, 5, 3), 40000, np.uint16))
    after = read_image(only(restore_files(model, [source], scale=2, strength=0)).output)
    assert after.pixels.dtype == np.uint16
    assert after.pixels.shape == (6, 10, 3)
    assert np.abs(after.pixels.astype(int) - 40000).max() <= 1
    assert darken.seen == []


def test_a_folder_with_a_bad_file_restores_the_others(tmp_path: Path, model: RestorationModel) -> None:
    folder = tmp_path / "in"
    for name in ("a.png", "c.png", "sub/d.png"):
        save(folder / name, pixels())
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:60])
    (folder / "empty.png").write_bytes(b"")
    calls: list[tuple[FileResult, int, int]] = []
    results = restore_files(model, [folder], tmp_path / "out", on_result=lambda *call: calls.append(call))
    assert [result.status for result in results] == ["restored", "failed", "restored", "failed", "restored"]
    assert "b.png" in results[1].message
    assert "empty.png" in results[3].message
    made = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert made == ["a.png", "c.png", "sub/d.png"]
    assert [(done, total) for _, done, total in calls] == [(n, 5) for n in range(1, 6)]
    assert [result for result, _, _ in calls] == results


def test_a_missing_file_is_reported_and_the_next_one_restored(tmp_path: Path, model: RestorationModel) -> None:
    source = save(tmp_path / "a.png", pixels())
    results = restore_files(model, [tmp_path / "gone.png", source])
    assert [result.status for result in results] == ["failed", "restored"]
    assert "gone.png" in results[0].message


def test_an_output_is_not_overwritten_unless_asked(tmp_path: Path, model: RestorationModel, darken: Darken) -> None:
    source = save(tmp_path / "a.png", pixels())
    output = tmp_path / "b.png"
    output.write_bytes(b"precious")
    for strength in (0, 1):
        (result,) = restore_files(model, [source], output, strength=strength)
        assert result.status == "failed"
        assert "exists already" in result.message
        assert output.read_bytes() == b"precious"
    (skipped,) = restore_files(model, [source], output, skip_existing=True)
    assert skipped.status == "skipped"
    assert output.read_bytes() == b"precious"
    assert darken.seen == []
    only(restore_files(model, [source], output, overwrite=True))
    np.testing.assert_array_equal(read_image(output).pixels, halved(pixels()))


def test_an_input_is_not_overwritten_even_if_asked(tmp_path: Path, model: RestorationModel) -> None:
    source = save(tmp_path / "a.png", pixels())
    before = source.read_bytes()
    for output in (source, tmp_path):
        with pytest.raises(UsageError, match="never overwritten"):
            restore_files(model, [source], output, overwrite=True)
    assert source.read_bytes() == before


def test_a_result_that_cannot_be_written_is_reported(tmp_path: Path, model: RestorationModel) -> None:
    sources = [save(tmp_path / name, pixels()) for name in ("a.png", "b.png")]
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    first, second = restore_files(model, sources, tmp_path / "out")
    assert first.status == "failed"
    assert "a.png" in first.message
    assert second.status == "restored"


def test_a_folder_that_cannot_be_made_is_told_before_the_work(tmp_path: Path, model: RestorationModel) -> None:
    source = save(tmp_path / "a.png", pixels())
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="file: expected a folder, got a file"):
        restore_files(model, [source], tmp_path / "file" / "out")


def test_alpha_into_jpeg_is_reported(tmp_path: Path, model: RestorationModel) -> None:
    source = save(tmp_path / "a.png", ImageFile(pixels=pixels(), alpha=pixels(channels=1)[..., 0]))
    (result,) = restore_files(model, [source], suffix=".jpg")
    assert result.status == "failed"
    assert "alpha" in result.message
    assert not result.output.exists()


@pytest.mark.parametrize(
    "failure", [MemoryError, torch.OutOfMemoryError, lambda: RuntimeError("can't allocate memory: 9 bytes")]
)
def test_too_little_memory_is_reported(tmp_path: Path, failure: Callable[[], Exception]) -> None:
    class Large(Darken):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-1] > 10:
                raise failure()
            return super().forward(x)

    large, small = save(tmp_path / "a.png", pixels(8, 20)), save(tmp_path / "b.png", pixels(8, 8))
    results = restore_files(model_of(Large()), [large, small])
    assert [result.status for result in results] == ["failed", "restored"]
    assert "tiles" in results[0].message


def test_a_mistake_in_the_network_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    class Wrong(Darken):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        restore_files(model_of(Wrong()), [save(tmp_path / "a.png", pixels())])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -0.1}, "strength"),
        ({"strength": float("nan")}, "strength"),
        ({"scale": 0}, "scale"),
        ({"white": 0}, "white"),
        ({"white": float("inf")}, "white"),
        ({"tile": 0}, "tile"),
        ({"overwrite": True, "skip_existing": True}, "got both"),
    ],
)
def test_options_out_of_range_are_refused(
    tmp_path: Path, model: RestorationModel, options: dict[str, Any], message: str
) -> None:
    source = save(tmp_path / "a.png", pixels())
    with pytest.raises(UsageError, match=message):
        restore_files(model, [source], **options)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_what_reading_could_not_keep_is_told(tmp_path: Path, model: RestorationModel) -> None:
    first, *others = (Image.fromarray(pixels(seed=seed)) for seed in range(3))
    first.save(tmp_path / "a.webp", save_all=True, append_images=others, lossless=True)
    assert only(restore_files(model, [tmp_path / "a.webp"])).message == "only the first of 3 pages or frames is used"


def test_only_what_was_lost_is_told(tmp_path: Path, model: RestorationModel) -> None:
    exif = Image.Exif()
    exif[0x010F] = "maker"
    Image.fromarray(pixels()).save(tmp_path / "a.jpg", exif=exif)
    save(tmp_path / "deep.png", pixels(dtype=np.uint16))
    Image.fromarray(pixels(channels=4), "CMYK").save(tmp_path / "cmyk.jpg")
    assert only(restore_files(model, [tmp_path / "a.jpg"], tmp_path / "a.png")).message == ""
    assert only(restore_files(model, [tmp_path / "a.jpg"], tmp_path / "a.tif")).message == ""
    assert "rounded to 8 bits" in only(restore_files(model, [tmp_path / "deep.png"], tmp_path / "deep.jpg")).message
    assert "CMYK to sRGB" in only(restore_files(model, [tmp_path / "cmyk.jpg"])).message
    # A copy, byte for byte, is still CMYK.
    copied = only(restore_files(model, [tmp_path / "cmyk.jpg"], tmp_path / "copy.jpg", strength=0))
    assert copied.message == ""
    assert copied.output.read_bytes() == (tmp_path / "cmyk.jpg").read_bytes()


def test_a_large_image_tells_how_far_it_is(tmp_path: Path, model: RestorationModel) -> None:
    source, shares = save(tmp_path / "a.png", pixels(150, 40)), []
    only(restore_files(model, [source], tmp_path / "b.png", tile=64, on_share=shares.append))
    assert len(shares) > 2
    assert shares == sorted(shares)
    assert shares[-1] == 1
