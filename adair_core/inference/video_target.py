"""The video that is written: one stream of new frames, and everything else copied packet by packet."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from adair_core.data.image_file import Subsampling
from adair_core.errors import DataError, expected
from adair_core.inference.file_result import FULL as DISK_FULL
from adair_core.inference.video_coding import VideoCoding
from adair_core.inference.video_frames import FULL, ColorCoding, bits_of, family_of

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer, OutputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

CRF = "17"
ENCODERS: Mapping[str, str] = {
    "h264": "libx264",
    "hevc": "libx265",
    "vp8": "libvpx",
    "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
    "ffv1": "ffv1",
    "prores": "prores_ks",
    "dnxhd": "dnxhd",
    "rawvideo": "rawvideo",
}
"""A video's codec -> the encoder for it. Older codecs become H.264, or VP9 in WebM."""

CHROMA: Mapping[Subsampling, tuple[int, int]] = {"4:4:4": (4, 4), "4:2:2": (2, 4), "4:2:0": (2, 2)}
"""Samples of colour in four pixels of a row and of a column."""

SELDOM_PLAYED = ("libx264", "libx265")
"""Encoders whose 4:4:4 many players refuse: H.264 has it in the profile High 4:4:4 Predictive alone."""

WITH_CRF = ("libx264", "libx264rgb", "libx265", "libvpx", "libvpx-vp9", "libsvtav1", "libaom-av1", "librav1e")
LIMITED, MATRIX_OF_RGB = 1, 0
"""The numbers of the limited range, and of RGB among those of matrices."""

ATTACHED_PICTURE = 0x400
"""ffmpeg's flag of a stream that holds a cover."""

STALE = ("encoder", "major_brand", "minor_version", "compatible_brands", "DURATION")
"""Metadata about the file that was read, not about the video."""


def encoder_for(codec: str, container: str, coding: VideoCoding) -> str:
    """Choose an encoder by what is asked for, or by the codec that the video has.

    Raises:
        DataError: this ffmpeg has no such encoder, or it has no rate factor and one is asked for.
    """
    import av

    fallback = "libvpx-vp9" if container == "webm" else "libx264"
    name = coding.codec or ENCODERS.get(codec, fallback)
    try:
        av.Codec(name, "w")
    except ValueError as error:  # PyAV's UnknownCodecError
        hint = "'ffmpeg -encoders' lists names, such as libx264, libx265, libvpx-vp9, libsvtav1, ffv1, prores_ks"
        raise DataError(expected("codec", expected="an encoder that PyAV has", got=repr(name), hint=hint)) from error
    if coding.crf is not None and name not in WITH_CRF:
        raise DataError(f"crf: the encoder {name} has no constant rate factor; leave --crf out")
    return name


def pixel_format_for(encoder: str, source: str, subsampling: Subsampling | None = None) -> str:
    """Choose the format of pixels: the source's if the encoder takes it, else the nearest that loses nothing.

    RGB stays RGB, gray gray and YUV YUV where that loses no more.

    Args:
        encoder: its name.
        source: name of the format that the video has.
        subsampling: of the colours, which are YUV then; None = that of the source.

    Raises:
        DataError: the encoder does not take such colours.
    """
    import av

    source = source.replace("yuvj", "yuv")  # full range is said beside it
    formats = av.Codec(encoder, "w").video_formats or []
    names = [entry.name for entry in formats]
    family, wanted = family_of(av.VideoFormat(source)), _layout(source)
    if subsampling is not None:
        chosen, family, wanted = CHROMA[subsampling], "yuv", (wanted[0], *CHROMA[subsampling])
        names = [name for name in names if family_of(av.VideoFormat(name)) == "yuv" and _layout(name)[1:] == chosen]
        if not names:
            hint = "name another with --codec, such as libx264"
            got = f"{encoder}, which does not take that"
            raise DataError(expected("subsampling", expected=f"an encoder of {subsampling}", got=got, hint=hint))
    if source in names or not names:
        return source

    def distance(name: str) -> tuple[int, bool, int, int]:
        layout = _layout(name)
        lost = sum(max(0, needs - has) for needs, has in zip(wanted, layout, strict=True))
        return lost, family_of(av.VideoFormat(name)) != family, sum(layout), names.index(name)

    nearest: str = min(names, key=distance)
    return nearest


def _change_of_colors(encoder: str, source: str, pixel_format: str) -> list[str]:
    """Say that RGB becomes YUV, and what to do where that is hard to play."""
    import av

    if family_of(av.VideoFormat(source)) != "rgb" or family_of(av.VideoFormat(pixel_format)) != "yuv":
        return []
    note = f"RGB became YUV ({pixel_format})"
    if encoder in SELDOM_PLAYED and _layout(pixel_format)[1:] == CHROMA["4:4:4"]:
        note += ", with all of its colours, which not every player takes; --subsampling 4:2:0 is for these"
    return [note]


def _layout(name: str) -> tuple[int, int, int]:
    """Bits of a value, and samples of colour in four pixels of a row and of a column."""
    import av

    layout = av.VideoFormat(name, 16, 16)
    family = family_of(layout)
    if family == "rgb":
        return bits_of(layout), 4, 4
    if family == "gray":
        return bits_of(layout), 0, 0
    return bits_of(layout), layout.chroma_width() // 4, layout.chroma_height() // 4


class VideoTarget:
    """A file that is being written.

    Args:
        reader: the video that is read.
        writer: the file; nothing is written to it yet.
        video: the stream whose frames are restored.
        first: its first frame.
        size: width and height of the restored frames.
        coding: what is chosen about the encoding.

    Attributes:
        notes: what could not be kept, for people.
        pixel_format: of the frames to be encoded.

    Raises:
        DataError: the encoder cannot be had.
    """

    def __init__(
        self,
        reader: InputContainer,
        writer: OutputContainer,
        *,
        video: VideoStream,
        first: VideoFrame,
        size: tuple[int, int],
        coding: VideoCoding,
    ) -> None:
        import av

        self.notes: list[str] = []
        self._writer, self._video = writer, video
        self._targets: dict[int, Stream] = {}
        self._last: int | None = None
        self._step = 1
        # AVI counts frames and has no times: what is taken for them is out of order where frames are stored so.
        self._counts = reader.format.name == "avi"
        writer.metadata.update(_kept(reader.metadata))
        for stream in reader.streams:
            if stream.index == video.index:
                self._stream = self._add_encoder(first, size, coding)
            elif stream.type in ("video", "audio", "subtitle", "attachment"):
                self._copy(stream)
            elif "timecode" not in stream.metadata:  # which the writer makes anew
                self.notes.append(f"without the data in stream {stream.index}")
        if hasattr(writer, "set_chapters") and reader.chapters():
            writer.set_chapters(reader.chapters())
        try:
            writer.start_encoding()
        except av.error.FFmpegError as error:
            if error.errno in DISK_FULL:
                raise
            what = f"{size[0]} x {size[1]} frames of {self.pixel_format} by {self._stream.codec_context.name}"
            reason = error.strerror or str(error)
            raise DataError(f"codec: {writer.format.name} files cannot hold {what}: {reason}") from error

    def encode(self, frame: VideoFrame, source: VideoFrame) -> None:
        """Encode a frame for the time of the frame that it was made of."""
        base = source.time_base or self._video.time_base or Fraction(1, 1000)
        pts = source.dts if self._counts else source.pts
        if pts is None or (self._last is not None and pts <= self._last):
            pts = 0 if self._last is None else self._last + self._step
        rate = self._video.average_rate or Fraction(25)
        self._step = source.duration or max(1, round(1 / (rate * base)) if self._last is None else pts - self._last)
        self._last = pts
        frame.pts, frame.time_base = pts, base
        if hasattr(frame, "duration"):
            frame.duration = self._step
        self._writer.mux(self._stream.encode(frame))

    def copy(self, packet: Packet) -> None:
        """Write a packet of another stream as it is."""
        target = self._targets.get(packet.stream.index)
        if target is not None:
            packet.stream = target
            self._writer.mux(packet)

    def finish(self) -> None:
        """Write the frames that the encoder still holds."""
        self._writer.mux(self._stream.encode(None))

    def _add_encoder(self, first: VideoFrame, size: tuple[int, int], coding: VideoCoding) -> Any:
        video = self._video
        had = video.codec_context.codec.canonical_name
        name = encoder_for(had, self._writer.format.name, coding)
        if coding.codec is None and ENCODERS.get(had) != name:
            self.notes.append(f"encoded with {name} in place of {had}")
        self.pixel_format = pixel_format_for(name, first.format.name, coding.subsampling)
        self.notes += _change_of_colors(name, first.format.name, self.pixel_format)
        options = {"crf": CRF if coding.crf is None else f"{coding.crf:g}"} if name in WITH_CRF else {}
        if name == "libx265":
            options["x265-params"] = "log-level=error"
        try:
            stream: Any = self._writer.add_stream(name, rate=video.average_rate or video.guessed_rate, options=options)
        except ValueError as error:
            raise DataError(f"codec: {self._writer.format.name} files cannot hold what {name} makes") from error
        stream.width, stream.height = size
        stream.pix_fmt = self.pixel_format
        context, source = stream.codec_context, video.codec_context
        context.time_base = video.time_base or Fraction(1, 1000)
        stream.time_base = context.time_base
        for field in ("color_range", "color_primaries", "color_trc", "colorspace"):
            setattr(context, field, getattr(source, field))
        if first.format.name.startswith("yuvj"):
            context.color_range = FULL
        family = family_of(stream.format)
        if family != family_of(first.format):  # what the source says of its numbers is not true of these
            context.color_range = LIMITED if family == "yuv" else FULL
            context.colorspace = MATRIX_OF_RGB if family == "rgb" else ColorCoding.of(first).matrix
        if self._writer.format.name == "avi":
            context.max_b_frames = 0
        if video.sample_aspect_ratio:
            context.sample_aspect_ratio = video.sample_aspect_ratio
        if self._writer.format.name == "mp4" and name == "libx265":
            context.codec_tag = "hvc1"  # without it Apple's players refuse HEVC
        matrix = _display_matrix(first)
        if matrix is not None:
            if not hasattr(stream, "set_display_matrix"):
                raise DataError("a turned video: this PyAV cannot say so in the result; install PyAV 18 or newer")
            stream.set_display_matrix(matrix)
        if first.interlaced_frame:
            self.notes.append("interlaced frames were restored as whole ones")
        stream.metadata.update(_kept(video.metadata))
        return stream

    def _copy(self, stream: Stream) -> None:
        try:
            target: Any = self._writer.add_stream_from_template(stream, opaque=True)
        except ValueError:
            kind = f"{stream.type} stream {stream.index} ({stream.codec_context.name})"
            self.notes.append(f"without {kind}, which {self._writer.format.name} files cannot hold")
            return
        target.metadata.update(_kept(stream.metadata))
        target.disposition = stream.disposition.value
        self._targets[stream.index] = target


def _display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    """How players turn and mirror frames, which `VideoFrame.rotation` tells only the half of."""
    from av.sidedata.sidedata import Type

    found = frame.side_data.get(Type.DISPLAYMATRIX)
    return None if found is None else struct.unpack("=9i", bytes(found))


def _kept(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in STALE and not key.startswith("_STATISTICS")}


def video_streams(reader: InputContainer) -> list[VideoStream]:
    """The streams of moving pictures; cover pictures are none."""
    return [stream for stream in reader.streams.video if not stream.disposition.value & ATTACHED_PICTURE]
