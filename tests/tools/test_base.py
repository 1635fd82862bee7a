"""The zoo's base: trained from its recipe, stored in half precision, published under versions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from adaptation import base
from adaptation.base import make_base, publish_base, training
from adaptation.runs import Place, weights_of
from safetensors.torch import load_file

from adair_core.model import load_base


def test_the_base_from_its_training_to_the_package(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    quick = {"steps": 2, "batch_size": 2, "patch_size": 16, "stages": (), "warmup": 0, "validate_every": 0}
    monkeypatch.setattr(base, "SETTINGS", base.SETTINGS.model_copy(update=quick))
    package = tmp_path / "package"
    package.mkdir()
    (package / "index.json").write_text("[]")
    made = make_base(place)
    stored, trained = load_file(made), load_file(weights_of(training(place), place))
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert all(torch.equal(stored[name], trained[name].half()) for name in trained)
    info = load_base(made)[1]
    drawn = [each["name"] for each in info.recipe["degradation"]["options"]["degradations"]]
    assert drawn == [each["name"] for each in base.MIXTURE]
    assert (info.recipe["base"], info.recipe["settings"]["steps"]) == ("restormer-tiny@5", 2)

    assert publish_base(made, package) == "restormer-tiny@1"
    assert publish_base(made, package) is None
    (spec,) = json.loads((package / "index.json").read_text())
    assert (spec["kind"], spec["version"]) == ("base", 1)
    assert spec["summary"].startswith("Restormer of 1.35 M parameters, pre-trained for 2 steps on gaussian noise")
    assert spec["summary"].endswith(", from restormer-tiny@5")
    assert load_base(package / spec["path"])[1].fingerprint == info.fingerprint
    monkeypatch.setattr(base, "SETTINGS", base.SETTINGS.model_copy(update={"seed": 12}))
    other = make_base(Place(place.data, tmp_path / "again", 1))
    assert publish_base(other, package) == "restormer-tiny@2"
