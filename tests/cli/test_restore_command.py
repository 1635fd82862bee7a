"""`adair restore` and `adair evaluate` with an adapter that was just made."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import make_clip, packets_of

from adair_core.data.images import ImageFile, read_image, write_image
from adair_core.model import load
from adair_core.testing import installed, run_program, write_package


def pixels(path: Path | str) -> np.ndarray:
    return read_image(Path(path)).pixels


def test_a_folder(adapter, photos):
    outcome = run_program("restore", photos, "-o", "out", "--adapter", adapter, "--device", "cpu", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert [result["status"] for result in outcome.json] == ["restored"] * 3
    assert {result["output"] for result in outcome.json} == {f"out/photo{i}.png" for i in range(3)}
    assert f"restoring with {load_name(adapter)}" in outcome.stderr
    assert not np.array_equal(pixels("out/photo0.png"), pixels(photos / "photo0.png"))


def test_what_a_name_holds_stays_in_its_line(adapter, photos):
    name = "a\nfailed: \x1b[2Jb\udce9.png"  # a line break, what clears a terminal, and a byte that is not UTF-8
    Path("in").mkdir()
    (Path("in") / name).write_bytes((photos / "photo0.png").read_bytes())
    outcome = run_program("restore", "in", "-o", "out", "--adapter", adapter, "--strength", "0")
    assert outcome.exit_code == 0, outcome.stderr
    assert r"restored: out/a\nfailed: \x1b[2Jb" in outcome.stderr
    assert "\x1b" not in outcome.stderr
    assert (Path("out") / name).exists()


def load_name(adapter: Path) -> str:
    config = json.loads((adapter / "adapter_config.json").read_text())
    return f"{config.get('base_model_name_or_path') or config['base']} + denoise"


def test_what_restores_is_what_the_library_restores(adapter, base, photos):
    assert run_program("restore", photos / "photo1.png", "-o", "one.png", "--adapter", adapter).exit_code == 0
    model = load(base)
    model.load_adapter(adapter)
    assert np.array_equal(pixels("one.png"), model.restore(pixels(photos / "photo1.png")))


def test_strength_blend_and_base_alone(adapter, base, photos):
    source = photos / "photo0.png"
    run_program("restore", source, "-o", "zero.png", "--adapter", adapter, "--strength", 0)
    assert Path("zero.png").read_bytes() == source.read_bytes()
    run_program("restore", source, "-o", "base.png", "--base", base)
    run_program("restore", source, "-o", "none.png", "--adapter", adapter, "--blend", "0")
    assert np.array_equal(pixels("base.png"), pixels("none.png"))
    run_program("restore", source, "-o", "full.png", "--adapter", adapter)
    assert not np.array_equal(pixels("base.png"), pixels("full.png"))


def test_nothing_is_overwritten(adapter, photos):
    once = ["restore", photos / "photo0.png", "-o", "x.png", "--adapter", adapter]
    assert run_program(*once).exit_code == 0
    before = Path("x.png").read_bytes()
    again = run_program(*once, "--strength", 0)
    assert again.exit_code == 1
    assert "exists already" in again.stderr
    assert Path("x.png").read_bytes() == before
    assert run_program(*once, "--overwrite").exit_code == 0
    assert run_program(*once, "--skip-existing").exit_code == 0
    own = run_program(
        "restore", photos / "photo0.png", "-o", photos / "photo0.png", "--adapter", adapter, "--overwrite"
    )
    assert own.exit_code == 2
    assert "inputs are never overwritten" in own.stderr


def test_a_bad_file_does_not_stop_the_others(adapter, photos, workplace):
    (workplace / "bad.png").write_bytes(b"not an image")
    outcome = run_program("restore", "bad.png", photos / "photo0.png", "-o", "out", "--adapter", adapter)
    assert outcome.exit_code == 1
    assert "error: bad.png" in outcome.stderr
    assert "1 restored, 1 failed of 2 in" in outcome.stderr
    assert Path("out/photo0.png").exists()


def test_a_list_and_standard_input(adapter, photos, monkeypatch):
    Path("list.txt").write_text(f"{photos / 'photo1.png'}\n{photos / 'photo2.png'}\n")
    outcome = run_program("restore", "--files-from", "list.txt", "-o", "out", "--adapter", adapter)
    assert outcome.exit_code == 0, outcome.stderr
    assert sorted(path.name for path in Path("out").iterdir()) == ["photo1.png", "photo2.png"]
    assert "[1 of 2, about" in outcome.stderr
    assert "2 restored of 2 in" in outcome.stderr
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{photos / 'photo0.png'}\n".encode())))
    run_program("restore", "--files-from", "-", "-o", "piped", "--adapter", adapter)
    assert [path.name for path in Path("piped").iterdir()] == ["photo0.png"]


def test_fail_fast(adapter, photos, workplace):
    (workplace / "bad.png").write_bytes(b"")
    run = ["restore", "bad.png", *(photos / f"photo{i}.png" for i in range(3)), "-o", "out", "--adapter", adapter]
    outcome = run_program(*run, "--fail-fast")
    assert outcome.exit_code == 1
    assert "were not tried; the same command with --skip-existing goes on" in outcome.stderr


def test_quality_subsampling_and_white(adapter, photos):
    source = photos / "photo0.png"
    for quality in ("20", "95"):
        run_program("restore", source, "-o", f"{quality}.jpg", "--adapter", adapter, "--quality", quality)
    assert Path("20.jpg").stat().st_size < Path("95.jpg").stat().st_size
    run_program("restore", source, "-o", "half.jpg", "--adapter", adapter, "--subsampling", "4:2:0")
    assert read_image(Path("half.jpg")).storage.subsampling == "4:2:0"
    run_program("restore", "20.jpg", "-o", "kept.jpg", "--adapter", adapter, "--quality", "keep")
    assert read_image(Path("kept.jpg")).storage.jpeg_tables == read_image(Path("20.jpg")).storage.jpeg_tables
    write_image("float.tif", ImageFile(pixels=pixels(source).astype(np.float32)))
    assert "give --white 255" in run_program("restore", "float.tif", "-o", "f.tif", "--adapter", adapter).stderr
    assert run_program("restore", "float.tif", "-o", "f.tif", "--adapter", adapter, "--white", 255).exit_code == 0


def test_options_that_no_result_can_have_are_told(adapter, photos):
    run = ["restore", photos / "photo0.png", "--adapter", adapter, "-o"]
    outcome = run_program(*run, "x.png", "--quality", "30", "--subsampling", "4:2:0", "--crf", "20")
    assert outcome.exit_code == 0
    assert "--quality changes nothing: no result is a jpeg or webp or avif file\n" in outcome.stderr
    assert "--subsampling changes nothing: no result is a jpeg or video file\n" in outcome.stderr
    assert "--crf changes nothing: no result is a video file\n" in outcome.stderr
    assert "changes nothing" not in run_program(*run, "x.jpg", "--quality", "30", "--subsampling", "4:2:0").stderr


def test_a_video(adapter, workplace):
    make_clip(workplace / "clip.mp4", sound="aac")
    outcome = run_program("restore", "clip.mp4", "--adapter", adapter, "--crf", 30)
    assert outcome.exit_code == 0, outcome.stderr
    assert "restored: clip.restored.mp4" in outcome.stderr
    assert packets_of(Path("clip.restored.mp4"), "audio") == packets_of(Path("clip.mp4"), "audio")


def test_a_video_without_pyav(adapter, workplace, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (workplace / "clip.mp4").write_bytes(b"x")
    outcome = run_program("restore", "clip.mp4", "--adapter", adapter)
    assert outcome.exit_code == 2
    assert "pip install 'adair[video]'" in outcome.stderr


def test_the_options_of_a_task_choose_among_the_zoos_adapters(adapter, photos, workplace):
    source = f"""
        from pathlib import Path
        from adair_core import WeightsSpec, hookimpl

        @hookimpl
        def adair_weights():
            common = dict(version=99, kind="adapter", path=Path({str(adapter)!r}), terms="CC0", summary="x")
            return [
                *(WeightsSpec(name=f"enlarge-x{{scale}}", task="super-resolve", options={{"scale": scale}}, **common)
                  for scale in (2, 3)),
                *(WeightsSpec(name=f"sharp-{{kind}}", task="deblur", options={{"kind": kind}}, **common)
                  for kind in ("gaussian", "motion")),
                WeightsSpec(name="sharp-any", task="deblur", **common),
            ]
    """
    write_package(workplace / "site", "adair-plugin-zoo", {"zoo_plugin": source})
    chosen = {
        ("super-resolve", "--scale", "3"): "enlarge-x3",
        ("super-resolve", "--task.scale", "3"): "enlarge-x3",
        ("super-resolve",): "enlarge-x2",
        ("deblur",): "sharp-gaussian",
        ("deblur", "--task.kind", "motion"): "sharp-motion",
    }
    with installed(workplace / "site"):
        for number, (options, name) in enumerate(chosen.items()):
            outcome = run_program("restore", photos / "photo0.png", "-o", f"{number}.png", "--task", *options)
            assert outcome.exit_code == 0, outcome.stderr
            assert f"+ {name}\n" in outcome.stderr
        assert read_image(workplace / "0.png").pixels.shape == (120, 144, 3)
        outcome = run_program("restore", photos / "photo0.png", "-o", "x.png", "--task", "hybrid", "--scale", "4")
        assert outcome.exit_code == 2
        assert "the zoo's adapters for task 'hybrid': expected scale 2, got scale 4" in outcome.stderr
        shown = run_program("restore", "--task", "deblur", "--help").stdout
        assert "--task.kind" in shown
        assert "--task.sigma" not in shown
        listed = run_program("weights", "--json").json["weights"]
        assert {entry["name"]: entry["options"] for entry in listed}["enlarge-x3@99"] == {"scale": 3}
        outcome = run_program("evaluate", "--task", "super-resolve", "--scale", "3", "--limit", "1")
        assert "+ enlarge-x3 on" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--quality", "best"], "--quality: expected 1 to 100 or 'keep', got 'best'"),
        (["--quality", "0"], "quality: expected 1 to 100 or 'keep', got 0"),
        (["--white", "0"], "white: expected a positive number, got 0"),
        (["--crf", "99"], "crf: expected 0 to 63, got 99"),
        ([], "what should restore? give --task NAME or --adapter NAME|DIR, or --base NAME"),
        (["--task", "denois"], "unknown task 'denois'; did you mean 'denoise'?"),
        (
            ["--adapter", "lora"],
            "--adapter: expected a trained adapter: a name that 'adair adapters' lists, or its "
            "folder, got the adapter type 'lora'",
        ),
        (["--adapter", "nope"], "unknown adapter 'nope'"),
        (["--adapter", "ADAPTER", "--blend", "0.5,0.5"], "--blend: expected a number, one for each --adapter"),
        (["--adapter", "ADAPTER", "--blend", "x"], "--blend: expected a number"),
        (["--adapter", "ADAPTER", "--blend", "denoise=1"], "--blend NAME=X names the adapters: leave --adapter out"),
        (["--blend", "denoise=1,0.5"], "--blend: expected names with numbers, such as denoise=0.7,deblur=0.3, got"),
        (["--blend", "denoise=much"], "--blend: expected names with numbers"),
        (["--blend", "denois=1"], "denois"),
        (["--blend", "snow=1"], "the zoo has no adapter for task 'snow'"),
        (["--adapter", "ADAPTER", "--tile", "big"], "--tile: expected auto, none or a positive number of pixels, got"),
        (["--adapter", "ADAPTER", "--tile", "0"], "tile: expected 'auto', None or a positive number of pixels, got 0"),
        (["--adapter", "ADAPTER", "--strength", "-1"], "strength: expected 0"),
        (["--adapter", "ADAPTER", "--device", "tpu"], "device: expected auto, cpu, cuda, cuda:N or mps, got 'tpu'"),
        (["--base", "ADAPTER"], "--base: expected a base: "),
        (["--adapter", "ADAPTER", "--scale", "2", "--task", "denoise"], "--scale: expected a task that enlarges"),
    ],
)
def test_wrong_requests(arguments, message, adapter, photos):
    given = [adapter if argument == "ADAPTER" else argument for argument in arguments]
    outcome = run_program("restore", photos / "photo0.png", "-o", "x.png", *given)
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert not Path("x.png").exists()


def test_no_such_list(adapter):
    outcome = run_program("restore", "--files-from", "none.txt", "--adapter", adapter)
    assert outcome.exit_code == 1
    assert "none.txt: the list of files cannot be read" in outcome.stderr


def test_no_such_image(adapter):
    outcome = run_program("restore", "missing.png", "--adapter", adapter)
    assert outcome.exit_code == 1
    assert "missing.png" in outcome.stderr


def test_the_zoos_adapter_for_a_task(adapter, base, photos, workplace):
    """The newest one; and without one, a hint at one's own runs."""
    outcome = run_program("restore", photos / "photo0.png", "--task", "snow", "-o", "x.png")
    assert outcome.exit_code == 2
    assert "the zoo has no adapter for task 'snow'; 'adair train --task snow' makes one" in outcome.stderr
    for age, run in enumerate(["mine", "snow-lora"]):
        made = workplace / "runs" / run / "snow/adapter_config.json"
        made.parent.mkdir(parents=True)
        made.write_text("{}")
        os.utime(made, (10**9 - age, 10**9 - age))
    outcome = run_program("restore", photos / "photo0.png", "--task", "snow", "-o", "x.png")
    assert "use --adapter runs/mine/snow" in outcome.stderr
    source = f"""
        from pathlib import Path
        from adair_core import WeightsSpec, hookimpl

        @hookimpl
        def adair_weights():
            return [WeightsSpec(name="sharp", summary="x", version=v, kind="adapter", path=Path({str(adapter)!r}),
                                terms="CC0", task="snow") for v in (2, 10)]
    """
    write_package(workplace / "site", "adair-plugin-zoo", {"zoo_plugin": source})
    with installed(workplace / "site"):
        outcome = run_program("restore", photos / "photo0.png", "--task", "snow", "-o", "x.png", "--base", base)
        assert "restoring with" in outcome.stderr
        assert "without an adapter" in outcome.stderr
        outcome = run_program("restore", photos / "photo0.png", "--task", "snow", "-o", "y.png")
        assert outcome.exit_code == 0, outcome.stderr
        assert "+ sharp" in outcome.stderr
        listed = run_program("adapters", "--json").json["adapters"]
        assert [(entry["name"], entry["task"]) for entry in listed if "sharp" in entry["name"]] == [
            ("sharp@10", "snow"),
            ("sharp@2", "snow"),
        ]
        wrong = run_program("restore", photos / "photo0.png", "--base", "sharp")
        assert wrong.exit_code == 2


def test_a_blend_by_names(adapter, base, photos, tmp_path):
    """Of a folder with a name that is no task's, and of the zoo's own by its task."""
    run_program("restore", photos / "photo0.png", "-o", "half.png", "--blend", f"{adapter}=0.5", "--base", base)
    run_program("restore", photos / "photo0.png", "-o", "same.png", "--adapter", adapter, "--blend", "0.5")
    assert np.array_equal(pixels("half.png"), pixels("same.png"))
    outcome = run_program("restore", photos / "photo0.png", "-o", "zoo.png", "--blend", "denoise=0.7,derain=0.3")
    assert outcome.exit_code == 0, outcome.stderr
    model = load("restormer-tiny")
    names = [model.load_adapter(name) for name in ("denoise", "derain")]
    model.set_adapters(names, [0.7, 0.3])
    assert np.array_equal(pixels("zoo.png"), model.restore(pixels(photos / "photo0.png")))


def test_enlarging(base, photos):
    run = ["restore", photos / "photo0.png", "--base", base, "--task", "super-resolve"]
    assert run_program(*run, "--scale", 3, "-o", "x3.png").exit_code == 0
    assert pixels("x3.png").shape == (120, 144, 3)
    assert run_program(*run, "-o", "x2.png").exit_code == 0
    assert pixels("x2.png").shape == (80, 96, 3)


def test_evaluate(adapter, photos):
    run = ["evaluate", "--task", "denoise", "--task.sigma", "25", "--data", photos, "--adapter", adapter, "--limit", 2]
    outcome = run_program(*run, "--json", "-o", "results")
    assert outcome.exit_code == 0, outcome.stderr
    report = outcome.json["report"]
    assert {row["image"] for row in report["rows"]} == {"photo0.png", "photo1.png"}
    assert {row["condition"] for row in report["rows"]} == {"sigma 25"}
    mean = outcome.json["means"]["sigma 25"]["psnr"]["restored"]["mean"]
    assert mean == pytest.approx(np.mean([row["restored"]["psnr"] for row in report["rows"]]))
    assert json.loads(Path("results/report.json").read_text()) == outcome.json
    rows = list(csv.DictReader(Path("results/images.csv").read_text().splitlines()))
    assert [row["image"] for row in rows] == ["photo0.png", "photo1.png"]
    table = run_program(*run).stdout
    assert f"{mean:.2f}" in table
    assert "┃" not in table


def test_evaluate_says_when_images_went_through_in_tiles(adapter):
    run = ["evaluate", "--task", "denoise", "--task.sigma", "25", "--adapter", adapter, "--metric", "psnr"]
    assert "in tiles" not in run_program(*run).stderr
    assert "1 of 1 restorations were made in tiles; --tile none" in run_program(*run, "--tile", 256).stderr


def test_evaluate_pairs_and_samples(adapter, photos):
    outcome = run_program("evaluate", "--pairs", photos, photos, "--adapter", adapter, "--metric", "psnr", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert list(outcome.json["report"]["metrics"]) == ["psnr"]
    assert outcome.json["report"]["rows"][0]["input"]["psnr"] == "Infinity"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "--task: expected one of "),
        (["--task", "denoise", "--metric", "psn"], 2, "unknown metric 'psn'; did you mean 'psnr'?"),
        (["--task", "denoise", "--data", "missing"], 1, "missing"),
        (["--task", "denoise", "--data", "a", "--pairs", "b", "c"], 2, "--data (clean images) or --pairs, not both"),
        (["--task", "denoise", "--task.sigma", "x"], 2, "Task denoise: --task.sigma"),
    ],
)
def test_wrong_requests_to_evaluate(arguments, code, message, adapter):
    outcome = run_program("evaluate", *arguments, "--adapter", adapter)
    assert outcome.exit_code == code
    assert message in outcome.stderr


def test_strength_by_a_mask(adapter, photos, workplace):
    half = np.zeros((40, 48, 1), np.uint8)
    half[:, 24:] = 255
    write_image(workplace / "mask.png", ImageFile(pixels=half))
    run = ["restore", photos / "photo0.png", "--adapter", adapter]
    assert run_program(*run, "-o", "all.png").exit_code == 0
    outcome = run_program(*run, "-o", "half.png", "--strength-map", "mask.png")
    assert outcome.exit_code == 0, outcome.stderr
    assert np.array_equal(pixels("half.png")[:, :24], pixels(photos / "photo0.png")[:, :24])
    assert np.array_equal(pixels("half.png")[:, 24:], pixels("all.png")[:, 24:])
    write_image(workplace / "small.png", ImageFile(pixels=half[::2, ::2]))
    assert "--resize-strength-map" in run_program(*run, "-o", "x.png", "--strength-map", "small.png").stderr
    fitted = [*run, "-o", "x.png", "--strength-map", "small.png", "--resize-strength-map"]
    assert run_program(*fitted).exit_code == 0
    enlarging = run_program(*run, "--task", "super-resolve", "-o", "y.png", "--strength-map", "mask.png")
    assert enlarging.exit_code == 2
    assert "got one that is 2 times larger" in enlarging.stderr
    alone = run_program(*run, "-o", "z.png", "--resize-strength-map")
    assert alone.exit_code == 2
    assert "there is no --strength-map to resize" in alone.stderr
