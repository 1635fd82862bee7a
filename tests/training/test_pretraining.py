from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import pretrain_recipe, write_photos

import adair_core as adair
from adair_core.errors import BaseMismatchError, DataError, RunFolderError, UnknownNameError, UsageError
from adair_core.model import load_base
from adair_core.specs import Choice
from adair_core.training import Callback, Data, PretrainRecipe, RunResult, pretrain
from adair_core.training.checkpoint import Checkpoint
from adair_core.training.environment import EnvironmentWarning
from adair_core.training.metrics_log import read_metrics

pytestmark = pytest.mark.usefixtures("without_pictures")


def _quietly(recipe: PretrainRecipe, out: Path, **options: object) -> RunResult:
    return pretrain(recipe, out, progress=False, **options)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run that nothing interrupted."""
    return _quietly(pretrain_recipe(photos), tmp_path_factory.mktemp("whole"))


def _assert_same_run(folder: Path, whole: RunResult) -> None:
    for name in ("last", "best"):
        one, other = (Checkpoint.read(f / "checkpoints" / f"{name}.safetensors") for f in (folder, whole.folder))
        assert one.tensors.keys() == other.tensors.keys()
        assert all(torch.equal(one.tensors[key], other.tensors[key]) for key in one.tensors)
        # clocks differ
        assert {k: v for k, v in one.state.items() if k not in ("seconds", "waited")} == {
            k: v for k, v in other.state.items() if k not in ("seconds", "waited")
        }
    base = "restormer-tiny.safetensors"
    assert (folder / base).read_bytes() == (whole.folder / base).read_bytes()
    numbers = [
        [
            (line["kind"], line["step"], line.get("loss"), line.get("value"))
            for line in read_metrics(f / "metrics.jsonl")
        ]
        for f in (folder, whole.folder)
    ]
    assert numbers[0] == numbers[1]


def test_a_run_leaves_everything_in_its_folder(whole: RunResult, photos: Path) -> None:
    assert {path.name for path in whole.folder.iterdir() if not path.name.startswith(".")} == {
        "recipe.json", "metrics.jsonl", "events", "checkpoints", "curves.png", "preview.png",
        "restormer-tiny.safetensors",
    }  # fmt: skip
    assert (whole.step, whole.weights) == (12, whole.folder / "restormer-tiny.safetensors")
    assert [line["step"] for line in read_metrics(whole.folder / "metrics.jsonl") if line["kind"] == "validation"] == [
        6, 12,
    ]  # fmt: skip
    recipe = json.loads((whole.folder / "recipe.json").read_text())
    assert recipe["data"]["images"] == [str(photos)]
    assert recipe["backbone"]["options"]["expansion"] == 2.66  # options that were not given are there too
    assert recipe["settings"]["optimizer"] == "muon"  # and settings
    assert recipe["environment"]["threads"] == torch.get_num_threads()
    assert recipe["environment"]["torch"] == torch.__version__
    assert recipe["environment"]["cpu"]


def test_the_base_holds_the_averaged_weights(whole: RunResult) -> None:
    network, info = load_base(whole.weights)
    average = Checkpoint.read(whole.folder / "checkpoints" / "last.safetensors").part("average")
    assert average.keys() == dict(network.named_parameters()).keys()
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, average[name])
    weights = Checkpoint.read(whole.folder / "checkpoints" / "last.safetensors").part("weights")
    assert not all(torch.equal(weights[name], average[name]) for name in average)
    assert info.recipe == json.loads((whole.folder / "recipe.json").read_text())
    assert adair.load(str(whole.weights)).info.fingerprint == info.fingerprint


def test_a_run_starts_from_the_seed_alone(whole: RunResult, photos: Path, tmp_path: Path) -> None:
    starts = []

    class Look(Callback):
        def on_start(self, run: object) -> None:
            starts.append({name: tensor.clone() for name, tensor in run.network.state_dict().items()})

    for number, seed in enumerate((0, 0, 1)):
        torch.manual_seed(number)  # the global generator is not to matter
        recipe = pretrain_recipe(photos, steps=1, seed=seed)
        _quietly(recipe, tmp_path / str(number), callbacks=[Look()])
    assert all(torch.equal(starts[0][name], starts[1][name]) for name in starts[0])
    assert not all(torch.equal(starts[0][name], starts[2][name]) for name in starts[0])


def _killed(recipe: Path, out: Path, *how: str) -> None:
    command = [sys.executable, str(Path(__file__).parent / "tiny_runs.py"), str(recipe), str(out), *how]
    child = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr


def test_a_run_killed_twice_goes_on_to_the_same_bits(whole: RunResult, photos: Path, tmp_path: Path) -> None:
    recipe, out = tmp_path / "asked.json", tmp_path / "run"
    asked = pretrain_recipe(photos).model_dump(mode="json", exclude_unset=True)
    recipe.write_text(json.dumps({"phase": "pretrain", **asked}))
    _killed(recipe, out, "--kill-at", "6")
    assert Checkpoint.read(out / "checkpoints" / "last.safetensors").state["step"] == 4
    # The second checkpoint of this sitting, after step 12, is half written when the process dies.
    _killed(recipe, out, "--kill-in-checkpoint", "2")
    assert list((out / "checkpoints").glob(".last.safetensors.*"))
    assert Checkpoint.read(out / "checkpoints" / "last.safetensors").state["step"] == 8
    result = _quietly(pretrain_recipe(photos), out, resume=True)
    assert not list((out / "checkpoints").glob(".*"))
    assert (result.validation, result.best) == (whole.validation, whole.best)
    _assert_same_run(out, whole)


def test_the_recipe_file_repeats_the_run(whole: RunResult, tmp_path: Path) -> None:
    recipe = PretrainRecipe.model_validate_json((whole.folder / "recipe.json").read_text())
    _quietly(recipe, tmp_path / "again")
    _assert_same_run(tmp_path / "again", whole)


def test_resuming_with_another_recipe_is_refused(whole: RunResult, photos: Path) -> None:
    before = (whole.folder / "checkpoints" / "last.safetensors").read_bytes()
    with pytest.raises(RunFolderError, match="another recipe") as e:
        _quietly(pretrain_recipe(photos, steps=20, seed=3, checkpoint_every=1), whole.folder, resume=True)
    assert "settings.seed: 0 before, 3 now, settings.steps: 12 before, 20 now;" in str(e.value)
    assert "checkpoint_every" not in str(e.value)  # changes no bit
    assert (whole.folder / "checkpoints" / "last.safetensors").read_bytes() == before


def test_a_second_run_in_the_folder_is_refused(whole: RunResult, photos: Path) -> None:
    with pytest.raises(RunFolderError, match="already holds a run; continue it with --resume"):
        _quietly(pretrain_recipe(photos), whole.folder)


def test_another_environment_warns(photos: Path, tmp_path: Path) -> None:
    recipe = pretrain_recipe(photos, steps=1)
    _quietly(recipe, tmp_path / "run")
    file = tmp_path / "run" / "recipe.json"
    recorded = json.loads(file.read_text())
    recorded["environment"] |= {"threads": 77, "images": "others"}
    file.write_text(json.dumps(recorded))
    for run, options in (
        (recipe, {"out": tmp_path / "run", "resume": True}),
        (PretrainRecipe.model_validate(recorded), {"out": tmp_path / "repeated"}),
    ):
        with (
            pytest.warns(EnvironmentWarning, match=r"its last bits: threads: 77 before, \d+ now$"),
            pytest.warns(EnvironmentWarning, match=r"images are not those of the recipe \(hash others before, \w+ now"),
        ):
            _quietly(run, **options)


def test_nothing_is_lost_by_a_wrong_request(tmp_path: Path, photos: Path) -> None:
    for error, recipe in [
        (DataError, pretrain_recipe(tmp_path / "missing")),
        (DataError, pretrain_recipe(photos, patch_size=64)),
        (UsageError, pretrain_recipe(photos).model_copy(update={"preset": "giant"})),
        (UsageError, pretrain_recipe(photos, callbacks=("nobody",))),
        (UsageError, pretrain_recipe(photos, accumulate=3)),
    ]:
        with pytest.raises(error):
            _quietly(recipe, tmp_path / "run")
    _quietly(pretrain_recipe(photos, steps=1), tmp_path / "run")


def test_a_run_starts_from_the_weights_of_a_base(whole: RunResult, photos: Path, tmp_path: Path) -> None:
    starts = []

    class Look(Callback):
        def on_start(self, run: object) -> None:
            starts.append({name: tensor.clone() for name, tensor in run.network.state_dict().items()})

    # The backbone's options are those of the base, whether or not the recipe repeats them.
    recipe = pretrain_recipe(photos, steps=2, seed=5)
    recipe = recipe.model_copy(update={"base": str(whole.weights), "backbone": Choice(name="restormer")})
    result = _quietly(recipe, tmp_path / "run", callbacks=[Look()])
    base, info = load_base(whole.weights)
    assert starts[0].keys() == base.state_dict().keys()
    assert all(torch.equal(starts[0][name], tensor) for name, tensor in base.state_dict().items())
    trained, made = load_base(result.weights)
    assert all(
        not torch.equal(a, b) for a, b in zip(trained.parameters(), base.parameters(), strict=True) if b.requires_grad
    )
    assert made.recipe is not None
    assert (made.recipe["base"], made.recipe["base_fingerprint"]) == (str(whole.weights), info.fingerprint)
    assert made.backbone == info.backbone
    # The recorded recipe repeats the run, and goes on.
    recorded = PretrainRecipe.model_validate_json((result.folder / "recipe.json").read_text())
    again = _quietly(recorded, tmp_path / "again")
    assert again.weights.read_bytes() == result.weights.read_bytes()
    assert _quietly(recorded, result.folder, resume=True).step == 2


def test_a_base_of_another_shape_or_with_other_weights_is_no_start(
    whole: RunResult, photos: Path, tmp_path: Path
) -> None:
    from_base = pretrain_recipe(photos, steps=1).model_copy(update={"base": str(whole.weights)})
    other = from_base.model_copy(update={"backbone": Choice(name="restormer", options={"dim": 24})})
    with pytest.raises(UsageError, match=r"backbone to start from .*expected restormer with .*dim=\d+.*got .*dim=24"):
        _quietly(other, tmp_path / "run")
    other = from_base.model_copy(update={"backbone": Choice(name="nafnet")})
    with pytest.raises(UsageError, match=r"backbone to start from .*expected restormer with .*got 'nafnet'"):
        _quietly(other, tmp_path / "run")
    other = from_base.model_copy(update={"backbone": Choice(name="restormer"), "preset": "paper"})
    with pytest.raises(
        UsageError, match=r"backbone to start from .*expected restormer with .*dim=4, .* got restormer with .*dim=48,"
    ):
        _quietly(other, tmp_path / "run")
    with pytest.raises(BaseMismatchError, match="expected the weights of fingerprint 0000"):
        _quietly(from_base.model_copy(update={"base_fingerprint": "0000"}), tmp_path / "run")
    with pytest.raises(UnknownNameError, match="unknown base 'nobody'"):
        _quietly(from_base.model_copy(update={"base": "nobody"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_resume_of_an_empty_folder_starts(photos: Path, tmp_path: Path) -> None:
    assert _quietly(pretrain_recipe(photos, steps=1), tmp_path, resume=True).step == 1


def test_sample_photos_are_the_data_when_none_are_given(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = pretrain_recipe(photos, steps=1, validate_every=0).model_copy(update={"data": Data()})
    pretrain(recipe, tmp_path)
    said = capsys.readouterr().err
    assert "no data given: training on the sample photos of scikit-image" in said
    assert "validation on chelsea.png" in said
    assert "spent waiting for data; wrote" in said


def test_precision_float64_is_stored_as_float32(photos: Path, tmp_path: Path) -> None:
    result = _quietly(pretrain_recipe(photos, steps=1, precision="float64"), tmp_path)
    assert {tensor.dtype for tensor in load_file(result.weights).values()} == {torch.float32}
    average = Checkpoint.read(tmp_path / "checkpoints" / "last.safetensors").part("average")
    assert {tensor.dtype for tensor in average.values()} == {torch.float64}


def test_a_backbone_learns(photos: Path, tmp_path: Path) -> None:
    result = _quietly(pretrain_recipe(photos, steps=100, batch_size=4, learning_rate=1e-2, validate_every=0), tmp_path)
    label = "gaussian-noise"
    # Measured with three seeds, native kernels and references: 2.6 to 3.6 dB.
    assert result.validation.conditions[label] > result.validation.inputs[label] + 2
