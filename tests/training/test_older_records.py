"""Adapters, bases and runs that were written before an option existed: it has its default."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_runs import SMALLEST_RESTORMER, adapter_recipe, pretrain_recipe, tiny_settings, write_photos

import adair_core as adair
from adair_core.errors import Interrupted, RunFolderError, WeightsError
from adair_core.model import resolve_backbone, save_base
from adair_core.model.load import untrained
from adair_core.specs import Choice
from adair_core.training import AdapterRecipe, Callback, pretrain, train
from adair_core.training.environment import EnvironmentWarning

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    network = untrained("restormer", seed=3, **SMALLEST_RESTORMER).backbone
    path = tmp_path / "base.safetensors"
    save_base(path, network, backbone=resolve_backbone("restormer", **SMALLEST_RESTORMER))
    return path


def without(file: Path, *names: str) -> None:
    """Take options out of the metadata of a weights file."""
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
    options = json.loads(metadata["config"])
    for name in names:
        del options[name]
    save_file(tensors, file, {**metadata, "config": json.dumps(options)})


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    """One of a type with options, of which one has come since."""
    model = adair.load(base)
    model.add_adapter("a", "bottleneck", {"width": 3})
    for parameter in model.adapter_parameters("a").values():
        parameter.data.add_(0.01)
    folder = tmp_path / "older"
    model.save_adapter("a", folder)
    without(folder / "adapter_model.safetensors", "blocks_only")
    config = json.loads((folder / "adapter_config.json").read_text())
    del config["config"]["blocks_only"]
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_an_adapter_is_loaded_and_two_of_another_kind_are_still_refused(base: Path, adapter: Path) -> None:
    model = adair.load(base)
    model.load_adapter(adapter, name="a")
    assert model.adapter("a").choice.options["blocks_only"] is False
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["config"]["width"] = 4
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="describes another adapter"):
        adair.load(base).load_adapter(adapter)


def test_a_training_starts_from_an_adapter(base: Path, adapter: Path, tmp_path: Path) -> None:
    recipe = adapter_recipe(base, write_photos(tmp_path / "photos"), steps=1, validate_every=0)
    options = {"width": 3}
    recipe = recipe.model_copy(
        update={"adapter": Choice(name="bottleneck", options=options), "start_from": str(adapter)}
    )
    result = train(recipe, tmp_path / "run", progress=False)
    assert json.loads((result.folder / "recipe.json").read_text())["adapter"]["options"]["blocks_only"] is False


def test_a_pretraining_goes_on_from_a_base(base: Path, tmp_path: Path) -> None:
    without(base, "in_channels")
    assert adair.load(base).info.backbone.options["in_channels"] == 3
    recipe = pretrain_recipe(write_photos(tmp_path / "photos"), steps=1, validate_every=0)
    result = pretrain(recipe.model_copy(update={"base": str(base)}), tmp_path / "run", progress=False)
    assert result.step == 1


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, run: Any, record: Any) -> None:
        if record.step == self.step:
            raise Interrupted("stopped")


@pytest.fixture
def recipe(base: Path, tmp_path: Path) -> AdapterRecipe:
    """That of a run in ``run``, which was stopped after three steps."""
    recipe = adapter_recipe(base, write_photos(tmp_path / "photos"), checkpoint_every=2, validate_every=0)
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "run", progress=False, callbacks=[StopAt(3)])
    return recipe


def test_a_run_goes_on(recipe: AdapterRecipe, tmp_path: Path) -> None:
    path = tmp_path / "run" / "recipe.json"
    older = json.loads(path.read_text())
    del older["settings"]["flat_share"], older["adapter"]["options"]["blocks_only"]
    path.write_text(json.dumps(older))
    other = recipe.model_copy(update={"settings": tiny_settings(checkpoint_every=2, validate_every=0, flat_share=0.5)})
    with pytest.raises(RunFolderError, match=r"settings\.flat_share: 0\.0 before, 0\.5 now"):
        train(other, tmp_path / "run", progress=False, resume=True)
    assert train(recipe, tmp_path / "run", progress=False, resume=True).step == 12


def test_what_was_otherwise_in_earlier_sittings_is_told_and_kept(recipe: AdapterRecipe, tmp_path: Path) -> None:
    path = tmp_path / "run" / "recipe.json"
    first = json.loads(path.read_text())["environment"]
    assert "earlier" not in first
    write_photos(tmp_path / "more", count=7)
    (tmp_path / "more" / "6.png").rename(tmp_path / "photos" / "6.png")
    with pytest.warns(EnvironmentWarning, match="the training images are not those"), pytest.raises(Interrupted):
        train(recipe, tmp_path / "run", progress=False, resume=True, callbacks=[StopAt(6)])
    threads = first["threads"] % 2 + 1
    torch.set_num_threads(threads)
    try:
        with pytest.warns(EnvironmentWarning, match=rf"threads: {first['threads']} before, {threads} now"):
            train(recipe, tmp_path / "run", progress=False, resume=True)
    finally:
        torch.set_num_threads(first["threads"])
    last = json.loads(path.read_text())["environment"]
    assert last["images"] != first["images"]
    assert last["earlier"] == [{"images": first["images"]}, {"threads": first["threads"]}]
