"""Restoring image files: what goes in and out, whatever the image."""

from __future__ import annotations

from adair_core.inference.enlarging import enlarged
from adair_core.inference.file_result import FileResult
from adair_core.inference.files import restore_files
from adair_core.inference.outputs import Job, left_out, plan
from adair_core.inference.sequence import restore_sequence
from adair_core.inference.settings import Settings
from adair_core.inference.step import Step
from adair_core.inference.video_coding import VideoCoding

__all__ = [
    "FileResult",
    "Job",
    "Settings",
    "Step",
    "VideoCoding",
    "enlarged",
    "left_out",
    "plan",
    "restore_files",
    "restore_sequence",
]
