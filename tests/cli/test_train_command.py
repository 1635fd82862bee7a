"""`adair train` and `adair pretrain`: from what is typed to a recipe, and short runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from adair_core import training
from adair_core.errors import Interrupted
from adair_core.model import AdapterCard, load, load_base
from adair_core.plugins import plugins
from adair_core.testing import run_program
from adair_core.training.recipe import AdapterRecipe, PretrainRecipe, Settings

QUICK = ["--steps", 2, "--batch-size", 2, "--patch-size", 16, "--workers", 0, "--validate-every", 0, "--device", "cpu"]


class Asked(Exception):  # noqa: N818
    """Training was asked for."""


@pytest.fixture
def asked(monkeypatch):
    """Run a training command up to the call; returns recipe, run folder and the rest."""
    calls = []

    def note(recipe, out, **rest):
        calls.append((recipe, out, rest))
        raise Interrupted("stopped at step 1 of 2; go on with --resume and the run folder")

    monkeypatch.setattr(training, "train", note)
    monkeypatch.setattr(training, "pretrain", note)

    def ask(*arguments):
        outcome = run_program(*arguments)
        assert outcome.exit_code == 130, outcome.stderr
        return calls[-1]

    return ask


def test_defaults(asked, base):
    recipe, out, rest = asked("train", "--task", "denoise", "--base", base)
    assert isinstance(recipe, AdapterRecipe)
    assert (recipe.task.name, recipe.adapter.name, recipe.base, recipe.preset) == ("denoise", "lora", str(base), None)
    assert recipe.adapter.options == plugins().adapters["lora"].config().model_dump(mode="json")
    assert recipe.task.options == plugins().tasks["denoise"].config().model_dump(mode="json")
    defaults = {**plugins().adapters["lora"].defaults, **plugins().tasks["denoise"].defaults}
    assert recipe.settings == Settings(**defaults)
    assert (out, rest) == (Path("runs/denoise-lora"), {"resume": False})


def test_every_kind_of_option(asked, base, photos):
    recipe, out, rest = asked(
        *["train", "--adapter", "lora", "--adapter.rank", 4, "--adapter.kinds", "conv1x1,dwconv", "--preset", "1.9M"],
        *["--task", "denoise", "--task.sigma", "15,25", "--base", base, "--data", photos, "--data", photos / "more"],
        *["--steps", 7, "--learning-rate", "2e-4", "--clip", "none", "--compile", "--stages", "0:16:4,0.5:32:2"],
        *["--callback", "one", "--callback", "two", "--strict-data", "--seed", 3, "-o", "here", "--resume"],
    )
    assert recipe.adapter.options["rank"] == 4
    assert recipe.adapter.options["kinds"] == ["conv1x1", "dwconv"]
    assert recipe.adapter.options["blocks_only"] is True
    assert recipe.preset == "1.9M"
    assert recipe.task.options == {"sigma": [15, 25], "shared": 0, "stored": 0}
    assert recipe.data.images == (photos, photos / "more")
    assert recipe.data.strict is True
    settings = recipe.settings
    assert (settings.steps, settings.learning_rate, settings.clip, settings.compile) == (7, 2e-4, None, True)
    assert (len(settings.stages), settings.callbacks, settings.seed) == (2, ("one", "two"), 3)
    assert (out, rest) == (Path("here"), {"resume": True})


def test_an_adapter_type_has_its_learning_rate(asked, base):
    def rate(*words):
        return asked("train", "--task", "denoise", "--base", base, *words)[0].settings.learning_rate

    usual = Settings().learning_rate
    rates = {kind: rate("--adapter", kind) for kind in ("lora", "bottleneck", "prompt", "full")}
    assert rates == {"lora": 5 * usual, "bottleneck": 5 * usual, "prompt": 5 * usual, "full": usual}
    assert rate("--adapter", "lora", "--learning-rate", 0.5) == 0.5
    for kind in ("lora", "full"):
        default = f"[default: {rates[kind]:g}]"
        words = ["train", "--task", "denoise", "--adapter", kind, "--help"]
        assert default in " ".join(run_program(*words).stdout.split())


def test_a_tasks_defaults_are_under_what_is_given(asked, base):
    default = plugins().tasks["super-resolve"].defaults["patch_size"]
    assert asked("train", "--task", "super-resolve", "--base", base)[0].settings.patch_size == default
    given = asked("train", "--task", "super-resolve", "--base", base, "--patch-size", 24)[0]
    assert given.settings.patch_size == 24
    assert f"[default: {default}]" in run_program("train", "--task", "super-resolve", "--help").stdout


def test_scale_is_a_shortcut(asked, base):
    recipe = asked("train", "--task", "super-resolve", "--scale", 3, "--base", base)[0]
    assert recipe.task.options["scale"] == 3
    outcome = run_program("train", "--task", "denoise", "--scale", 3, "--base", base)
    assert outcome.exit_code == 2
    assert "--scale: task denoise has no scale; it is for --task super-resolve" in outcome.stderr


def test_pairs_are_a_task_of_their_own(asked, base):
    recipe, out, _ = asked("train", "--pairs", "in", "target", "--base", base)
    assert (recipe.task.name, out) == ("pairs", Path("runs/pairs-lora"))
    assert (recipe.data.pairs_input, recipe.data.pairs_target) == (Path("in"), Path("target"))
    named = asked("train", "--task", "derain", "--pairs", "in", "target", "--base", base)[0]
    assert (named.task.name, named.task.options["pairs"]) == ("derain", True)
    assert asked("train", "--task", "derain", "--base", base)[0].task.options["pairs"] is False
    outcome = run_program("train", "--pairs", "in", "target", "--data", "x", "--base", base)
    assert outcome.exit_code == 2
    assert "expected --data (clean images) or --pairs, not both" in outcome.stderr


def test_every_run_gets_a_folder_of_its_own(asked, base):
    for number, name in enumerate(["denoise-lora", "denoise-lora-2", "denoise-lora-3"]):
        out = asked("train", "--task", "denoise", "--base", base)[1]
        assert out == Path("runs") / name, number
        out.mkdir(parents=True)
    Path("runs/denoise-lora-2").rmdir()  # removing one does not make an older one the last
    for other in ("denoise-lora-02", "denoise-lora-old", "denoise-lora-1", "denoise-lora-9-2"):
        (Path("runs") / other).mkdir()
    assert asked("train", "--task", "denoise", "--base", base, "--resume")[1] == Path("runs/denoise-lora-3")


def test_an_interruption_says_how_to_go_on(asked, base, monkeypatch):
    outcome = run_program("train", "--task", "denoise", "--base", base, "-o", "a b")
    assert outcome.stderr == "run folder: a b\nstopped at step 1 of 2; go on with --resume and the run folder\n"

    def second_ctrl_c(recipe, out, **rest):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", second_ctrl_c)
    outcome = run_program("train", "--task", "denoise", "--base", base, "-o", "a b")
    assert outcome.exit_code == 130
    assert outcome.stderr.endswith("interrupted before the training began; nothing was written\n")
    Path("a b").mkdir()
    Path("a b/recipe.json").write_text("{}")
    outcome = run_program("train", "--task", "denoise", "--base", base, "-o", "a b")
    assert outcome.exit_code == 130
    assert outcome.stderr.endswith("go on from the last checkpoint with: adair train --resume --out 'a b'\n")


def test_several_processes_must_agree_on_the_folder(base, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    outcome = run_program("train", "--task", "denoise", "--base", base)
    assert outcome.exit_code == 2
    assert "--out: expected the run folder, got none; several processes must agree on it" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--task: expected one of "),
        (["--task", "denois"], "unknown task 'denois'; did you mean 'denoise'? known: "),
        (["--task", "denoise", "--adapter", "lorra"], "unknown adapter type 'lorra'; did you mean 'lora'?"),
        (["--task", "denoise", "--base", "nope"], "unknown base 'nope'"),
        (["--task", "denoise", "--base", "./nope.safetensors"], "nope.safetensors: there is no such file"),
        (["--task", "denoise", "--preset", "huge"], "unknown preset of adapter type lora 'huge'"),
        (["--task", "denoise", "--adapter.rank", "0"], "Adapter type lora: --adapter.rank: Input should be greater"),
        (["--task", "denoise", "--task.sigma", "loud"], "Task denoise: --task.sigma: "),
        (["--task", "denoise", "--steps", "many"], "Training: --steps: Input should be a valid integer"),
        (["--task", "denoise", "--adapter", "bottleneck", "--adapter.rank", "2"], "No such option '--adapter.rank'"),
        (["--recipe", "missing.json"], "recipe missing.json: cannot be read (No such file or directory)"),
        (["--task", "denoise", "--learning-rate", "inf"], "Training: --learning-rate: Input should be a finite number"),
        (["--task", "denoise", "--adapter.alpha", "inf"], "--adapter.alpha: Input should be a finite number"),
        (["--task", "denoise", "--stages", "0:9"], "such as 0:64:16,0.6:96:8, got '0:9'\n"),
        (
            ["--task", "denoise", "--stages", "0:9:2,0:8:2"],
            "--stages: expected stages that start apart, got starts 0.0",
        ),
        (["--resume", "--out", "gone"], "--resume: expected a run to continue, got no recipe.json in gone; start one"),
        (["--resume"], "--resume: expected the run to continue, got no --out; give --out DIR"),
        (["--resume", "--task", "denoise"], "--resume: expected a run to continue, got no runs/denoise-lora"),
    ],
)
def test_wrong_requests(arguments, message, base):
    known_base = [] if "--base" in arguments else ["--base", base]
    outcome = run_program("train", *arguments, *known_base)
    assert outcome.exit_code == 2 or "no such file" in message
    assert message in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


def test_a_trained_adapter_is_not_a_type(base, workplace):
    (workplace / "mine").mkdir()
    (workplace / "mine" / "adapter_config.json").write_text("{}")
    outcome = run_program("train", "--task", "denoise", "--adapter", "mine", "--base", base)
    assert outcome.exit_code == 2
    assert "--adapter: expected an adapter type (bottleneck, " in outcome.stderr
    assert "got the trained adapter 'mine'; --start-from trains it further, --resume " in outcome.stderr


@pytest.fixture
def trained(base, workplace):
    """An adapter that is not as the defaults are."""
    model = load(base)
    model.add_adapter("derain", "lora", {"rank": 2, "kinds": ("conv1x1", "dwconv")})
    task = {"name": "super-resolve", "options": {"scale": 3}}
    for name, recipe in (("mine", {"task": {"name": "derain", "options": {"pairs": True}}}), ("x3", {"task": task})):
        card = AdapterCard(task=recipe["task"]["name"], recipe=recipe)
        model.save_adapter("derain", workplace / name, card=card)
    return workplace


def test_a_trained_adapter_is_trained_further(asked, base, trained):
    recipe, out, _ = asked("train", "--start-from", "mine", "--data", "photos")
    assert (recipe.start_from, recipe.start_fingerprint, recipe.base) == ("mine", None, str(base))
    assert (recipe.adapter.name, recipe.adapter.options["rank"]) == ("lora", 2)
    assert recipe.adapter.options["kinds"] == ["conv1x1", "dwconv"]
    assert (recipe.task.name, recipe.task.options["pairs"], out) == ("derain", False, Path("runs/derain-lora"))
    recipe = asked("train", "--start-from", "mine", "--pairs", "in", "target")[0]
    assert (recipe.task.name, recipe.task.options["pairs"]) == ("derain", True)
    recipe = asked("train", "--start-from", "x3", "--data", "photos")[0]
    assert (recipe.task.name, recipe.task.options["scale"]) == ("super-resolve", 3)
    recipe = asked("train", "--start-from", "x3", "--pairs", "in", "target")[0]
    assert recipe.task.name == "pairs"
    recipe = asked("train", "--start-from", "x3", "--task", "denoise", "--base", "restormer-tiny@6")[0]
    assert (recipe.task.name, recipe.base) == ("denoise", "restormer-tiny@6")
    text = run_program("train", "--start-from", "mine", "--help").stdout
    assert "--task.pairs" in text
    outcome = run_program("train", "--start-from", "lora", "--task", "denoise")
    assert outcome.exit_code == 2
    assert "--start-from: expected a trained adapter: a name that 'adair adapters' lists" in outcome.stderr


def test_a_recipe_is_repeated_from_an_adapter_on_another_base(asked, base, trained):
    earlier = AdapterRecipe(
        base="restormer-tiny@6",
        base_fingerprint="of restormer-tiny@6",
        adapter={"name": "bottleneck"},
        task={"name": "denoise", "options": {"sigma": [15, 15]}},
    )
    Path("recipe.json").write_text(earlier.model_dump_json())
    recipe = asked("train", "--recipe", "recipe.json")[0]
    assert (recipe.base, recipe.base_fingerprint) == ("restormer-tiny@6", "of restormer-tiny@6")
    recipe = asked("train", "--recipe", "recipe.json", "--start-from", "mine")[0]
    assert (recipe.base, recipe.base_fingerprint) == (str(base), None)
    assert (recipe.start_from, recipe.adapter.name, recipe.adapter.options["rank"]) == ("mine", "lora", 2)
    assert recipe.task.options == {"sigma": [15, 15], "shared": 0, "stored": 0}


def test_the_run_of_a_trained_adapter_is_resumed_by_its_name(asked, base, trained):
    model = load(base)
    model.add_adapter("derain", "bottleneck")
    model.save_adapter("derain", trained / "neck", card=AdapterCard(task="derain"))
    for name, steps in (("derain-lora", 3), ("derain-bottleneck", 4)):
        recipe = AdapterRecipe(
            base=str(base), adapter={"name": "bottleneck"}, task={"name": "derain"}, settings={"steps": steps}
        )
        (trained / "runs" / name).mkdir(parents=True)
        (trained / "runs" / name / "recipe.json").write_text(recipe.model_dump_json())
    for words in (["--task", "derain"], [], ["--pairs", "in", "target"]):
        recipe, out, rest = asked("train", "--start-from", "neck", *words, "--resume")
        assert (recipe.settings.steps, out, rest) == (4, Path("runs/derain-bottleneck"), {"resume": True})
    recipe, out, _ = asked("train", "--start-from", "neck", "--resume", "--out", "new")
    assert (recipe.task.name, out) == ("derain", Path("new"))


def test_a_run_that_started_from_an_adapter_is_repeated(base, trained, photos):
    words = ["train", "--start-from", "mine", "--data", photos, *QUICK, "--json"]
    first = run_program(*words)
    assert first.exit_code == 0, first.stderr
    folder = Path(first.json["folder"])
    recipe = json.loads((folder / "recipe.json").read_text())
    assert recipe["start_from"] == str(trained / "mine")
    again = run_program("train", "--recipe", folder / "recipe.json", "--out", "again", "--json")
    assert again.exit_code == 0, again.stderr
    files = [Path(run.json["weights"]) / "adapter_model.safetensors" for run in (first, again)]
    tensors = [load_file(file) for file in files]
    assert all((tensors[0][name] == tensors[1][name]).all() for name in tensors[0])
    outcome = run_program(*words, "--adapter.rank", 3)
    assert outcome.exit_code == 2
    assert "adapter type to start from mine: expected lora with kinds=" in outcome.stderr


@pytest.mark.parametrize("adapter", ["lora", "bottleneck", "prompt"])
def test_help_lists_exactly_the_options_of_what_was_named(adapter):
    text = run_program("train", "--adapter", adapter, "--task", "super-resolve", "--help").stdout
    text = text.partition("\nTrain:")[2]  # after the examples
    listed = {word.split("/")[0] for word in text.split() if word.startswith(("--adapter.", "--task."))}
    fields = plugins().adapters[adapter].config.model_fields
    wanted = {f"--adapter.{name.replace('_', '-')}" for name in fields} | {"--task.scale"}
    assert listed == wanted
    for name, field in {**fields, **Settings.model_fields}.items():
        first_words = " ".join(field.description.split()[:2])
        assert first_words in " ".join(text.split()), name


def test_a_run_its_recipe_repeated_and_resumed(base, photos):
    first = run_program("train", "--task", "denoise", "--base", base, "--data", photos, *QUICK, "--json")
    assert first.exit_code == 0, first.stderr
    assert first.json["step"] == 2
    folder = Path("runs/denoise-lora")
    weights = Path(first.json["weights"]) / "adapter_model.safetensors"
    assert folder.resolve() in weights.parents

    again = run_program("train", "--recipe", folder / "recipe.json", "--json")
    assert again.exit_code == 0, again.stderr
    assert Path(again.json["folder"]).name == "denoise-lora-2"
    repeated = load_file(Path(again.json["weights"]) / "adapter_model.safetensors")
    assert all((tensor == repeated[name]).all() for name, tensor in load_file(weights).items())
    recipes = [
        json.loads((Path("runs") / name / "recipe.json").read_text()) for name in ("denoise-lora", "denoise-lora-2")
    ]
    assert recipes[0] == recipes[1]

    resumed = run_program("train", "--resume", "--out", folder, "--json")
    assert resumed.exit_code == 0, resumed.stderr
    assert resumed.json["step"] == 2

    taken = run_program("train", "--task", "denoise", "--base", base, "--data", photos, *QUICK, "-o", folder)
    assert taken.exit_code == 1
    assert "already holds a run; continue it with --resume" in taken.stderr

    changed = run_program("train", "--resume", "--out", folder, "--learning-rate", 0.5)
    assert changed.exit_code == 1
    assert "learning_rate" in changed.stderr


def test_a_recipe_refined(asked, base, workplace):
    recipe = asked("train", "--task", "denoise", "--task.sigma", 25, "--base", base, "--adapter.rank", 2, "--steps", 5)[
        0
    ]
    (workplace / "r.json").write_text(recipe.model_dump_json())
    assert asked("train", "--recipe", "r.json")[0] == recipe
    (workplace / "old.json").write_text(recipe.model_copy(update={"environment": {"torch": "1.0"}}).model_dump_json())
    # Training compares it with the present one and warns.
    assert asked("train", "--recipe", "old.json")[0].environment == {"torch": "1.0"}
    finer = asked("train", "--recipe", "r.json", "--steps", 9, "--adapter.alpha", 4)[0]
    assert (finer.settings.steps, finer.adapter.options["rank"], finer.adapter.options["alpha"]) == (9, 2, 4)
    assert finer.task == recipe.task
    other = asked("train", "--recipe", "r.json", "--adapter", "bottleneck", "--task", "derain")[0]
    assert (other.adapter.name, other.task.name, other.settings.steps) == ("bottleneck", "derain", 5)
    assert "rank" not in other.adapter.options
    clean = asked("train", "--recipe", "r.json", "--preset", "1.9M")[0]
    assert clean.adapter.options["rank"] == 16


def test_a_recipe_of_the_other_phase_or_damaged(asked, base, workplace):
    recipe = asked("train", "--task", "denoise", "--base", base)[0]
    (workplace / "r.json").write_text(recipe.model_dump_json())
    outcome = run_program("pretrain", "--recipe", "r.json")
    assert outcome.exit_code == 2
    assert "recipe r.json: expected a recipe of phase 'pretrain'" in outcome.stderr
    (workplace / "r.json").write_text("{")
    assert run_program("train", "--recipe", "r.json").exit_code == 2


def test_pretrain_recipe(asked):
    recipe, out, _ = asked("pretrain", "--backbone", "restormer", "--backbone.dim", 8, "--mixture", "jpeg:0.5,rain")
    assert isinstance(recipe, PretrainRecipe)
    assert out == Path("runs/pretrain-restormer")
    assert (recipe.backbone.name, recipe.backbone.options["dim"], recipe.preset) == ("restormer", 8, "tiny")
    members = recipe.degradation.options["degradations"]
    assert recipe.degradation.name == "one-of"
    assert [(member["name"], member["weight"]) for member in members] == [("jpeg", 0.5), ("rain", 1.0)]


def test_pretrain_from_a_base(asked, base, workplace):
    recipe, out, _ = asked("pretrain", "--base", base, "--mixture", "jpeg")
    assert (recipe.base, recipe.backbone, recipe.base_fingerprint) == (str(base), load_base(base)[1].backbone, None)
    assert out == Path("runs/pretrain-restormer")
    zoo, _, _ = asked("pretrain", "--base", "restormer-tiny")
    assert (zoo.base, zoo.preset) == (plugins().weights_named("restormer-tiny").versioned_name, "tiny")
    # What is typed beside it is not lost, so that it can be refused.
    assert asked("pretrain", "--base", base, "--backbone.dim", 24)[0].backbone.options["dim"] == 24
    assert asked("pretrain", "--base", base, "--backbone", "nafnet")[0].backbone.name == "nafnet"
    # An earlier recipe brings its start along.
    (workplace / "r.json").write_text(recipe.model_copy(update={"base_fingerprint": "1234"}).model_dump_json())
    again = asked("pretrain", "--recipe", "r.json")[0]
    assert (again.base, again.base_fingerprint, again.backbone) == (recipe.base, "1234", recipe.backbone)


def test_a_backbones_settings_are_under_what_is_given(asked, base, workplace):
    assert asked("pretrain", "--base", base)[0].settings == Settings(optimizer="muon")
    given = asked("pretrain", "--optimizer", "sgd")[0]
    assert given.settings.optimizer == "sgd"
    assert asked("pretrain", "--backbone", "nafnet")[0].settings == Settings()
    assert "[default: muon]" in " ".join(run_program("pretrain", "--help").stdout.split())
    (workplace / "r.json").write_text(given.model_dump_json())
    assert asked("pretrain", "--recipe", "r.json")[0].settings == given.settings


def test_mixture_as_json_and_by_default(asked):
    text = '[{"name": "jpeg", "options": {"quality": [10, 40]}, "weight": 2}]'
    members = asked("pretrain", "--mixture", text)[0].degradation.options["degradations"]
    options = {"quality": [10.0, 40.0], "subsampling": "4:2:0", "shifted": 0.0}
    assert members == [{"name": "jpeg", "options": options, "weight": 2.0}]
    default = plugins().degradations["one-of"].config().model_dump(mode="json")
    assert asked("pretrain")[0].degradation.options == default


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mixture", "jpg"], "unknown degradation 'jpg'; did you mean 'jpeg'?"),
        (["--mixture", "jpeg:x"], "mixture: --mixture"),
        (["--mixture", "[{"], "--mixture: expected JSON, got '[{'"),
        (["--backbone", "restormr"], "unknown backbone 'restormr'; did you mean 'restormer'?"),
        (["--preset", "huge"], "unknown preset of backbone restormer 'huge'"),
        (["--backbone.dim", "x"], "Backbone restormer: --backbone.dim: "),
    ],
)
def test_wrong_requests_to_pretrain(arguments, message):
    outcome = run_program("pretrain", *arguments)
    assert outcome.exit_code == 2
    assert message in outcome.stderr


def test_a_short_pretraining(photos):
    shape = ["--backbone.dim", 4, "--backbone.blocks", "1,1,1,1", "--backbone.heads", "1,1,1,1"]
    outcome = run_program("pretrain", *shape, "--mixture", "gaussian-noise", "--data", photos, *QUICK, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert Path(outcome.json["weights"]).is_file()


def test_data_errors_are_one_message(base, workplace):
    (workplace / "empty").mkdir()
    for folder in ("missing", "empty"):
        outcome = run_program("train", "--task", "denoise", "--base", base, "--data", folder, *QUICK)
        assert outcome.exit_code == 1
        assert outcome.stderr.splitlines()[-1].startswith("error: ")
        assert folder in outcome.stderr
        assert "Traceback" not in outcome.stderr
