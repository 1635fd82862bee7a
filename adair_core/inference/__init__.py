"""Restoring image files: what goes in and out, whatever the image."""

from __future__ import annotations

from adair_core.inference.enlarging import enlarged
from adair_core.inference.files import FileResult, restore_files
from adair_core.inference.outputs import Job, left_out, plan
from adair_core.inference.settings import Settings
from adair_core.inference.video_coding import VideoCoding

__all__ = ["FileResult", "Job", "Settings", "VideoCoding", "enlarged", "left_out", "plan", "restore_files"]
