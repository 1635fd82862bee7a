"""A tiny base, a few small images, and an empty folder to work in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adair_core.data.images import ImageFile, write_image
from adair_core.model import AdapterCard, load, save_base, untrained

SHAPE = {"dim": 4, "blocks": (1, 1, 1, 1), "heads": (1, 1, 1, 1), "refinement": 1}


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    model = untrained("restormer", **SHAPE)
    path = tmp_path_factory.mktemp("base") / "tiny.safetensors"
    save_base(path, model.backbone, backbone=model.info.backbone)
    return path


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for index in range(3):
        ramp = np.linspace(0, 200, 48)[None, :, None] * np.ones((40, 1, 3))
        pixels = (ramp + generator.uniform(0, 50, (40, 48, 3))).astype(np.uint8)
        write_image(folder / f"photo{index}.png", ImageFile(pixels=pixels))
    return folder


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def adapter(base, tmp_path_factory) -> Path:
    """A trained adapter's folder, of an adapter that does something."""
    model = load(base)
    model.add_adapter("denoise", "lora", {"rank": 2})
    for name, parameter in model.adapter_parameters("denoise").items():
        if "lora_B" in name:
            parameter.data.fill_(0.05)
    folder = tmp_path_factory.mktemp("adapters") / "denoise"
    model.save_adapter("denoise", folder, card=AdapterCard(task="denoise"))
    return folder
