"""What was found out about an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["wrong", "clean", "unknown"]


@dataclass(frozen=True)
class Finding:
    """Something that a diagnosis tells apart.

    Attributes:
        name: for people.
        task: the task that helps; ``None`` if nothing has to be done.
        options: of the task.
    """

    name: str
    task: str | None
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)


CLEAN = Finding("clean", None)


@dataclass(frozen=True)
class Diagnosis:
    """What was found out about an image.

    Attributes:
        verdict: ``wrong``: `finding` says what; ``clean``: it is best left alone; ``unknown``: it is unlike everything
            that the network has learned, or like two things at once.
        finding: the likeliest, whatever the verdict.
        confidence: its probability, from 0 to 1.
        psnr: dB, which the image is expected to have against its undamaged original: what noise, blur and haze have in
            common. 40 and more is nothing that anybody sees.
        scores: finding's name -> probability.
        strangeness: distance from what the network has learned; from 1 on the verdict is ``unknown``.
    """

    verdict: Verdict
    finding: Finding
    confidence: float
    psnr: float
    scores: Mapping[str, float]
    strangeness: float

    @property
    def severity(self) -> str:
        """``slight`` (30 dB and more), ``moderate``, or ``heavy`` (below 22 dB).

        The bounds are those of Gaussian noise of sigma 8 and 20.
        """
        return "slight" if self.psnr >= 30 else "moderate" if self.psnr >= 22 else "heavy"

    def __str__(self) -> str:
        if self.verdict == "wrong":
            return f"{self.severity} {self.finding.name} ({self.confidence:.0%})"
        if self.verdict == "clean":
            return f"clean ({self.confidence:.0%})"
        return f"unknown; most like {self.finding.name} ({self.confidence:.0%})"
