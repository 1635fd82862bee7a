"""Videos in and out: frames, times, colours, sound and subtitles."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.sidedata.sidedata import Type
from clips import HEIGHT, STEPS, WIDTH, frames_of, level, make_clip, packets_of
from torch import Tensor, nn

from adair_core.atomic_file import replacing
from adair_core.errors import DataError, UsageError
from adair_core.inference import FileResult, Settings, VideoCoding, plan, restore_files
from adair_core.inference.video_frames import BT601, BT709, ColorCoding, from_rgb, to_rgb
from adair_core.inference.video_target import pixel_format_for
from adair_core.model import RestorationModel
from adair_core.model.backbone import BaseInfo
from adair_core.specs import Choice


class Times(nn.Module):
    """Known arithmetic in the place of a network."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def model(factor: float = 1.0) -> RestorationModel:
    info = BaseInfo(name="times", backbone=Choice(name="times"), fingerprint="0")
    return RestorationModel(Times(factor), [], info=info)


def restore(path: Path, output: Path, factor: float = 1.0, **settings: Any) -> FileResult:
    (result,) = restore_files(model(factor), plan([path], output), Settings(**settings))
    return result


def whole(path: Path, output: Path, factor: float = 1.0, **settings: Any) -> Path:
    result = restore(path, output, factor, **settings)
    assert result.status == "restored", result.message
    return result.output


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_frames_keep_their_order_and_their_variable_times(tmp_path: Path, name: str) -> None:
    source = make_clip(tmp_path / name)
    times, levels = frames_of(source)
    assert times == pytest.approx([step / 1000 for step in STEPS], abs=1e-6)
    after_times, after_levels = frames_of(whole(source, tmp_path / f"b{source.suffix}", factor=0.5))
    assert after_times == pytest.approx(times, abs=1e-6)
    assert after_levels == pytest.approx([value / 2 for value in levels], abs=1.5)


def test_sound_and_subtitles_are_copied_bit_for_bit(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", sound="aac", subtitles=True)
    output = whole(source, tmp_path / "b.mkv", factor=0.9)
    for kind in ("audio", "subtitle"):
        assert packets_of(source, kind)
        assert packets_of(output, kind) == packets_of(source, kind)
    with av.open(str(output)) as file:
        assert file.metadata["title"] == "A barn"
        assert file.streams.audio[0].metadata["language"] == "fra"
        assert [stream.type for stream in file.streams] == ["video", "audio", "subtitle"]


def test_sound_in_mp4_stays_where_it_is(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", sound="aac")
    output = whole(source, tmp_path / "b.mp4")
    assert packets_of(output, "audio") == packets_of(source, "audio")


def test_what_another_container_cannot_hold_is_said(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", sound="aac", subtitles=True)
    result = restore(source, tmp_path / "b.mp4")
    assert result.status == "restored"
    assert "without subtitle stream 2 (srt), which mp4 files cannot hold" in result.message
    assert packets_of(result.output, "audio")


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_rotation_is_kept(tmp_path: Path, rotation: int) -> None:
    output = whole(make_clip(tmp_path / "a.mp4", rotation=rotation), tmp_path / "b.mp4")
    with av.open(str(output)) as file:
        frame = next(file.decode(video=0))
        assert (frame.width, frame.height) == (WIDTH, HEIGHT)
        assert abs(frame.rotation) == abs(rotation)
        assert frame.rotation == rotation or abs(rotation) == 180


@pytest.mark.parametrize("rotation", [0, 90, 180])
@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
def test_mirroring_is_kept(tmp_path: Path, rotation: int, ending: str) -> None:
    source = make_clip(tmp_path / f"a.{ending}", rotation=rotation, mirrored=True)
    matrices = []
    for path in (source, whole(source, tmp_path / f"b.{ending}")):
        with av.open(str(path)) as file:
            side_data = next(file.decode(video=0)).side_data
            matrices.append(np.frombuffer(bytes(side_data[Type.DISPLAYMATRIX]), np.int32).reshape(3, 3))
    assert np.linalg.det(matrices[0][:2, :2].astype(float)) < 0
    assert np.array_equal(matrices[0], matrices[1])


@pytest.mark.parametrize("colors", [(1, 1, 1, 1), (2, 1, 1, 1), (1, 9, 16, 9)])
def test_range_primaries_transfer_and_matrix_are_kept(tmp_path: Path, colors: tuple[int, ...]) -> None:
    named = dict(zip(("color_range", "color_primaries", "color_trc", "colorspace"), colors, strict=True))
    output = whole(make_clip(tmp_path / "a.mp4", colors=named), tmp_path / "b.mp4")
    with av.open(str(output)) as file:
        context = file.streams.video[0].codec_context
        assert [int(getattr(context, name)) for name in named] == list(colors)
    if colors[3] == 1:  # the clip was made with that matrix
        assert frames_of(output)[1] == pytest.approx([level(index) for index in range(len(STEPS))], abs=1.5)


PATCHES = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
PATCHES[:, :16], PATCHES[:, 16:32], PATCHES[:, 32:48], PATCHES[:, 48:] = (250, 8, 8), (8, 235, 16), (16, 24, 200), 255


def make_patches(path: Path, codec: str, pixel_format: str, **colors: int) -> Path:
    with av.open(str(path), "w") as file:
        video: Any = file.add_stream(codec, rate=25)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, pixel_format
        for name, value in colors.items():
            setattr(video.codec_context, name, value)
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(PATCHES, format="rgb24").reformat(format=pixel_format)
            frame.pts = index
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
    return path


def seen_in(path: Path, form: str) -> list[Any]:
    """Frames as ffmpeg alone converts them."""
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format=form).astype(int) for frame in file.decode(video=0)]


@pytest.mark.parametrize("target", ["b.mov", "b.mkv"])
@pytest.mark.parametrize(
    ("codec", "pixel_format"),
    [("png", "rgb24"), ("libx264rgb", "rgb24"), ("qtrle", "rgb24"), ("qtrle", "rgb555be"), ("qtrle", "gray")],
)
def test_rgb_and_palettes_keep_their_colours(tmp_path: Path, codec: str, pixel_format: str, target: str) -> None:
    source = make_patches(tmp_path / "a.mov", codec, pixel_format)
    before, after = (np.array(seen_in(path, "rgb24")) for path in (source, whole(source, tmp_path / target)))
    # Means within the patches: ffmpeg dithers few bits, and the codec is lossy.
    means = [frames.reshape(3, HEIGHT, 4, 16, 3)[:, :, :, 4:12].mean((1, 3)) for frames in (before, after)]
    assert means[1] == pytest.approx(means[0], abs=2)


def test_rgb_that_becomes_yuv_is_said_with_what_every_player_takes(tmp_path: Path) -> None:
    source = make_patches(tmp_path / "a.mov", "qtrle", "rgb24")
    said = restore(source, tmp_path / "b.mp4").message
    assert "RGB became YUV (yuv444p), with all of its colours, which not every player takes" in said
    assert "--subsampling 4:2:0" in said
    result = restore(source, tmp_path / "c.mp4", video=VideoCoding(subsampling="4:2:0", crf=4))
    assert result.message == "encoded with libx264 in place of qtrle; RGB became YUV (yuv420p)"
    with av.open(str(result.output)) as file:
        stream = file.streams.video[0]
        assert (stream.format.name, stream.profile) == ("yuv420p", "High")
    before, after = (np.array(seen_in(path, "rgb24"), dtype=float) for path in (source, result.output))
    assert np.abs(before - after)[:, 4:-4, 4:12].max() < 6  # within a patch; colours run over its edges
    assert "RGB" not in restore(source, tmp_path / "d.mkv", video=VideoCoding(codec="ffv1")).message


@pytest.mark.parametrize("full", [0, 1, 2])
@pytest.mark.parametrize("pixel_format", ["gray", "gray10le"])
def test_gray_is_kept_to_the_bit_whatever_range_it_says(tmp_path: Path, pixel_format: str, full: int) -> None:
    source = make_patches(tmp_path / "a.mkv", "ffv1", pixel_format, color_range=full)
    result = whole(source, tmp_path / "b.mkv")
    with av.open(str(result)) as file:
        assert file.streams.video[0].format.name == pixel_format
        assert int(file.streams.video[0].codec_context.color_range) == full
    assert np.array_equal(seen_in(source, pixel_format), seen_in(result, pixel_format))


def test_formats_of_pixels_that_cannot_be_read_are_said() -> None:
    frame = av.VideoFrame(16, 16, "gbrpf32le")
    with pytest.raises(DataError, match=r"frames of gbrpf32le: expected values of at most 16 bits, got 32"):
        to_rgb(frame, ColorCoding())


def test_ten_bits_are_kept_and_used(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", codec="libx265", pixel_format="yuv420p10le", options={"crf": "4"})
    output = whole(source, tmp_path / "b.mkv", factor=0.61, video=VideoCoding(crf=1))
    with av.open(str(output)) as file:
        assert file.streams.video[0].codec_context.name == "hevc"
        values = set()
        for frame in file.decode(video=0):
            assert frame.format.name == "yuv420p10le"
            values |= set(np.frombuffer(bytes(frame.planes[0]), "<u2").tolist())
    assert any(value % 4 for value in values)  # levels that 8 bits do not have


@pytest.mark.parametrize(
    ("codec", "name", "encoder", "pixel_format"),
    [
        ("libvpx-vp9", "a.webm", "vp9", "yuv420p"),
        ("ffv1", "a.mkv", "ffv1", "yuv444p16le"),
        ("libx264", "a.avi", "h264", "yuv444p"),
    ],
)
def test_codec_and_pixel_format_stay(tmp_path: Path, codec: str, name: str, encoder: str, pixel_format: str) -> None:
    steps = tuple(range(0, 400, 40))
    source = make_clip(tmp_path / name, codec=codec, pixel_format=pixel_format, steps=steps)
    output = whole(source, tmp_path / f"b{source.suffix}")
    with av.open(str(output)) as file:
        assert file.streams.video[0].codec_context.codec.canonical_name == encoder
        assert next(file.decode(video=0)).format.name == pixel_format
    assert len(frames_of(output)[0]) == len(steps)


def test_a_lossless_codec_and_a_network_that_changes_nothing_give_the_same_frames(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3))
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as file:
        video: Any = file.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv444p"
        for picture in (noise, np.stack([rows * 5, columns * 3, rows + columns], axis=2)):
            frame = from_rgb((picture / 255).astype(np.float32), "yuv444p", ColorCoding())
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
    output = whole(path, tmp_path / "b.mkv")
    with av.open(str(path)) as before, av.open(str(output)) as after:
        for one, other in zip(before.decode(video=0), after.decode(video=0), strict=True):
            for left, right in zip(one.planes, other.planes, strict=True):
                difference = np.frombuffer(bytes(left), np.uint8).astype(int) - np.frombuffer(bytes(right), np.uint8)
                assert not difference.any()


@pytest.mark.parametrize(("matrix", "weights"), [(BT709, (0.2126, 0.7152, 0.0722)), (BT601, (0.299, 0.587, 0.114))])
@pytest.mark.parametrize("full", [False, True])
def test_colours_are_those_of_the_standards_equations(
    matrix: tuple[float, float], weights: tuple[float, ...], full: bool
) -> None:
    """Rec. 601 and 709: Y = sum of weights, Cb = (B - Y) / (2 - 2 Kb), Cr = (R - Y) / (2 - 2 Kr), then the range."""
    color = np.array([0.8, 0.3, 0.1])
    luma = float(color @ weights)
    blue, red = (color[2] - luma) / (2 - 2 * weights[2]), (color[0] - luma) / (2 - 2 * weights[0])
    coded = (
        (255 * luma, 128 + 255 * blue, 128 + 255 * red)
        if full
        else (16 + 219 * luma, 128 + 224 * blue, 128 + 224 * red)
    )
    values = np.broadcast_to(color.astype(np.float32), (16, 16, 3))
    coding = ColorCoding(matrix, full)
    frame = from_rgb(values, "yuv444p", coding)
    for plane, wanted in zip(frame.planes, coded, strict=True):
        got = np.frombuffer(bytes(plane), np.uint8).reshape(16, -1)[:, :16]
        assert np.abs(got - wanted).max() <= 0.51
    assert np.abs(to_rgb(frame, coding) - color).max() < 0.01


def test_enlarging(tmp_path: Path) -> None:
    output = whole(make_clip(tmp_path / "a.mp4", sound="aac"), tmp_path / "b.mp4", scale=2)
    with av.open(str(output)) as file:
        frame = next(file.decode(video=0))
        assert (frame.width, frame.height) == (2 * WIDTH, 2 * HEIGHT)
    assert packets_of(output, "audio")


def test_codec_and_crf_are_the_users(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4")
    sizes = [whole(source, tmp_path / f"{crf}.mp4", video=VideoCoding(crf=crf)).stat().st_size for crf in (5, 45)]
    assert sizes[0] > sizes[1]
    output = whole(source, tmp_path / "c.mp4", video=VideoCoding(codec="libx265"))
    with av.open(str(output)) as file:
        assert file.streams.video[0].codec_context.name == "hevc"
        assert file.streams.video[0].codec_context.codec_tag == "hvc1"


@pytest.mark.parametrize(
    ("coding", "output", "words"),
    [
        ({"codec": "nonsense"}, "b.mp4", "codec: expected an encoder that PyAV has, got 'nonsense'"),
        ({"codec": "ffv1", "crf": 10}, "b.mkv", "the encoder ffv1 has no constant rate factor"),
        ({"codec": "libvpx-vp9"}, "b.mov", "mov files cannot hold 64 x 48 frames of yuv420p by libvpx-vp9"),
    ],
)
def test_what_does_not_fit_is_said_and_leaves_nothing(
    tmp_path: Path, coding: dict[str, Any], output: str, words: str
) -> None:
    source = make_clip(tmp_path / "a.mp4")
    result = restore(source, tmp_path / output, video=VideoCoding(**coding))
    assert result.status == "failed"
    assert words in result.message
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_video_that_is_missing(tmp_path: Path) -> None:
    assert restore(tmp_path / "a.mp4", tmp_path / "b.mp4", factor=0.5).message == f"{tmp_path}/a.mp4: no such file"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_full_disk_is_said_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    @contextlib.contextmanager
    def full(path: Path, *, overwrite: bool) -> Iterator[Path]:
        with replacing(path, overwrite=overwrite):
            yield Path("/dev/full")

    monkeypatch.setattr("adair_core.inference.video.replacing", full)
    result = restore(make_clip(tmp_path / name), tmp_path / f"b{name}", factor=0.5)
    assert result.message == f"{tmp_path}/b{name}: cannot be written: No space left on device"
    assert result.is_disk_full


def test_the_rate_factor_has_bounds() -> None:
    with pytest.raises(UsageError, match="crf: expected 0 to 63, got 90"):
        VideoCoding(crf=90)


def test_strength_zero_is_the_file(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", sound="aac")
    assert whole(source, tmp_path / "b.mp4", strength=0).read_bytes() == source.read_bytes()


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "sound"])
def test_files_that_are_no_videos(tmp_path: Path, damage: str) -> None:
    source = make_clip(tmp_path / "a.mp4", sound="aac")
    if damage == "empty":
        source.write_bytes(b"")
    elif damage == "text":
        source.write_text("no video " * 100)
    elif damage == "cut":
        source.write_bytes(source.read_bytes()[:2000])  # the index is at the end
    else:
        with av.open(str(tmp_path / "a.mp4"), "w") as file:
            audio: Any = file.add_stream("aac", rate=48000)
            silence = av.AudioFrame.from_ndarray(np.zeros((2, 4800), np.float32), format="fltp", layout="stereo")
            silence.sample_rate = 48000
            file.mux(audio.encode(silence))
            file.mux(audio.encode(None))
    other = make_clip(tmp_path / "c.mp4", steps=(0, 40, 80))
    results = restore_files(model(), plan([source, other], tmp_path / "out"))
    assert [result.status for result in results] == ["failed", "restored"]
    assert "a.mp4" in results[0].message
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["c.mp4"]


def test_a_clip_that_ends_early_is_said(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", steps=tuple(range(0, 8000, 40)), size=(160, 120), options={"g": "10"})
    content = source.read_bytes()
    source.write_bytes(content[: len(content) // 3])
    result = restore(source, tmp_path / "b.mkv")
    assert result.status == "failed" or "that it states" in result.message


def test_progress_counts_frames(tmp_path: Path) -> None:
    source, shares = make_clip(tmp_path / "a.mp4"), []
    restore_files(model(), plan([source], tmp_path / "b.mp4"), on_share=shares.append)
    assert shares == pytest.approx([count / len(STEPS) for count in range(1, len(STEPS) + 1)])


def test_the_nearest_pixel_format_that_loses_nothing() -> None:
    assert pixel_format_for("libx264", "yuv420p") == "yuv420p"
    assert pixel_format_for("libx264", "yuvj422p") == "yuv422p"
    assert pixel_format_for("libx264", "gbrp") == "yuv444p"
    assert pixel_format_for("libx264", "yuv420p12le") == "yuv420p10le"
    assert pixel_format_for("libx265", "yuv444p10le") == "yuv444p10le"


def test_the_subsampling_is_the_users() -> None:
    assert pixel_format_for("libx264", "yuv444p", "4:2:0") == "yuv420p"
    assert pixel_format_for("libx264", "yuv422p10le", "4:2:0") == "yuv420p10le"
    assert pixel_format_for("libx265", "gbrp12le", "4:2:2") == "yuv422p12le"
    assert pixel_format_for("libx264", "gray", "4:2:0") == "yuv420p"
    assert pixel_format_for("libx264", "yuv420p", "4:4:4") == "yuv444p"
    for encoder in ("prores_ks", "libx264rgb", "rawvideo"):
        with pytest.raises(DataError, match=f"subsampling: expected an encoder of 4:2:0, got {encoder}.*--codec"):
            pixel_format_for(encoder, "rgb24", "4:2:0")


def test_videos_are_restored_where_they_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in ("a.png", "b.mp4"):
        (Path("in") / name).touch()
    assert [job.source.name for job in plan(["in"], "out")] == ["a.png"]
    assert [job.output.as_posix() for job in plan(["in/*"], "out", suffix=".webp")] == ["out/a.webp", "out/b.mp4"]
    assert plan(["in/b.mp4"])[0].output.as_posix() == "in/b.restored.mp4"
    assert plan(["in/b.mp4"], "c.mkv")[0].output.as_posix() == "c.mkv"
    for source, output in (("in/a.png", "c.mp4"), ("in/b.mp4", "c.png")):
        with pytest.raises(UsageError, match=r"the name of an? (image|video) for in/"):
            plan([source], output)


def test_without_pyav_one_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_clip(tmp_path / "a.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError, match=r"which is not installed; install it: pip install 'adair\[video\]'"):
        restore_files(model(), plan([source], tmp_path / "b.mp4"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
