"""Small videos, and what other programs would see in them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from adair_core.inference.video_frames import BT601, BT709, ColorCoding, from_rgb, to_rgb

WIDTH, HEIGHT = 64, 48
STEPS = (0, 40, 73, 120, 121, 300, 420, 421, 500, 640)
"""Milliseconds at which the frames of a clip with variable rate begin."""


def level(index: int) -> int:
    return 40 + 16 * (index % 12)


def make_clip(
    path: Path,
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    steps: tuple[int, ...] = STEPS,
    sound: str | None = None,
    subtitles: bool = False,
    rotation: int = 0,
    mirrored: bool = False,
    colors: dict[str, int] | None = None,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    options: dict[str, str] | None = None,
) -> Path:
    """Write a clip whose frames get lighter from one to the next."""
    with av.open(str(path), "w") as file:
        file.metadata["title"] = "A barn"
        video: Any = file.add_stream(codec, rate=25, options=options or {"crf": "10"} if "lib" in codec else {})
        video.width, video.height = size
        video.pix_fmt = pixel_format
        video.codec_context.time_base = Fraction(1, 1000)
        for name, value in (colors or {}).items():
            setattr(video.codec_context, name, value)
        if rotation or mirrored:
            video.set_display_rotation(rotation, hflip=mirrored)
        audio: Any = file.add_stream(sound, rate=48000) if sound else None
        if audio:
            audio.metadata["language"] = "fra"
        texts: Any = file.add_mux_stream("subrip", time_base=Fraction(1, 1000)) if subtitles else None
        for index, step in enumerate(steps):
            gray = np.full((size[1], size[0], 3), level(index))
            weights = BT709 if (colors or {}).get("colorspace") == 1 else BT601
            coding = ColorCoding(weights, (colors or {}).get("color_range") == 2)
            frame = from_rgb(gray.astype(np.float32) / 255, pixel_format, coding)
            frame.pts, frame.time_base = step, Fraction(1, 1000)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        if audio:
            wave = (np.sin(np.arange(48000 * steps[-1] // 1000) / 20) * 0.3).astype(np.float32)
            sound_frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
            sound_frame.sample_rate, sound_frame.pts = 48000, 0
            file.mux(audio.encode(sound_frame))
            file.mux(audio.encode(None))
        if texts:
            packet = av.Packet(b"Good evening.")
            packet.stream, packet.pts, packet.dts, packet.duration = texts, 100, 100, 200
            packet.time_base = Fraction(1, 1000)
            file.mux(packet)
    return path


def frames_of(path: Path) -> tuple[list[float], list[float]]:
    """Times in seconds, and mean levels, in the order in which they are shown."""
    times, levels = [], []
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            times.append(float(frame.pts * frame.time_base))
            levels.append(float(to_rgb(frame, ColorCoding.of(frame)).mean()) * 255)
    return times, levels


def packets_of(path: Path, kind: str) -> list[tuple[float | None, bytes]]:
    with av.open(str(path)) as file:
        (stream,) = [stream for stream in file.streams if stream.type == kind]
        return [
            (None if packet.pts is None else float(packet.pts * packet.time_base), bytes(packet))
            for packet in file.demux(stream)
            if packet.dts is not None
        ]
