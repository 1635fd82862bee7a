"""Which files are videos, told by their names, and what ffmpeg calls their containers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

VIDEO_SUFFIXES: Mapping[str, str] = MappingProxyType(
    {
        ".mp4": "mp4",
        ".m4v": "mp4",
        ".mov": "mov",
        ".mkv": "matroska",
        ".webm": "webm",
        ".avi": "avi",
        ".ts": "mpegts",
        ".mts": "mpegts",
    }
)
"""File name endings, in lower case, of videos that are read and written."""


def is_video(path: Path) -> bool:
    """Tell by the name."""
    return path.suffix.lower() in VIDEO_SUFFIXES
