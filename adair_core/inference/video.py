"""Restoring a video frame by frame, from file to file; nothing is kept in memory or on the disk but a few frames.

Only the frames change: audio, subtitles and further streams are copied packet by packet, and every frame keeps its
time.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adair_core.atomic_file import replacing
from adair_core.errors import DataError, UsageError
from adair_core.inference.file_result import FULL
from adair_core.inference.overlap import Overlap, Room
from adair_core.inference.settings import Settings
from adair_core.inference.video_coding import VideoCoding
from adair_core.inference.video_formats import VIDEO_SUFFIXES
from adair_core.inference.video_frames import ColorCoding, from_rgb, to_rgb
from adair_core.inference.video_target import VideoTarget, video_streams
from adair_core.model.restoration_model import RestorationModel
from adair_core.model.tiling import OnShare

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

SHORTER = 0.95
"""A video that ends before so much of the length that it states may have been cut off."""


def import_av() -> Any:
    """Import PyAV.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UsageError(
            "videos are read and written with PyAV, which is not installed; install it: pip install 'adair[video]' (or "
            "pip install av)"
        ) from error
    return av


def restore_video(
    model: RestorationModel, source: Path, output: Path, settings: Settings, *, on_share: OnShare | None = None
) -> tuple[str, ...]:
    """Restore a video.

    Args:
        model: the network.
        source: the video.
        output: where the restored one goes, whole or not at all; its ending says the container.
        settings: how; strength 0 copies the file if it keeps its container.
        on_share: told after each frame how much is done.

    Returns:
        What people should know.

    Raises:
        UsageError: PyAV is not installed.
        DataError: the video cannot be read, or not be written as asked.
    """
    av = import_av()
    if not source.exists():
        raise DataError(f"{source}: no such file")
    container = VIDEO_SUFFIXES[output.suffix.lower()]
    try:
        with replacing(output, overwrite=settings.overwrite) as temporary:
            if (
                settings.copies
                and settings.video == VideoCoding()
                and container == VIDEO_SUFFIXES[source.suffix.lower()]
            ):
                shutil.copyfile(source, temporary)
                return ()
            with av.open(str(source)) as reader, av.open(str(temporary), "w", format=container) as writer:
                return _restored(model, source, reader, writer, settings, on_share)
    except FileExistsError as error:
        raise DataError(f"{output}: exists already and is not overwritten") from error
    except av.error.FFmpegError as error:
        reason = error.strerror or str(error)
        if error.errno in FULL:
            raise DataError(f"{output}: cannot be written: {reason}") from error
        raise DataError(f"{source}: cannot be read, or not be written as {container}: {reason}") from error


def _restored(
    model: RestorationModel,
    source: Path,
    reader: InputContainer,
    writer: Any,
    settings: Settings,
    on_share: OnShare | None,
) -> tuple[str, ...]:
    streams = video_streams(reader)
    if not streams:
        raise DataError(f"{source}: expected a video, got a file without moving pictures")
    video = streams[0]
    video.thread_type = "AUTO"
    expected_frames = _frame_count(reader, video)
    events = _events(reader, video)
    target: VideoTarget | None = None
    waiting: list[Packet] = []
    coding = ColorCoding()
    count, end = 0, 0.0
    with Overlap[int, Any, None](itertools.count(), lambda _: next(events, None), room=Room()) as overlap:
        for _, event in overlap.read():
            if event is None:
                break
            if not _is_frame(event):
                if target is None:
                    waiting.append(event)
                else:
                    overlap.write(partial(target.copy, event))
                continue
            if target is None:
                coding = ColorCoding.of(event)
            frame = _restored_frame(model, event, coding, settings)
            if target is None:
                height, width = frame.shape[:2]
                target = VideoTarget(
                    reader, writer, video=video, first=event, size=(width, height), coding=settings.video
                )
                for packet in waiting:
                    overlap.write(partial(target.copy, packet))
            overlap.write(partial(_encode, target, frame, event, coding))
            list(overlap.written())
            count, end = count + 1, event.time or end
            if on_share is not None and expected_frames:
                on_share(min(1.0, count / expected_frames))
        if target is None:
            raise DataError(f"{source}: expected a video, got one without a frame that can be read")
        overlap.write(target.finish)
        list(overlap.written(wait=True))
    stated = (reader.duration or 0) / 1e6
    cut = [f"ends at {end:.1f} s of the {stated:.1f} s that it states"] if end < SHORTER * stated - 1 else []
    return (*target.notes, *cut)


def _events(reader: InputContainer, video: VideoStream) -> Iterator[VideoFrame | Packet]:
    """Frames of the video, and packets of the other streams, in the order of the file."""
    for packet in reader.demux():
        if packet.stream.index == video.index:
            yield from packet.decode()
        elif packet.dts is not None:
            yield packet


def _is_frame(event: VideoFrame | Packet) -> bool:
    return hasattr(event, "planes")


def _restored_frame(model: RestorationModel, frame: VideoFrame, coding: ColorCoding, settings: Settings) -> Any:
    from adair_core.data.images import ImageFile
    from adair_core.inference.image_restoring import restore_read

    image = ImageFile(pixels=to_rgb(frame, coding))
    return restore_read(model, image, settings, path=Path("frame"))[0].pixels


def _encode(target: VideoTarget, frame: Any, source: VideoFrame, coding: ColorCoding) -> None:
    target.encode(from_rgb(frame, target.pixel_format, coding), source)


def _frame_count(reader: InputContainer, video: VideoStream) -> int:
    """How many frames there will be, or about that; 0 = nobody knows."""
    if video.frames:
        return int(video.frames)
    return round((reader.duration or 0) / 1e6 * float(video.average_rate or 0))
