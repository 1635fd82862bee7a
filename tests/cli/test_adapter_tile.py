"""`adair adapters tile`, and what the other commands make of what it writes."""

from __future__ import annotations

import shutil
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adair_core.data.images import ImageFile, read_image, write_image
from adair_core.data.photos import sample_photo_files
from adair_core.evaluation import tile_choice
from adair_core.model import AdapterCard, load
from adair_core.model.adapter_files import read_adapter
from adair_core.plugins import plugins
from adair_core.testing import run_program

ZOO = plugins().weights_named("denoise").path


@pytest.fixture(scope="session")
def large(tmp_path_factory) -> Path:
    """Photos that are larger than tiles."""
    folder = tmp_path_factory.mktemp("large")
    pixels = read_image(sample_photo_files(held_out=True)[0]).pixels
    for index in range(2):
        write_image(folder / f"photo{index}.png", ImageFile(pixels=pixels[40 * index :][:150, :200]))
    return folder


@pytest.fixture
def trained(base, large, workplace) -> Path:
    """A trained adapter whose card has all that a training writes."""
    outcome = run_program(
        *("train", "--task", "derain", "--base", base, "--data", large, "--out", "run", "--steps", 1),
        *("--batch-size", 1, "--patch-size", 16, "--adapter.rank", 2, "--device", "cpu", "--workers", 0),
    )
    assert outcome.exit_code == 0, outcome.stderr
    return workplace / "run" / "derain"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_measured_is_written(trained, large, monkeypatch):
    before = read_adapter(trained)
    monkeypatch.setattr(tile_choice, "best_side", lambda psnr: 128)
    outcome = run_program("adapters", "tile", trained, "--data", large, "--limit", 1, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert "restoring 1 image whole and in tiles" in outcome.stderr
    after = read_adapter(trained)
    assert after.card == replace(before.card, tile=128)
    assert (after.fingerprint, after.base, after.choice) == (before.fingerprint, before.base, before.choice)
    assert (outcome.json["tile"], outcome.json["before"]) == (128, None)
    for tile, value in outcome.json["psnr"].items():
        report = run_program(
            *("evaluate", "--task", "derain", "--data", large, "--limit", 1, "--json", "--metric", "psnr"),
            *("--adapter", trained, "--base", before.base, "--tile", tile),
        ).json
        mean = statistics.mean(condition["psnr"]["restored"]["mean"] for condition in report["means"].values())
        assert value == pytest.approx(mean)
    assert len(set(outcome.json["psnr"].values())) == 3


def test_real_pairs_judge_what_learned_from_synthetic_damage(trained, large):
    outcome = run_program("adapters", "tile", trained, "--pairs", large, large, "--dry-run", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert set(outcome.json["psnr"]) == {"none", "192", "128"}


def test_the_images_that_its_training_held_out(trained, large):
    outcome = run_program("adapters", "tile", trained, "--dry-run")
    assert outcome.exit_code == 0, outcome.stderr
    assert "restoring 1 image whole and in tiles" in outcome.stderr
    assert "its card says whole images" in outcome.stderr
    away = large.with_name("elsewhere")
    shutil.move(large, away)
    try:
        gone = run_program("adapters", "tile", trained)
    finally:
        shutil.move(away, large)
    assert gone.exit_code == 1
    assert f"what its training held out cannot be read ({large}" in gone.stderr
    assert "give images that it did not train on with --data or --pairs" in gone.stderr


def test_nothing_else_in_the_folder_changes(trained, workplace):
    """Its terms, which only the text of a pulled adapter has, and the name of its base."""
    assert run_program("adapters", "push", trained, "./shared", "--terms", "CC0 only").exit_code == 0
    assert run_program("adapters", "pull", "./shared", "-o", "pulled").exit_code == 0
    before = contents(Path("pulled"))
    assert run_program("adapters", "tile", "./pulled", "--set", 96).exit_code == 0
    after = contents(Path("pulled"))
    assert after["adapter_config.json"] == before["adapter_config.json"]
    text = after["README.md"].decode()
    assert "- Adapter: CC0 only" in text
    assert text.replace("| restores best in | tiles of 96 pixels |\n", "").encode() == before["README.md"]
    assert run_program("adapters", "tile", "./pulled", "--set", "none").exit_code == 0
    assert contents(Path("pulled")) == before


def test_set_without_measuring(trained):
    assert run_program("adapters", "tile", trained, "--set", 96).exit_code == 0
    assert read_adapter(trained).card.tile == 96
    assert run_program("adapters", "tile", trained, "--set", "none").exit_code == 0
    assert read_adapter(trained).card.tile is None


def test_weights_stay_as_they_were_stored(base, workplace):
    model = load(base)
    model.add_adapter("a", "full")
    model.save_adapter("a", workplace / "half", dtype="bfloat16", card=AdapterCard(task="denoise"))
    before = read_adapter(workplace / "half").tensors
    assert run_program("adapters", "tile", workplace / "half", "--set", 64).exit_code == 0
    after = read_adapter(workplace / "half").tensors
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("denoise", "--set", "96"), "is of the zoo, which stays as it is; give --dry-run, or a folder of your own"),
        ((ZOO, "--set", "96"), "is of the zoo, which stays as it is; give --dry-run, or a folder of your own"),
        (("TRAINED", "--set", "auto"), "--set: expected none or a number of pixels, got 'auto'"),
        (("TRAINED", "--set", "12"), "expected a whole number of pixels, 64 or more, got 12"),
        (("TRAINED", "--set", "abc"), "--set: expected none or a number of pixels, got 'abc'"),
        (("TRAINED", "--set", "none", "--data", "x"), "--set measures nothing"),
        (("TRAINED", "--data", "x", "--pairs", "x", "y"), "--data (clean images) or --pairs, not both"),
        (("BARE",), "does not say for which task the adapter was trained; give --pairs, or --set N|none"),
    ],
)
def test_wrong_requests(arguments, message, trained, base, workplace):
    model = load(base)
    model.add_adapter("a", "lora", {"rank": 2})
    model.save_adapter("a", workplace / "bare")
    before = contents(trained)
    folders = {"TRAINED": trained, "BARE": workplace / "bare"}
    extra = ("--base", base) if arguments[0] in folders else ()
    outcome = run_program("adapters", "tile", *(folders.get(each, each) for each in arguments), *extra)
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert contents(trained) == before


def test_restore_and_evaluate_take_it(trained, base, workplace):
    pixels = read_image(sample_photo_files(held_out=True)[0]).pixels[:150, :100]
    (workplace / "in").mkdir()
    write_image(workplace / "in" / "photo.png", ImageFile(pixels=pixels))
    assert run_program("adapters", "tile", trained, "--set", 64).exit_code == 0
    how = ("--adapter", trained, "--base", base)
    for name, options in (("auto", ()), ("64", ("--tile", 64)), ("none", ("--tile", "none"))):
        out = workplace / f"{name}.png"
        assert run_program("restore", workplace / "in" / "photo.png", "-o", out, *how, *options).exit_code == 0
    restored = {name: (workplace / f"{name}.png").read_bytes() for name in ("auto", "64")}
    assert restored["auto"] == restored["64"]
    evaluate = ("evaluate", "--task", "derain", "--data", workplace / "in", "--json", *how)
    outcome = run_program(*evaluate)
    assert outcome.json["report"]["restorer"]["tile"] == "64"
    assert "restorations were made in tiles; --tile none" in outcome.stderr
    compared = run_program(*evaluate, "--report", workplace / "report.md")
    assert "- restored, restored in tiles of 64 pixels" in (workplace / "report.md").read_text()
    assert compared.exit_code == 0
    assert run_program(*evaluate, "--tile", 64).json["means"] == outcome.json["means"]
    assert run_program(*evaluate, "--exact").json["report"]["restorer"]["tile"] == "exact"
