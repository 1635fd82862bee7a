from __future__ import annotations

from pathlib import Path

import pytest

from adair_core.training import figures


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the drawing, most of the time of a tiny run."""

    def save(figure: object, path: Path) -> None:
        path.write_bytes(b"a picture")

    monkeypatch.setattr(figures, "_save", save)
