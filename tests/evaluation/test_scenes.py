"""Images of one scene are akin: intervals and tests count scenes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from made_up_reports import comparison, report
from scipy import stats

from adair_core.data.images import ImageFile, write_image
from adair_core.errors import DataError, UsageError
from adair_core.evaluation import Comparison, Report, bootstrap
from adair_core.evaluation.paired import difference
from adair_core.evaluation.saved import read_result
from adair_core.testing import run_program


def test_scenes_are_resampled_with_all_of_their_images() -> None:
    """By hand: of the scenes {1, 3} and {11} two are picked: means 2 (1 of 4), 5 (2 of 4) and 11 (1 of 4)."""
    found = bootstrap([1.0, 11.0, 3.0], scenes=["a", "b", "a"])
    assert (found.mean, found.low, found.high, found.count) == (5.0, 2.0, 11.0, 3)


def test_scenes_of_one_image_each_are_images() -> None:
    values = np.random.default_rng(0).normal(30, 2, 25).tolist()
    assert bootstrap(values, scenes=[str(index) for index in range(25)]) == bootstrap(values)


def test_what_is_not_finite_is_in_no_scene() -> None:
    found = bootstrap([1.0, math.inf, 3.0, math.nan, 11.0], scenes=["a", "a", "a", "b", "c"])
    assert (found.mean, found.count, found.infinite, found.undefined) == (5.0, 3, 1, 1)
    assert (found.low, found.high) == (2.0, 11.0)
    one = bootstrap([1.0, 3.0, math.inf], scenes=["a", "a", "b"])
    assert one.mean == 2.0
    assert math.isnan(one.low)


def test_intervals_hold_the_true_mean_as_often_as_they_say() -> None:
    """11 scenes of 100 images, correlated by 0.3 within a scene: images alone would be far too sure."""
    generator = np.random.default_rng(1)
    scenes = [str(scene) for scene in range(11) for _ in range(100)]
    held = {"scenes": 0, "images": 0}
    for _ in range(300):
        values = (
            math.sqrt(0.3) * generator.normal(size=(11, 1)) + math.sqrt(0.7) * generator.normal(size=(11, 100))
        ).ravel()
        for name, found in (("scenes", bootstrap(values, scenes=scenes)), ("images", bootstrap(values))):
            held[name] += found.low <= 0 <= found.high
    # Of 11 independent values the percentile interval holds it in 90 % (docs/evaluate.md), give or take.
    assert 0.84 < held["scenes"] / 300 < 0.96
    assert 0.2 < held["images"] / 300 < 0.4


def test_a_scene_wins_once() -> None:
    images = [[0.3], [0.5], [-0.1], [0.2], [-0.4], [0.1], [0.6], [0.7]]
    scenes = ["a", "a", "b", "b", "c", "d", "e", "f"]
    found = difference(images, higher_is_better=True, scenes=scenes)
    of_scenes = [0.4, 0.05, -0.4, 0.1, 0.6, 0.7]
    assert (found.wins, found.losses, found.ties) == (5, 1, 0)
    assert found.p == pytest.approx(stats.wilcoxon(of_scenes).pvalue)
    assert found.statistic.mean == pytest.approx(np.mean(images))
    # What is restored exactly in one image of a scene wins the scene.
    exact = difference([[math.inf], [-9.0], [0.1]], higher_is_better=True, scenes=["a", "a", "b"])
    assert (exact.wins, exact.losses) == (2, 0)


NAMES = [f"{scene}_{image}.png" for scene in range(3) for image in range(4)]


def test_reports_say_it() -> None:
    values = np.random.default_rng(2).normal(30, 1, 12).tolist()
    plain = report(values, names=NAMES)
    grouped = plain.with_scene(r"^\d+")
    assert grouped.mean("psnr") == plain.mean("psnr")
    scenes = [name[0] for name in NAMES]
    assert grouped.statistic("psnr") == bootstrap(values, scenes=scenes)
    assert grouped.scene_count == 3
    assert r"12 images of 3 scenes (--scene ^\d+): intervals and tests count scenes" in grouped.remarks()
    assert Report.from_json(grouped.to_json()) == grouped
    assert grouped.with_scene(None) == plain
    old = json.loads(plain.to_json())
    del old["report"]["scene"]
    assert Report.from_json(json.dumps(old)) == plain
    two = Comparison(reports={"a": grouped, "b": report([30.0] * 12, names=NAMES).with_scene(r"^\d+")})
    assert sum(two.differences[0].found.model_dump()[each] for each in ("wins", "losses", "ties")) == 3
    assert any("too few scenes for the Wilcoxon test" in remark for remark in two.remarks())
    assert Comparison.from_json(two.to_json()) == two


def test_patterns_that_say_nothing() -> None:
    with pytest.raises(UsageError, match=r"expected a regular expression for images' names, got '\('"):
        comparison([1.0, 2.0], [3.0, 4.0]).with_scene("(")
    with pytest.raises(UsageError, match=r"matches in images' names, such as 0.png, 1.png, got 'room'"):
        report([1.0, 2.0]).with_scene("room")


def test_a_saved_pattern_that_is_none(tmp_path: Path) -> None:
    document = json.loads(report([1.0, 2.0]).to_json())
    document["report"]["scene"] = "("
    (tmp_path / "broken.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"report\.scene.*expected a regular expression, got"):
        read_result(tmp_path / "broken.json")


def test_results_that_count_otherwise_are_not_mixed() -> None:
    reports = {"a": report([1.0, 2.0]).with_scene(r"\d"), "b": report([1.0, 2.0])}
    with pytest.raises(UsageError, match=r"count --scene \\d and images; give --scene for both"):
        Comparison(reports=reports)


def test_on_the_command_line(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in NAMES:
        write_image(photos / name, ImageFile(pixels=generator.integers(0, 255, (24, 24, 3)).astype(np.uint8)))
    task = ("evaluate", "--task", "denoise", "--task.sigma", 25, "--data", photos, "--metric", "psnr")
    wrong = run_program(*task, "--base", "restormer-tiny", "--scene", "room")
    assert wrong.exit_code == 2
    assert "such as 0_0.png, 0_1.png, 0_2.png and 9 more, got 'room'" in wrong.stderr
    compare = (*task, "--compare", "input", "restormer-tiny", "--report", tmp_path / "result.json")
    assert run_program(*compare).exit_code == 0
    measured = run_program(*compare, "--scene", r"^\d+", "--json").json
    saved = run_program("evaluate", "--compare", tmp_path / "result.json", "--scene", r"^\d+", "--json").json
    assert saved["differences"] == measured["differences"]
    found = saved["differences"][0]["found"]
    assert found["wins"] + found["losses"] == 3
    assert found["statistic"]["count"] == 12
