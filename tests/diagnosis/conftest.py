"""A network that nobody trained, with findings of its own."""

from __future__ import annotations

import pytest
import torch

from adair_core.diagnosis import CLEAN, Diagnoser, DiagnosisNetwork, DiagnosisNetworkConfig, Finding
from adair_core.diagnosis.diagnoser import Familiar

FINDINGS = (CLEAN, Finding("noise", "denoise"), Finding("motion blur", "deblur", {"kind": "motion"}))


@pytest.fixture
def diagnoser() -> Diagnoser:
    torch.manual_seed(0)
    config = DiagnosisNetworkConfig(widths=(4, 6), hidden=5)
    familiar = Familiar(torch.zeros(3, 5), torch.eye(5), torch.full((3,), 100.0))
    return Diagnoser(config, DiagnosisNetwork(config, 3), FINDINGS, familiar, temperature=1.5)
