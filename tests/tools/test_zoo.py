"""The zoo's adapters: trained, stored, measured as they are stored, and published under versions."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from adaptation import zoo
from adaptation.baselines import summaries
from adaptation.package_index import newest
from adaptation.runs import Measurement, Place, nearly_done, perform
from adaptation.tasks import TASKS, TestSet
from adaptation.zoo import ENTRIES, make, measure, publish, training
from adaptation.zoo_page import page
from safetensors.torch import load_file

from adair_core.errors import AdairError
from adair_core.evaluation import Report
from adair_core.evaluation.tile_choice import TileChoice
from adair_core.model import AdapterCard, load
from adair_core.model.adapter_files import read_adapter
from adair_core.plugins import plugins

BASE = "restormer-tiny@6"


def test_entries_are_tasks_with_options_that_they_have():
    for entry in ENTRIES.values():
        fields = plugins().task(entry.task.task).config.model_fields
        assert set(entry.options) <= set(fields)
        # An option that tells an entry apart is what it is trained with.
        defaults = {name: fields[name].default for name in entry.options}
        assert {
            **defaults,
            **{name: entry.task.options.get(name, defaults[name]) for name in defaults},
        } == entry.options
    assert set(TASKS) - set(ENTRIES) == {"snow"}  # which is only studied


def test_an_entry_from_its_training_to_the_package(place: Place, tmp_path: Path):
    settings = {"steps": 2, "batch_size": 1, "validate_every": 1}
    entry = replace(ENTRIES["denoise"], settings=settings, also=(), whole=True)
    package = tmp_path / "package"
    package.mkdir()
    (package / "index.json").write_text("[]")
    with pytest.raises(AdairError, match="denoise: not trained and measured yet"):
        publish(entry, place, package)
    made = make(entry, place, BASE)
    assert {str(tensor.dtype) for tensor in load_file(made / "adapter_model.safetensors").values()} == {"torch.float16"}
    card = read_adapter(made).card
    assert [(row["set"], row["condition"]) for row in card.metrics] == [
        ("CBSD68", "sigma 15"),
        ("CBSD68", "sigma 25"),
        ("CBSD68", "sigma 50"),
    ]
    report = json.loads((place.out / "denoise/measured/denoise-CBSD68/report.json").read_text())
    measured = report["means"]["sigma 25"]["psnr"]["restored"]["mean"]
    assert card.metrics[1]["psnr"] == pytest.approx(measured, abs=1e-4)
    # It is what is stored that was measured, not what was trained.
    recipe = json.loads((place.out / "denoise/measured/plan.json").read_text())
    assert recipe["restore"] == ["--adapter", "RUNS/denoise/adapter"]
    assert card.recipe is not None
    assert card.recipe["settings"]["steps"] == 2
    text = (made / "README.md").read_text()
    assert "research use" in text
    assert "BSD400" in text
    assert "Training: 2 steps in 0." in text
    assert "within 0.1 dB of its last PSNR on training images" in text
    load(BASE).load_adapter(made)

    assert publish(entry, place, package) == "denoise@1"
    written = page(package)
    assert f"| `--task denoise` | CBSD68 | sigma 15 | {card.metrics[0]['psnr input']:.2f} |" in written
    assert f"| **{measured:.2f}** (" in written
    assert "LoRA of rank 16 on `restormer-tiny@6`: 221,248 parameters" in written
    assert "| DnCNN (0.67 M, one model a sigma) | 33.90 | 31.24 | 27.95 |" in written
    model = load(BASE)
    name = model.load_adapter(made)
    model.save_adapter(name, made, card=AdapterCard(task="denoise", notes="another card"), dtype="float16")
    assert publish(entry, place, package) is None
    assert "another card" in (package / "denoise@1/README.md").read_text()
    assert read_adapter(package / "denoise@1").card.notes == "another card"
    with torch.no_grad():
        next(iter(model.adapter_parameters(name).values())).mul_(2)
    model.save_adapter(name, made, dtype="float16")
    assert publish(entry, place, package) == "denoise@2"
    index = json.loads((package / "index.json").read_text())
    assert [(spec["name"], spec["version"], spec["task"]) for spec in index] == [
        ("denoise", 1, "denoise"),
        ("denoise", 2, "denoise"),
    ]


def test_an_entry_that_restores_better_in_tiles(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = {"steps": 1, "batch_size": 1, "validate_every": 1}
    entry = replace(ENTRIES["denoise"], settings=settings, also=())
    package = tmp_path / "package"
    package.mkdir()
    (package / "index.json").write_text("[]")
    with pytest.raises(AdairError, match="denoise: not published yet"):
        measure(entry, place, BASE, package)
    whole = read_adapter(make(replace(entry, whole=True), place, BASE)).card
    assert publish(entry, place, package) == "denoise@1"
    # What is published is measured anew: the same figures, with the tiles that suit it now.
    monkeypatch.setattr(zoo, "choose_tile", lambda *_: TileChoice({}, 64))
    anew = replace(place, out=tmp_path / "anew")
    card = read_adapter(measure(entry, anew, BASE, package)).card
    assert (whole.tile, card.tile) == (None, 64)
    assert (card.recipe, card.notes, card.protocol) == (whole.recipe, whole.notes, whole.protocol)
    plans = {
        name: json.loads((anew.out / f"denoise/{name}/plan.json").read_text())["restore"]
        for name in ("measured", "frozen")
    }
    tile = ["--tile", "64"]
    assert plans == {"measured": ["--adapter", "RUNS/denoise/adapter", *tile], "frozen": tile}
    # The pictures are of 80 x 72 pixels.
    report = Report.from_json((anew.out / "denoise/measured/denoise-CBSD68/report.json").read_text())
    assert report.restorer.tile == "64"
    assert card.metrics[1]["psnr"] == pytest.approx(report.mean("psnr", condition="sigma 25"), abs=1e-4)
    assert card.metrics[1]["psnr"] != whole.metrics[1]["psnr"]
    # It restores otherwise, so it is another version, though the weights are the same.
    assert publish(entry, anew, package) == "denoise@2"
    assert read_adapter(package / "denoise@2").fingerprint == read_adapter(package / "denoise@1").fingerprint
    # What was trained there is not measured as what is published.
    model = load(BASE)
    name = model.load_adapter(package / "denoise@2")
    with torch.no_grad():
        next(iter(model.adapter_parameters(name).values())).mul_(2)
    model.save_adapter(name, anew.out / "denoise" / "adapter", dtype="float16")
    with pytest.raises(AdairError, match=r"holds another adapter than .*denoise@2; give another --out"):
        measure(entry, anew, BASE, package)


def test_pairs_after_synthetic_damage(place: Place):
    quick = {"steps": 1, "batch_size": 1, "patch_size": 16}
    alone = training(replace(ENTRIES["derain"], settings=quick, before=()), place, BASE)
    assert not alone.after
    entry = replace(ENTRIES["derain"], settings=quick, before=({**quick, "seed": 5}, {**quick, "seed": 6}), also=())
    entry = replace(entry, whole=True)
    run = training(entry, place, BASE)
    (second,) = run.after
    (first,) = second.after
    assert first.recipe.data.images == second.recipe.data.images != ()
    assert [each.recipe.task.options["pairs"] for each in (first, second, run)] == [False, False, True]
    assert [each.recipe.settings.seed for each in (first, second, run)] == [5, 6, 0]
    perform(run, place)
    for each, start in ((run, "synthetic-2"), (second, "synthetic-1")):
        recipe = json.loads((place.folder(each) / "training/recipe.json").read_text())
        assert recipe["start_from"] == str(place.out / f"derain/{start}/training/derain")
        assert read_adapter(Path(recipe["start_from"])).fingerprint == recipe["start_fingerprint"]
    (place.data / "test/Rain100L").symlink_to(place.data / "train_paired/Rain100L")
    card = (make(entry, place, BASE) / "README.md").read_text()
    assert '"start_from": "RUNS/derain/synthetic-2/training/derain"' in card
    assert '"pairs_input": "RUNS/pairs/derain/all/input"' in card
    assert "the pairs of Rain100L without 005 and 025, whose scenes are in the test set" in card
    took = r"1 steps in \d+\.\d minutes"
    synthetic = f"after {took} on synthetic damage"
    assert re.search(f"Training: {took} {synthetic} {synthetic}, on one core of a CPU", card)


def test_when_a_training_is_nearly_done(tmp_path: Path):
    """A validation that was near does not count if a later one is not."""
    lines = [{"kind": "step", "step": step, "seconds": 2.0} for step in range(1, 51)]
    values = {10: 29.95, 20: 29.5, 30: 29.91, 40: 30.2, 50: 30.0}
    lines += [{"kind": "validation", "step": step, "value": value} for step, value in values.items()]
    file = tmp_path / "metrics.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    assert nearly_done(tmp_path) == {"near_steps": 30, "near_seconds": 60.0}
    file.write_text("\n".join(map(json.dumps, lines[:-4])))
    assert nearly_done(tmp_path) == {}


def test_a_set_can_be_judged_in_rgb(tmp_path: Path):
    luma, rgb = (Measurement(TASKS["derain"], TestSet("Rain100L", pairs=True, rgb=rgb)) for rgb in (False, True))
    assert luma.task.arguments(luma.test)[:2] == ["--task", "derain"]
    assert rgb.task.arguments(rgb.test) == []
    assert rgb.test.arguments(tmp_path) == luma.test.arguments(tmp_path)
    assert {luma.name, rgb.name} == {"derain-Rain100L", "derain-Rain100L-rgb"}


def test_the_page_of_the_docs_is_that_of_the_package():
    root = Path(__file__).parents[2]
    classical = json.loads((root / "docs/classical.json").read_text())
    written = page(root / "plugins/zoo", classical)
    assert (root / "docs/zoo.md").read_text() == written, "run python tools/train_zoo.py page"
    assert all(f"{method['psnr']:.2f} {method['method']}" in written for method in classical)


def test_published_figures_stand_beside_what_the_adapters_have_on_the_same_set():
    root = Path(__file__).parents[2]
    cards = {name: newest(root / "plugins/zoo", name)[1] for name in ("denoise", "super-resolve-x2")}
    denoised, enlarged = (read_adapter(folder).card.metrics for folder in cards.values())
    own = [f"{row['psnr']:.2f}" for row in denoised if row["set"] == "CBSD68"]
    doubled = next(f"{row['psnr']:.2f}" for row in enlarged if row["set"] == "Set5")
    text = page(root / "plugins/zoo")
    table = text[text.index("| CBSD68 | sigma 15 | sigma 25 | sigma 50 |") :].split("\n\n")[0].splitlines()
    assert table[2] == f"| **`--task denoise`** | {' | '.join(own)} |"
    assert "| DnCNN (0.67 M, one model a sigma) | 33.90 | 31.24 | 27.95 |" in table
    table = text[text.index("| Set5 | x2 | x3 | x4 |") :].split("\n\n")[0].splitlines()
    assert table[2].startswith(f"| **`--task super-resolve`** | {doubled} |")
    assert "| VDSR (0.67 M) | 37.53 | 33.66 | 31.35 |" in table


def test_classical_methods_are_means_over_images(tmp_path: Path):
    rows = [
        {
            "condition": condition,
            "image": str(image),
            "input": {"psnr": 0.0},
            "restored": {"psnr": 20.0 + image + extra},
        }
        for condition, extra in (("sigma 15", 0), ("sigma 25", 5))
        for image in range(3)
    ]
    document = {
        "labels": {"task": "denoise", "method": "a filter"},
        "measurements": {"denoise-CBSD68": {"rows": rows}},
    }
    file = tmp_path / "baselines/denoise/a-filter/result.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(document))
    common = {"task": "denoise", "set": "CBSD68", "method": "a filter", "images": 3}
    assert summaries(tmp_path) == [
        {**common, "condition": "sigma 15", "psnr": 21.0},
        {**common, "condition": "sigma 25", "psnr": 26.0},
    ]
