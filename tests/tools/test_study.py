"""The study: its plan is fair, its statistics are right, and a run that stopped goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import numpy as np
import pytest
import study
import torch
from adaptation import published
from adaptation.baselines import dark_channel, deconvolved, non_local_means
from adaptation.methods import BUDGETS, sized
from adaptation.runs import DivergedError, Measurement, Place, Run, at_once, perform, plan_of, weights_of
from adaptation.study_plan import SEEDED, Plan
from adaptation.study_rates import RATES, best
from adaptation.study_rates import validated as validated_of
from adaptation.study_trainings import Scale
from adaptation.tasks import TASKS, StudiedTask, TestSet
from click.testing import CliRunner

from adair_core.errors import AdairError, UsageError
from adair_core.model.load import load
from adair_core.specs import Choice
from adair_core.training.recipe import AdapterRecipe, Data, PretrainRecipe, Settings

BASE = "restormer-tiny@6"


def chosen_rates(plan: Plan, rate: float) -> None:
    """As if the short runs had been done, and this rate had won."""
    validated(plan, lambda run: 30.0 if run.labels["rate"] == rate else 29.0)


def validated(plan: Plan, psnr: Callable[[Run], float]) -> None:
    """As if the short runs had been done, and had validated so."""
    while pending := [run for run in plan.rates() if plan.place.outcome(run) is None]:
        for run in pending:
            folder = plan.place.folder(run)
            folder.mkdir(parents=True)
            training = {"validation": psnr(run)}
            result = {"run": run.name, "plan": plan_of(run, plan.place), "training": training, "measurements": {}}
            (folder / "result.json").write_text(json.dumps(result))


def test_every_method_gets_equal_data_steps_and_seed(place: Place):
    plan = Plan(place, BASE, Scale(), ["denoise"])
    chosen_rates(plan, RATES[1])
    trained = [run for run in plan.comparison() if run.recipe is not None]
    assert {run.labels["method"] for run in trained} == set(plan.methods)
    for seed in (0, 1, 2):
        recipes = [run.recipe for run in trained if run.labels["seed"] == seed]
        assert len(recipes) == (len(SEEDED) if seed else len(plan.methods))
        assert len({recipe.model_dump_json(include={"data", "task"}) for recipe in recipes if recipe}) == 1
        settings = {recipe.settings.model_dump_json(exclude={"learning_rate"}) for recipe in recipes if recipe}
        assert len(settings) == 1
    assert len({run.name for run in plan.runs()}) == len(list(plan.runs()))


def test_each_method_gets_the_rate_that_validated_best(place: Place):
    plan = Plan(place, BASE, Scale(), ["denoise"])
    chosen_rates(plan, RATES[2])
    for run in plan.comparison():
        if run.recipe is not None:
            assert run.recipe.settings.learning_rate == RATES[2]


def test_rates_are_tried_until_the_best_is_between_others_and_ties_go_to_the_lowest(place: Place):
    curves = {
        "bottleneck-8%": {1e-3: 20.0, 3e-3: 21.0, 1e-2: 22.0, 3e-2: 19.0},
        "lora-8%": {1e-4: 20.0, 3e-4: 21.985, 1e-3: 22.0, 3e-3: 21.0, 1e-2: 20.0},
        "full": {1e-3: 21.99, 3e-3: 22.0, 1e-2: 20.0},  # what is below a rate as good as the best is not tried
        "prompt-8%": {1e-3: 20.0, 3e-3: 21.0, 1e-2: 22.0, 3e-2: 23.0, 1e-1: 24.0, 3e-1: -math.inf},
    }
    plan = Plan(place, BASE, Scale(), ["denoise"])
    validated(plan, lambda run: curves.get(run.labels["method"], curves["bottleneck-8%"])[run.labels["rate"]])
    chosen = {name: plan.chosen.best(plan.methods[name], TASKS["denoise"]) for name in curves}
    assert chosen == {"bottleneck-8%": 1e-2, "lora-8%": 3e-4, "full": 1e-3, "prompt-8%": 1e-1}


def test_rates_for_clean_images_are_chosen_by_the_mean_over_two_tasks(place: Place):
    """What each of the two alone would have chosen is another rate."""
    curves = {"hybrid": {1e-3: 23.0, 3e-3: 22.6, 1e-2: 21.0}, "gaussian-deblur": {1e-3: 25.0, 3e-3: 26.0, 1e-2: 26.2}}
    plan = Plan(place, BASE, Scale(), ["denoise"])
    validated(plan, lambda run: curves.get(run.labels["task"], curves["hybrid"]).get(run.labels["rate"], 20.0))
    assert plan.chosen.best(plan.methods["full"], TASKS["denoise"]) == 3e-3


def test_more_counts_as_equal_where_few_pairs_are_held_out():
    found = {1e-3: 25.93, 3e-3: 26.0, 1e-2: 25.0}
    assert (best(found, ["hybrid", "gaussian-deblur"]), best(found, ["derain"])) == (3e-3, 1e-3)


def test_adapters_of_a_type_have_one_rate_whatever_their_size(place: Place):
    plan = Plan(place, BASE, Scale(), ["hybrid", "gaussian-deblur"])
    validated(plan, lambda run: 30.0 if (run.labels["rate"] == 3e-3) == (run.labels["method"] == "lora-8%") else 29.0)
    assert "lora-2%" not in {run.labels["method"] for run in plan.rates()}
    rates = {run.name: run.recipe.settings.learning_rate for run in plan.runs() if run.recipe and "lora" in run.name}
    assert {"methods/hybrid/lora-2%", "methods/hybrid/lora-8%", "sizes/hybrid/lora-1%"} <= rates.keys()
    assert set(rates.values()) == {3e-3}
    assert plan.chosen.best(plan.methods["bottleneck-2%"], TASKS["denoise"]) != 3e-3


def test_pairs_have_rates_of_their_own_chosen_on_pairs_that_teach_nothing(place: Place):
    plan = Plan(place, BASE, Scale(), ["derain"])
    validated(plan, lambda run: 30.0 if (run.labels["rate"] == 1e-3) == (run.labels["task"] == "derain") else 29.0)
    assert plan.chosen.best(plan.methods["full"], TASKS["derain"]) == 1e-3
    assert plan.chosen.best(plan.methods["full"], TASKS["denoise"]) != 1e-3
    assert (
        plan.chosen.best(plan.methods["scratch"], TASKS["derain"]) != 1e-3
    )  # a random network learns too little there
    data = plan.chosen.held_out(TASKS["derain"])
    names = [{file.name for file in folder.iterdir()} for folder in (data.pairs_input, data.validation_input) if folder]
    assert names == [{f"{index:03}.png" for index in (1, 2, 3, 4, 6, 7)}, {"008.png", "009.png"}]


def test_a_scene_that_validates_teaches_nothing_in_another_pair_either(place: Place):
    targets = place.data / "train_paired/LOL/target"
    (targets / "002.png").write_bytes((targets / "009.png").read_bytes())
    plan = Plan(place, BASE, Scale(), ["low-light"])
    data = plan.chosen.held_out(TASKS["low-light"])
    for folder in (data.pairs_input, data.pairs_target):
        assert folder is not None
        assert {file.name for file in folder.iterdir()} == {f"{index:03}.png" for index in (1, 3, 4, 5, 6, 7)}


def test_pairs_whose_scene_is_in_the_test_set_are_not_trained_on(place: Place):
    data = TASKS["derain"].data(place.data, place.out)
    for folder in (data.pairs_input, data.pairs_target):
        assert folder is not None
        kept = {file.name for file in folder.iterdir()}
        assert kept == {f"{index:03}.png" for index in (1, 2, 3, 4, 6, 7, 8, 9)}


def test_no_test_set_is_trained_on(place: Place):
    plan = Plan(place, BASE, Scale(), list(TASKS))
    chosen_rates(plan, RATES[0])
    for run in plan.runs():
        if run.recipe is not None:
            data = run.recipe.data
            for folder in (*data.images, data.pairs_input, data.pairs_target):
                assert folder is None or "test" not in folder.parts


@pytest.mark.parametrize(("adapter", "option"), [("lora", "rank"), ("bottleneck", "width"), ("prompt", "channels")])
def test_sizes_are_the_nearest_to_the_budget(adapter: str, option: str):
    import adair_core

    model = adair_core.load(BASE)
    total = sum(parameter.numel() for parameter in model.backbone.parameters())
    value = sized(BASE, adapter, option, BUDGETS[1])
    gaps = []
    for candidate in (value - 1, value, value + 1):
        model.add_adapter(f"a{candidate}", adapter, {option: candidate})
        count = sum(parameter.numel() for parameter in model.adapter_parameters(f"a{candidate}").values())
        gaps.append(abs(count - BUDGETS[1] * total))
    assert min(gaps) == gaps[1]


TASK = StudiedTask("denoise-25", "noise", "denoise", {"sigma": "25"}, tests=(TestSet("CBSD68"),))


def small_run(place: Place, **changes: Any) -> Run:
    settings = Settings(steps=2, batch_size=1, patch_size=64, device="cpu", workers=0, validate_every=0)
    recipe = AdapterRecipe(
        data=Data(images=(place.data / "train/BSD400",)),
        settings=settings.model_copy(update=changes),
        base=BASE,
        adapter=Choice(name="lora", options={"rank": 1}),
        task=Choice(name="denoise", options={"sigma": "25"}),
    )
    return Run("small", recipe, BASE, (Measurement(TASK, TASK.tests[0]),), {"part": "methods", "method": "lora"})


def test_a_run_is_trained_measured_and_done_once(place: Place, monkeypatch: pytest.MonkeyPatch):
    run = small_run(place)
    result = perform(run, place)
    training = result["training"]
    assert (training["steps"], training["bytes"] > 4 * training["parameters"]) == (2, True)
    assert 0 < training["step_seconds"] < training["seconds"]
    rows = result["measurements"]["denoise-25-CBSD68"]["rows"]
    assert [row["condition"] for row in rows] == ["sigma 25", "sigma 25"]
    assert all(19 < row["input"]["psnr"] < 23 < row["restored"]["psnr"] for row in rows)
    monkeypatch.setattr("subprocess.Popen", None)
    assert perform(run, place) == json.loads(json.dumps(result))
    with pytest.raises(UsageError, match="one of another"):
        perform(small_run(place, steps=3), place)


def test_a_published_result_is_not_made_again_elsewhere(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = small_run(place)
    result = perform(run, place)
    published.write(tmp_path / "kept", result)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    place.data.rename(elsewhere / "data")
    there = Place(elsewhere / "data", elsewhere / "out", threads=1, published=tmp_path / "kept")
    with monkeypatch.context() as patch:
        patch.setattr("subprocess.Popen", None)
        found = perform(small_run(there), there)
        assert found["training"] == result["training"]
        (measured,), (kept,) = (
            [row["restored"]["psnr"] for row in document["measurements"]["denoise-25-CBSD68"]["rows"]][:1]
            for document in (result, found)
        )
        assert kept == pytest.approx(measured, abs=1e-5)
        assert str(tmp_path) not in json.dumps(found["plan"])
    assert there.outcome(small_run(there, steps=3)) is None  # of another plan


def test_a_result_from_before_an_option_is_that_of_the_option_s_default(place: Place, tmp_path: Path):
    run = small_run(place)
    result = perform(run, place)
    del result["plan"]["recipe"]["settings"]["flat_share"]
    published.write(tmp_path / "kept", result)
    there = Place(place.data, tmp_path / "there", threads=1, published=tmp_path / "kept")
    assert there.outcome(small_run(there)) is not None
    assert there.outcome(small_run(there, flat_share=0.5)) is None


def test_weights_of_a_published_result_are_trained_where_a_run_uses_them(place: Place, tmp_path: Path):
    source = small_run(place)
    published.write(tmp_path / "kept", perform(source, place))
    there = Place(place.data, tmp_path / "there", threads=1, published=tmp_path / "kept")
    run = Run("uses", None, BASE, source.measurements, {}, (source,), ("--adapter", str(weights_of(source, there))))
    result = perform(run, there)
    assert (weights_of(source, there) / "adapter_model.safetensors").exists()
    expected = perform(replace(run, restore=("--adapter", str(weights_of(source, place)))), place)
    assert result["measurements"]["denoise-25-CBSD68"]["rows"] == expected["measurements"]["denoise-25-CBSD68"]["rows"]


def test_a_failed_run_says_why_and_where(place: Place):
    run = small_run(place, patch_size=500)
    with pytest.raises(AdairError, match=r"adair train ended with 1: .*smaller.*small/training.log"):
        perform(run, place)
    assert place.result(run) is None


def test_a_rate_that_diverges_is_a_result_and_never_the_best(place: Place):
    run = replace(small_run(place, learning_rate=1e30, optimizer="sgd", warmup=0), measurements=())
    with pytest.raises(DivergedError, match="expected a finite"):
        perform(run, place)
    assert place.result(run) is None
    tried = replace(run, may_diverge=True)
    result = perform(tried, place)
    assert result["diverged"]
    assert (result["training"], place.outcome(tried)) == (None, json.loads(json.dumps(result)))
    assert validated_of(result) == -np.inf
    assert best({1e-3: 20.0, 1e-2: validated_of(result)}, ("hybrid",)) == 1e-3


def test_runs_go_on_at_once_and_what_two_of_them_need_is_trained_once(place: Place):
    source = small_run(place)
    words = ("--adapter", str(weights_of(source, place)))
    users = [Run(f"uses-{index}", None, BASE, source.measurements, {}, (source,), words) for index in range(2)]
    at_once([partial(perform, run, place) for run in users], jobs=2)
    assert all(place.result(run) for run in users)
    log = (place.folder(source) / "training.log").read_text()
    assert log.count("trained 2 steps") == 1


def test_work_is_done_at_once():
    meeting = Barrier(2)
    at_once([partial(meeting.wait, timeout=10)] * 2, jobs=2)  # the first waits for the second
    with pytest.raises(BrokenBarrierError):
        at_once([partial(meeting.wait, timeout=0.1)] * 2, jobs=1)


def test_a_plan_has_those_of_the_runs_that_it_uses(place: Place):
    plans = []
    for steps in (2, 3):
        source = small_run(place, steps=steps)
        plans.append(plan_of(Run("uses", None, BASE, source.measurements, {}, (source,)), place))
    assert plans[0] != plans[1]
    assert "after" not in plan_of(small_run(place), place)


@pytest.mark.parametrize("name", ["images", "imágenes", 'the "images"'])
def test_a_plan_is_the_same_wherever_the_images_and_runs_are(name: str, tmp_path: Path):
    place = Place(tmp_path / name, tmp_path / f"{name} out", 1)
    recipe = AdapterRecipe(
        base=str(place.out / "base.safetensors"),
        adapter=Choice(name="lora"),
        task=Choice(name="denoise"),
        data=Data(images=(place.data / "train/BSD400",)),
    )
    found = plan_of(Run("somewhere", recipe, None, ()), place)["recipe"]
    assert (found["data"]["images"], found["base"]) == (["IMAGES/train/BSD400"], "RUNS/base.safetensors")


def test_a_base_whose_result_is_published_is_trained_before_what_trains_on_it(place: Place):
    settings = Settings(steps=1, batch_size=1, patch_size=64, device="cpu", workers=0, validate_every=0)
    noise = {"degradations": [{"name": "gaussian-noise", "options": {"sigma": [0, 55]}}]}
    recipe = PretrainRecipe(
        data=Data(images=(place.data / "train/BSD400",)),
        settings=settings,
        backbone=load(BASE).info.backbone,
        degradation=Choice(name="one-of", options=noise),
    )
    source = Run("base", recipe, None, (), {})
    published.write(place.out / "kept", perform(source, place))
    there = replace(place, out=place.out / "there", published=place.out / "kept")
    run = small_run(there)
    assert isinstance(run.recipe, AdapterRecipe)
    base = str(weights_of(source, there))
    run = replace(run, recipe=run.recipe.model_copy(update={"base": base}), base=base, after=(source,))
    assert perform(run, there)["training"]["steps"] == 2


def test_a_published_run_is_repeated(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(study, "DOCS", tmp_path / "docs" / "study.md")
    frozen = next(iter(Plan(place, BASE, Scale(), ["denoise"]).comparison()))
    published.write(tmp_path / "docs" / "study", perform(frozen, place))
    chosen_rates(Plan(replace(place, out=tmp_path / "runs-repeated"), BASE, Scale(), ["denoise"]), 1e-2)
    options = ["--data", str(place.data), "--out", str(tmp_path / "runs"), "--base", BASE]
    outcome = CliRunner().invoke(study.main, ["repeat", frozen.name, *options])
    (line,) = [line for line in outcome.output.splitlines() if line.startswith("denoise-CBSD68 sigma 25: ")]
    words = line.split()
    assert words[words.index("published") + 1] == words[words.index("repeated") + 1]
    outcome = CliRunner().invoke(study.main, ["repeat", "methods/denoise/nothing", *options])
    assert "expected a published one, got methods/denoise/nothing" in " ".join(outcome.output.split())
    chosen = {"run": "rates/hybrid/full-0.01", "labels": {"task": "denoise"}, "measurements": {}}
    published.write(tmp_path / "docs" / "study", chosen)
    outcome = CliRunner().invoke(study.main, ["repeat", str(chosen["run"]), *options])
    assert (outcome.exit_code, "got rates/hybrid/full-0.01" in outcome.output) == (2, True)


def test_the_first_failure_ends_what_is_not_begun(place: Place):
    done = []
    work = [partial(perform, small_run(place, patch_size=500), place), *([partial(done.append, 1)] * 100)]
    with pytest.raises(AdairError, match="smaller"):
        at_once(work, jobs=1)
    assert done == []


def photo() -> np.ndarray:
    rows, columns = np.mgrid[0:60, 0:80] / 10
    image = np.stack([0.5 + 0.3 * np.sin(rows), 0.4 + 0.3 * np.cos(columns), 0.5 + 0.2 * np.sin(rows + columns)], -1)
    image[20:40, 30:50] = (0.05, 0.4, 0.1)  # something dark in one channel, as the prior expects
    return image


def psnr(image: np.ndarray, clean: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((np.clip(image, 0, 1) - clean) ** 2)))


def test_baselines_restore():
    clean = photo()
    noisy = clean + np.random.default_rng(0).normal(0, 25 / 255, clean.shape)
    assert psnr(non_local_means(noisy, {"sigma": 25}), clean) > psnr(noisy, clean) + 5
    blur = torch.nn.functional.conv2d
    taps = torch.exp(-0.5 * (torch.arange(-6, 7).double() / 1.5) ** 2)
    kernel = (torch.outer(taps, taps) / taps.sum() ** 2).expand(3, 1, 13, 13)
    padded = np.pad(clean, ((6, 6), (6, 6), (0, 0)), mode="symmetric")
    blurred = blur(torch.from_numpy(padded).permute(2, 0, 1)[None], kernel, groups=3)[0].permute(1, 2, 0).numpy()
    assert psnr(deconvolved(blurred, {"sigma": 1.5}), clean) > psnr(blurred, clean) + 3


def test_the_dark_channel_undoes_even_haze():
    """Where transmission is the same everywhere and every neighbourhood has a dark pixel, the prior is exact."""
    clean = np.random.default_rng(1).uniform(0, 0.9, (120, 120, 3))
    clean[::4, ::4, 1] = 0
    hazy = clean * 0.6 + 0.4
    hazy[:20, :20] = 1  # the sky, which the airlight is read from
    restored = dark_channel(hazy, {})
    assert psnr(restored[90:, 90:], clean[90:, 90:]) > 30 > 15 > psnr(hazy[90:, 90:], clean[90:, 90:])
