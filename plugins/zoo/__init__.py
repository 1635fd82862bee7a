"""The weights that come with adair, listed in ``index.json``.

A name with its version, ``restormer-tiny@1``, never changes meaning: a better base is a new version beside the old
one, so that adapters trained on the old one keep working.
"""

from __future__ import annotations

import json
from pathlib import Path

from adair_core import WeightsSpec, hookimpl

FOLDER = Path(__file__).parent


@hookimpl
def adair_weights() -> list[WeightsSpec]:
    """Offer the weights of ``index.json``."""
    entries = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
    return [WeightsSpec(**{**entry, "path": FOLDER / entry["path"]}) for entry in entries]
