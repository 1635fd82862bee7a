"""What is wrong with an image: `Diagnoser` tells the task that would help, and when none would."""

from __future__ import annotations

from adair_core.diagnosis.diagnoser import Diagnoser
from adair_core.diagnosis.diagnosis import CLEAN, Diagnosis, Finding, Verdict
from adair_core.diagnosis.network import DiagnosisNetwork, DiagnosisNetworkConfig

__all__ = ["CLEAN", "Diagnoser", "Diagnosis", "DiagnosisNetwork", "DiagnosisNetworkConfig", "Finding", "Verdict"]
