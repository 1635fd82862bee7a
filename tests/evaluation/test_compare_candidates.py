"""Restoring the same images in several ways, and choosing what to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from adair_core import Condition, Protocol
from adair_core.data.images import ImageFile, write_image
from adair_core.errors import AdairError, DataError, UsageError
from adair_core.evaluation import (
    Comparison,
    EvaluationImage,
    Restorer,
    ResultFolder,
    chosen_examples,
    compare,
    evaluate,
)
from adair_core.evaluation.examples import choices, most_different


def mean_error(restored: Tensor, target: Tensor) -> float:
    return (restored - target).abs().mean().item()


PROTOCOL = Protocol(name="p", conditions=(Condition(label="real"),), quantize=False)
METRIC = {"likeness": lambda restored, target: -mean_error(restored, target)}


def pairs(count: int = 5) -> list[EvaluationImage]:
    """Inputs that are too bright by 0.1, 0.2, ... ."""
    target = torch.full((3, 40, 50), 0.25)
    return [(f"{index}.png", target + 0.1 * (index + 1), target) for index in range(count)]


def darker(x: Tensor) -> Tensor:
    return x - 0.2


def identity(x: Tensor) -> Tensor:
    return x


def test_candidates_get_the_same_images_and_give_what_they_give_alone() -> None:
    found = compare({"input": identity, "darker": darker}, PROTOCOL, pairs(), metrics=METRIC)
    assert found.reports["darker"] == evaluate(darker, PROTOCOL, pairs(), metrics=METRIC)
    assert found.reports["input"].of_input().rows == found.reports["darker"].of_input().rows
    expected = [abs(0.1 * k) - abs(0.1 * k - 0.2) for k in range(1, 6)]
    differences = list(found.image_differences("likeness", "darker").values())
    assert differences == pytest.approx(expected, abs=1e-6)


def test_every_candidate_sees_the_very_same_input() -> None:
    seen: dict[str, list[Tensor]] = {"a": [], "b": []}
    ways = {name: lambda x, name=name: (seen[name].append(x.clone()), x)[1] for name in seen}
    compare(ways, PROTOCOL, pairs(2), metrics=METRIC)
    assert all(torch.equal(one, two) for one, two in zip(seen["a"], seen["b"], strict=True))


def save(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, ImageFile(pixels=np.full((40, 50, 3), level, np.uint8)))


def test_a_folder_of_results_is_measured_by_name(tmp_path: Path) -> None:
    for index, level in enumerate((102, 51)):
        save(tmp_path / f"{index}.webp", level)
    ways = {"input": identity, "theirs": ResultFolder.of(tmp_path, PROTOCOL)}
    found = compare(ways, PROTOCOL, pairs(2), metrics={"error": mean_error})
    assert list(found.reports["theirs"].values("error").values()) == pytest.approx([0.15, 0.05], abs=1e-6)
    assert found.reports["theirs"].values("error", side="input")["0.png"] == pytest.approx(0.1, abs=1e-6)


def test_conditions_have_subfolders_of_results(tmp_path: Path) -> None:
    save(tmp_path / "dark" / "0.png", 51)
    save(tmp_path / "bright" / "0.png", 102)
    two = PROTOCOL.model_copy(update={"conditions": (Condition(label="bright"), Condition(label="dark"))})
    results = ResultFolder.of(tmp_path, two)
    found = compare({"a": results, "b": identity}, two, pairs(1), metrics={"error": mean_error})
    assert [row.restored["error"] for row in found.reports["a"].rows] == pytest.approx([0.15, 0.05], abs=1e-6)


def test_results_that_are_missing_or_of_another_size_are_named(tmp_path: Path) -> None:
    save(tmp_path / "0.png", 51)
    ways = {"input": identity, "theirs": ResultFolder.of(tmp_path, PROTOCOL)}
    with pytest.raises(DataError, match=r"expected a restored image 1\.\*, got none of that name"):
        compare(ways, PROTOCOL, pairs(2), metrics=METRIC)
    write_image(tmp_path / "0.png", ImageFile(pixels=np.zeros((40, 49, 3), np.uint8)), overwrite=True)
    with pytest.raises(AdairError, match=r"restored 0\.png: expected the input's shape"):
        compare(ways, PROTOCOL, pairs(1), metrics=METRIC)


def test_reports_know_what_restored() -> None:
    restorers = {"a": Restorer(title="base + a", strength=0.5)}
    found = compare({"a": darker, "b": identity}, PROTOCOL, pairs(1), metrics=METRIC, restorers=restorers)
    assert found.reports["a"].restorer == restorers["a"]
    assert found.reports["b"].restorer is None


def test_one_candidate_is_no_comparison() -> None:
    with pytest.raises(UsageError, match="at least two candidates, got 1"):
        compare({"a": identity}, PROTOCOL, pairs(1), metrics=METRIC)


def test_progress_counts_images_not_candidates() -> None:
    calls: list[tuple[int, int]] = []
    ways = {"a": identity, "b": darker}
    compare(ways, PROTOCOL, pairs(2), metrics=METRIC, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]


def compared(count: int = 5) -> Comparison:
    return compare({"input": identity, "darker": darker}, PROTOCOL, pairs(count), metrics=METRIC)


def test_best_median_and_worst_image_are_chosen() -> None:
    # The gains: 0 for the first, which becomes as dark as it was bright, 0.2 for those that were too bright by more.
    uneven = [pairs()[0], pairs()[1], ("m", torch.full((3, 40, 50), 0.4), torch.full((3, 40, 50), 0.25))]
    found = compare({"input": identity, "darker": darker}, PROTOCOL, uneven, metrics=METRIC)
    assert [(each.image, each.why) for each in choices(found)] == [
        ("1.png", "furthest ahead of input"),
        ("m", "the median image"),
        ("0.png", "least ahead of input"),
    ]
    assert [each.why for each in choices(compared(1))] == ["the only image"]
    assert len(choices(compared(2))) == 2


def test_examples_show_what_was_measured() -> None:
    found = compared(1)
    [shown] = chosen_examples(found, {"input": identity, "darker": darker}, pairs(1))
    assert [panel.name for panel in shown.panels] == ["input", "darker", "target"]
    assert [int(panel.pixels[0, 0, 0]) for panel in shown.panels] == [89, 38, 64]
    assert shown.panels[1].values == found.reports["darker"].rows[0].restored
    assert shown.panels[2].values == {}


def test_the_input_is_shown_beside_candidates_that_do_not_include_it() -> None:
    ways = {"a": darker, "b": lambda x: x - 0.1}
    [shown] = chosen_examples(compare(ways, PROTOCOL, pairs(1), metrics=METRIC), ways, pairs(1))
    assert [panel.name for panel in shown.panels] == ["input", "a", "b", "target"]


def test_the_region_is_where_the_errors_differ_most() -> None:
    target = np.full((200, 300, 3), 100, np.uint8)
    reference, other = target.copy(), target.copy()
    other[150:160, 40:50] += 50  # the largest difference between the errors
    reference[20:60, 200:240] += 30  # both are wrong here, equally
    other[20:60, 200:240] -= 30
    row, column = most_different([reference, other], target)
    assert 150 - 32 <= row <= 160 + 32
    assert 40 - 32 <= column <= 50 + 32
    small = target[:10, :12]
    assert most_different([small, small], small) == (5, 6)
