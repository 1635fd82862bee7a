"""What is chosen about how videos are written, in ffmpeg's terms."""

from __future__ import annotations

from dataclasses import dataclass

from adair_core.data.image_file import Subsampling
from adair_core.errors import UsageError, expected


@dataclass(frozen=True, kw_only=True)
class VideoCoding:
    """How restored frames are encoded.

    Attributes:
        codec: ffmpeg's name of an encoder, such as ``libx265``; None = one for the codec that the video has.
        crf: constant rate factor, lower is better; None = 17, which is hard to tell from the frames themselves, for
            encoders that have it.
        subsampling: of the colours; None = the video's, or 4:4:4 for RGB where the encoder takes YUV alone.
    """

    codec: str | None = None
    crf: float | None = None
    subsampling: Subsampling | None = None

    def __post_init__(self) -> None:
        if self.crf is not None and not 0 <= self.crf <= 63:
            raise UsageError(expected("crf", expected="0 to 63", got=self.crf))
