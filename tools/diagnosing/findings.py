"""What can be found in an image, each with its own degradation."""

from __future__ import annotations

from dataclasses import dataclass

from adair_core.diagnosis import CLEAN, Finding
from adair_core.specs import Choice


@dataclass(frozen=True)
class Wrong:
    """A finding and what shows it.

    Attributes:
        finding: what is told.
        degradation: synthetic examples.
        pairs: folder below ``train_paired/`` of real ones, or of another maker's.
    """

    finding: Finding
    degradation: Choice
    pairs: str | None = None


WRONG = (
    Wrong(Finding("noise", "denoise"), Choice(name="gaussian-noise", options={"sigma": [3, 55]})),
    Wrong(Finding("camera noise", "real-denoise"), Choice(name="camera-noise", options={"quality": [85, 100]})),
    Wrong(
        Finding("blur", "deblur", {"kind": "gaussian"}),
        Choice(name="gaussian-blur", options={"sigma": [1.2, 4], "ratio": [0.8, 1.0]}),
    ),
    Wrong(
        Finding("motion blur", "deblur", {"kind": "motion"}),
        Choice(name="motion-blur", options={"length": [6, 24], "shake": [0, 0.8]}),
    ),
    Wrong(
        Finding("rain", "derain"),
        Choice(
            name="rain",
            options={
                "layers": [1, 3],
                "length": [15, 50],
                "width": [0.8, 3],
                "tilt": [-40, 40],
                "spread": [0, 8],
                "coverage": [0.02, 0.12],
                "brightness": [0.3, 0.8],
            },
        ),
        "Rain100L",
    ),
    Wrong(
        Finding("haze", "dehaze"),
        Choice(
            name="haze",
            options={
                "beta": [0.6, 1.8],
                "airlight": [0.7, 1],
                "tint": [0, 0.04],
                "distance": [0.3, 0.8],
                "slope": [0, 0.6],
                "relief": [0, 0.2],
            },
        ),
        "SOTS_indoor",
    ),
    Wrong(Finding("JPEG artefacts", "dejpeg"), Choice(name="jpeg", options={"quality": [8, 80]})),
    Wrong(
        Finding("low light", "low-light"),
        Choice(
            name="low-light",
            options={"exposure": [-5, -2], "gamma": [1, 1.4], "photons": [1000, 20000], "read": [0.02, 0.3]},
        ),
        "LOL",
    ),
)
FINDINGS = (CLEAN, *(wrong.finding for wrong in WRONG))
CAMERA = next(index for index, wrong in enumerate(WRONG) if wrong.finding.task == "real-denoise")
