from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_runs import SMALLEST_RESTORMER, adapter_recipe, tiny_settings, write_photos

import adair_core as adair
from adair_core.errors import BaseMismatchError, RunFolderError, UnknownNameError, UsageError, WeightsError
from adair_core.model import resolve_backbone, save_base
from adair_core.model.adapter_files import read_adapter
from adair_core.model.load import untrained
from adair_core.specs import Choice
from adair_core.training import AdapterRecipe, Callback, Data, RunResult, Settings, train
from adair_core.training.checkpoint import Checkpoint

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with weights that do something, and photos."""
    folder = tmp_path_factory.mktemp("given")
    write_photos(folder / "photos")
    network = untrained("restormer", seed=3, **SMALLEST_RESTORMER).backbone
    save_base(folder / "base.safetensors", network, backbone=resolve_backbone("restormer", **SMALLEST_RESTORMER))
    return folder


@pytest.fixture
def recipe(folder: Path) -> AdapterRecipe:
    return adapter_recipe(folder / "base.safetensors", folder / "photos")


def _with(recipe: AdapterRecipe, **settings: object) -> AdapterRecipe:
    return recipe.model_copy(update={"settings": tiny_settings(**settings)})


def _quietly(recipe: AdapterRecipe, out: Path, **options: object) -> RunResult:
    return train(recipe, out, progress=False, **options)


def test_the_adapter_that_comes_out(folder: Path, recipe: AdapterRecipe, tmp_path: Path) -> None:
    result = _quietly(_with(recipe, learning_rate=0.02, precision="bfloat16"), tmp_path)
    assert result.weights == tmp_path / "denoise"
    model = adair.load(str(folder / "base.safetensors"))
    model.load_adapter(result.weights)
    average = Checkpoint.read(tmp_path / "checkpoints" / "last.safetensors").part("average")
    loaded = model.adapter_parameters("denoise")
    assert average.keys() == loaded.keys()
    assert all(torch.equal(average[name], loaded[name]) for name in average)
    x = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(model(x), model(x, adapters=[None]))
    card = (result.weights / "README.md").read_text()
    assert f"| sigma 25 | {result.validation.inputs['sigma 25']:.2f} |" in card
    written = json.loads((tmp_path / "recipe.json").read_text())
    assert written["base_fingerprint"] == model.info.fingerprint
    assert written["adapter"]["options"]["alpha"] is None
    assert written["environment"]["images"]


def test_an_adapter_finds_its_base_from_any_folder(
    folder: Path, recipe: AdapterRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    result = _quietly(_with(recipe, steps=1).model_copy(update={"base": "base.safetensors"}), tmp_path / "run")
    assert read_adapter(result.weights).base == str(folder / "base.safetensors")


def test_training_starts_from_an_adapter(folder: Path, recipe: AdapterRecipe, tmp_path: Path) -> None:
    first = _quietly(_with(recipe, learning_rate=0.02), tmp_path / "first").weights
    onward = _with(recipe, learning_rate=1e-30, final_learning_rate=0).model_copy(update={"start_from": str(first)})
    second = _quietly(onward, tmp_path / "second").weights
    model = adair.load(str(folder / "base.safetensors"))
    stored = {}
    for name, path in (("first", first), ("second", second)):
        model.load_adapter(path, name=name)
        stored[name] = model.adapter_parameters(name)
    assert stored["first"].keys() == stored["second"].keys()
    for name, before in stored["first"].items():
        assert before.abs().sum() > 0, name  # a new one would be zero in half of its factors
        assert torch.equal(stored["second"][name], before), name
    written = AdapterRecipe.model_validate_json((tmp_path / "second" / "recipe.json").read_text())
    assert written.start_from == str(first.absolute())
    assert written.start_fingerprint == read_adapter(first).fingerprint

    other = written.model_copy(update={"start_fingerprint": "0" * 32})
    with pytest.raises(WeightsError, match="expected the weights of fingerprint 0000"):
        _quietly(other, tmp_path / "third")
    larger = onward.model_copy(update={"adapter": Choice(name="lora", options={"rank": 3})})
    with pytest.raises(UsageError, match=r"adapter type to start from .* expected lora with .*rank="):
        _quietly(larger, tmp_path / "third")
    elsewhere = onward.model_copy(update={"base": "restormer-tiny", "base_fingerprint": None})
    with pytest.raises(BaseMismatchError, match=r"the adapter was trained on base .*base.safetensors"):
        _quietly(elsewhere, tmp_path / "third")


def test_the_base_is_frozen(folder: Path, recipe: AdapterRecipe, tmp_path: Path) -> None:
    looks = []

    class Look(Callback):
        def on_step(self, run: object, record: object) -> None:
            backbone = run.network.backbone
            looks.append([parameter.grad for parameter in backbone.parameters()])
            assert not any(parameter.requires_grad for parameter in backbone.parameters())
            looks.append([parameter.grad for parameter in run.network.adapter_parameters("denoise").values()])
            looks.append({name: tensor.clone() for name, tensor in backbone.state_dict().items()})

    _quietly(_with(recipe, steps=3), tmp_path, callbacks=[Look()])
    base, adapter, weights = looks[-3:]
    assert all(gradient is None for gradient in base)
    assert all(gradient.abs().sum() > 0 for gradient in adapter)
    given = adair.load(str(folder / "base.safetensors")).backbone.state_dict()
    assert all(torch.equal(weights[name], given[name]) for name in given)
    assert not any(
        "backbone" in name for name in Checkpoint.read(tmp_path / "checkpoints" / "last.safetensors").tensors
    )


def test_a_run_killed_in_a_checkpoint_goes_on_to_the_same_bits(recipe: AdapterRecipe, tmp_path: Path) -> None:
    recipe = _with(recipe, optimizer="muon")
    whole = _quietly(recipe, tmp_path / "whole")
    (tmp_path / "asked.json").write_text(recipe.model_dump_json())
    command = [sys.executable, str(Path(__file__).parent / "tiny_runs.py"), str(tmp_path / "asked.json")]
    child = subprocess.run(
        [*command, str(tmp_path / "run"), "--kill-in-checkpoint", "2"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert Checkpoint.read(tmp_path / "run" / "checkpoints" / "last.safetensors").state["step"] == 4
    result = _quietly(recipe, tmp_path / "run", resume=True)
    assert result.validation == whole.validation
    one, other = (Checkpoint.read(tmp_path / name / "checkpoints" / "last.safetensors") for name in ("run", "whole"))
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    file = "denoise/adapter_model.safetensors"
    loaded = [adair.load(recipe.base) for _ in range(2)]
    for model, name in zip(loaded, ("run", "whole"), strict=True):
        model.load_adapter(tmp_path / name / Path(file).parent)
    bits = [model.adapter_parameters("denoise") for model in loaded]
    assert all(torch.equal(bits[0][name], bits[1][name]) for name in bits[0])


def test_task_and_adapter_type_give_the_settings_that_are_not_set(recipe: AdapterRecipe, tmp_path: Path) -> None:
    from adair_core.plugins import plugins

    kind, task = plugins().adapters[recipe.adapter.name], plugins().task("denoise")
    assert (kind.defaults["learning_rate"], task.defaults["patch_size"]) != (Settings().learning_rate, 24)
    defaults = {**kind.defaults, **task.defaults}
    seen = []

    class Look(Callback):
        def on_start(self, run: object) -> None:
            seen.append(run.recipe.settings)
            raise InterruptedError

    for settings in (Settings(workers=0), Settings(workers=0, patch_size=24)):
        asked = recipe.model_copy(update={"settings": settings, "data": Data()})
        with pytest.raises(InterruptedError):
            _quietly(asked, tmp_path / str(len(seen)), callbacks=[Look()])
    assert seen[0] == Settings(workers=0, **defaults)
    assert seen[1] == Settings(workers=0, **{**defaults, "patch_size": 24})


def test_pairs_of_folders(folder: Path, recipe: AdapterRecipe, tmp_path: Path) -> None:
    data = Data(pairs_input=folder / "photos", pairs_target=folder / "photos")
    pairs = recipe.model_copy(
        update={"task": Choice(name="pairs"), "data": data, "settings": tiny_settings(steps=1, learning_rate=1e-5)}
    )
    result = _quietly(pairs, tmp_path / "run")
    assert result.weights.name == "pairs"
    assert list(result.validation.conditions)
    for task, given, message in [
        ("pairs", recipe.data, "learns from real pairs"),
        ("denoise", data, "makes its inputs from clean images"),
        ("pairs", Data(pairs_input=folder), "only one of them"),
        ("pairs", data.model_copy(update={"images": (folder,)}), "got both"),
    ]:
        with pytest.raises(UsageError, match=message):
            _quietly(pairs.model_copy(update={"data": given, "task": Choice(name=task)}), tmp_path / "refused")


def test_another_base_than_the_recipes(recipe: AdapterRecipe, tmp_path: Path) -> None:
    with pytest.raises(BaseMismatchError, match=r"expected the weights of fingerprint abc, .* got \w{32}"):
        _quietly(recipe.model_copy(update={"base_fingerprint": "abc"}), tmp_path)


def test_unknown_names(recipe: AdapterRecipe, tmp_path: Path) -> None:
    for field, wrong in (("task", "denois"), ("adapter", "lara")):
        with pytest.raises(UnknownNameError, match=f"unknown .*{wrong}.*did you mean"):
            _quietly(recipe.model_copy(update={field: Choice(name=wrong)}), tmp_path)
    with pytest.raises(UnknownNameError):
        _quietly(recipe.model_copy(update={"base": "nobody"}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_resuming_another_adapter_is_refused(recipe: AdapterRecipe, tmp_path: Path) -> None:
    _quietly(_with(recipe, steps=1), tmp_path)
    other = recipe.model_copy(update={"adapter": Choice(name="lora", options={"rank": 4})})
    with pytest.raises(RunFolderError, match=r"adapter\.options\.rank: 2 before, 4 now"):
        _quietly(_with(other, steps=1), tmp_path, resume=True)
