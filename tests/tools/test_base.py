"""The zoo's base: trained from its recipe, stored in half precision, published under versions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from adaptation import base
from adaptation.base import make_base, publish_base, trainings
from adaptation.runs import Place, weights_of
from safetensors.torch import load_file

from adair_core.model import load_base

QUICK = {"batch_size": 2, "patch_size": 16, "stages": (), "warmup": 0, "validate_every": 0}


def quick_phases(**changes: object) -> tuple[base.Phase, ...]:
    """The base's phases with 2, 3 and 4 steps."""
    return tuple(
        replace(phase, settings={**phase.settings, **QUICK, "steps": 2 + number, **changes})
        for number, phase in enumerate(base.PHASES)
    )


def test_the_base_from_its_trainings_to_the_package(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(base, "PHASES", quick_phases())
    package = tmp_path / "package"
    package.mkdir()
    (package / "index.json").write_text("[]")
    made = make_base(place)
    runs = trainings(place)
    stored, trained = load_file(made), load_file(weights_of(runs[-1], place))
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert all(torch.equal(stored[name], trained[name].half()) for name in trained)
    infos = [load_base(weights_of(run, place))[1] for run in runs]
    assert [info.recipe["settings"]["steps"] for info in infos] == [2, 3, 4]
    assert [info.recipe["base_fingerprint"] for info in infos] == [None, infos[0].fingerprint, infos[1].fingerprint]
    for phase, info in zip(base.PHASES, infos, strict=True):
        drawn = [each["name"] for each in info.recipe["degradation"]["options"]["degradations"]]
        assert drawn == [each["name"] for each in phase.degradations]
    info = load_base(made)[1]
    assert info.recipe["base"] == "RUNS/restormer-tiny/noise/base.safetensors"

    assert publish_base(made, package) == "restormer-tiny@1"
    assert publish_base(made, package) is None
    (spec,) = json.loads((package / "index.json").read_text())
    assert (spec["kind"], spec["version"]) == ("base", 1)
    assert spec["summary"] == (
        "Restormer of 1.35 M parameters, pre-trained for 2 steps on a mixture of 11 synthetic degradations, "
        "then 7 steps on Gaussian noise alone"
    )
    assert load_base(package / spec["path"])[1].fingerprint == info.fingerprint
    monkeypatch.setattr(base, "PHASES", quick_phases(seed=12))
    other = make_base(Place(place.data, tmp_path / "again", 1))
    assert publish_base(other, package) == "restormer-tiny@2"
