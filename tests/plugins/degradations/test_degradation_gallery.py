"""docs/degradations.md and its pictures show the degradations as they are."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

TOOL = Path(__file__).parents[3] / "tools" / "degradation_gallery.py"


@pytest.fixture(scope="module")
def gallery() -> ModuleType:
    spec = importlib.util.spec_from_file_location("degradation_gallery", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


def test_page_is_up_to_date(gallery: ModuleType):
    text = gallery.PAGE.read_text()
    _, marker, generated = text.partition(gallery.MARKER)
    assert marker + generated == gallery.page(), "run tools/degradation_gallery.py"


def test_every_degradation_has_an_exhibit_equation_and_source(gallery: ModuleType):
    assert {module.SPEC.name for module in gallery.MODULES} == set(gallery.EXHIBITS)
    for section in gallery.page().split("\n## ")[1:]:
        name = section.splitlines()[0]
        assert "Source: " in section, name
        assert "```text" in section or name == "one-of", name


def test_pictures_are_up_to_date_and_small(gallery: ModuleType):
    total = 0
    for name, exhibit in gallery.EXHIBITS.items():
        file = gallery.PICTURES / f"{name}.webp"
        total += file.stat().st_size
        # Means of 4 x 4 pixels, because WebP loses some of the noise.
        stored, fresh = (
            np.asarray(image.convert("RGB").reduce(4)).astype(float)
            for image in (Image.open(file), gallery.picture(name, exhibit))
        )
        assert stored.shape == fresh.shape
        assert np.abs(stored - fresh).mean() < 3, f"{name}: run tools/degradation_gallery.py"
    assert total < 600_000
