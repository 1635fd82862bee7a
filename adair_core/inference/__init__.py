"""Restoring image files: what goes in and out, whatever the image."""

from __future__ import annotations

from adair_core.inference.enlarging import enlarged
from adair_core.inference.files import FileResult, restore_files
from adair_core.inference.outputs import Job, plan

__all__ = ["FileResult", "Job", "enlarged", "plan", "restore_files"]
