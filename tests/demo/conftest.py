"""A tiny base, two adapters that nobody trained, a zoo with them and a diagnoser, and photos to restore."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from demo_photos import gradient, sent_png
from made_up_zoo import made_up_zoo, write_zoo

from adair_core.data.images import ImageFile, write_image
from adair_core.demo import Limits, Restorer, Session, offer_of
from adair_core.diagnosis import CLEAN, Diagnoser, DiagnosisNetwork, DiagnosisNetworkConfig, Finding
from adair_core.diagnosis.diagnoser import Familiar
from adair_core.model import AdapterCard, load, save_base, untrained

SHAPE = {"dim": 4, "blocks": (1, 1, 1, 1), "heads": (1, 1, 1, 1), "refinement": 1}


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """With ``tiny.safetensors``, ``denoise/``, ``enlarge/`` and ``diagnoser.safetensors``."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    model = untrained("restormer", **SHAPE)
    save_base(folder / "tiny.safetensors", model.backbone, backbone=model.info.backbone)
    for name, value, card in (
        ("denoise", 0.1, AdapterCard(task="denoise")),
        ("enlarge", 0.05, AdapterCard(task="super-resolve", recipe={"task": {"options": {"scale": 2}}})),
    ):
        made = load(folder / "tiny.safetensors")
        made.add_adapter(name, "lora", {"rank": 2})
        for parameter_name, parameter in made.adapter_parameters(name).items():
            if "lora_B" in parameter_name:
                parameter.data.fill_(value)
        made.save_adapter(name, folder / name, card=card)
    config = DiagnosisNetworkConfig(widths=(4, 6), hidden=5)
    network = DiagnosisNetwork(config, 2)
    network.scores.weight.data.zero_()
    network.scores.bias.data = torch.tensor([0.0, 3.0])  # whatever it sees, it is noise
    familiar = Familiar(torch.zeros(2, 5), torch.eye(5), torch.full((2,), 100.0))
    Diagnoser(config, network, (CLEAN, Finding("noise", "denoise")), familiar).save(
        folder / "diagnoser.safetensors", recipe={}
    )
    return folder


@pytest.fixture
def zoo(folder, tmp_path) -> Iterator[None]:
    with made_up_zoo(folder, tmp_path / "site"):
        yield


@pytest.fixture
def restorer(folder) -> Restorer:
    """Without a diagnoser."""
    offers = [offer_of(str(folder / name)) for name in ("denoise", "enlarge")]
    return Restorer(load(folder / "tiny.safetensors"), offers)


@dataclass(frozen=True)
class Served:
    """``adair demo``, running.

    Attributes:
        url: of the page.
        root: folder of all its files.
        hold: restorations wait as long as this file exists, and break if it says so.
        running: comes to exist when one begins.
    """

    url: str
    root: Path
    hold: Path
    running: Path


@pytest.fixture(scope="module")
def served(folder, tmp_path_factory) -> Iterator[Served]:
    """The page, with a zoo that has a diagnoser and an adapter for noise, and with an adapter for enlargement."""
    pytest.importorskip("gradio")
    place = tmp_path_factory.mktemp("served")
    write_zoo(folder, place / "site")
    (place / "temporary").mkdir()
    (place / "temporary" / "secret.png").write_bytes(sent_png())  # not the page's
    hold, running = place / "hold", place / "running"
    options = ["--adapter", folder / "enlarge", "--base", folder / "tiny.safetensors", "--port", "0", "--threads", "1"]
    limits = ["--max-megapixels", "0.02", "--max-megabytes", "1", "--max-waiting", "2"]
    process = subprocess.Popen(
        [
            sys.executable,
            Path(__file__).parent / "held_program.py",
            place / "site",
            hold,
            running,
            "demo",
            *options,
            *limits,
        ],
        stderr=subprocess.PIPE,
        text=True,
        cwd=place,
        env={**os.environ, "TMPDIR": str(place / "temporary"), "OMP_NUM_THREADS": "1"},
    )
    try:
        said = ""
        while not (found := re.search(r"^(http://\S+) ", said, re.M)):
            line = process.stderr.readline()
            assert line, f"it ended: {said}"
            said += line
        assert "offering auto, super-resolve, denoise with" in said
        (root,) = (place / "temporary").glob("adair-demo-*")
        yield Served(f"{found[1]}/", root, hold, running)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert said.count("Traceback") == len(re.findall("^RuntimeError: made up to break$", said, re.M)), said
        assert list((place / "temporary").iterdir()) == [place / "temporary" / "secret.png"]
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def limits() -> Limits:
    return Limits(megapixels=0.01, upload_megabytes=1)


@pytest.fixture
def session(tmp_path, limits) -> Session:
    return Session(tmp_path / "private", tmp_path / "served", limits)


@pytest.fixture
def photo(tmp_path) -> Path:
    """8 bit RGB."""
    path = tmp_path / "sent" / "photo.png"
    path.parent.mkdir(exist_ok=True)
    write_image(path, ImageFile(pixels=gradient(np.uint8)))
    return path
