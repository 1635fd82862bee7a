"""Several restorations of the same images."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest
from made_up_reports import comparison, protocol, report
from rich.console import Console

from adair_core.errors import DataError, UsageError
from adair_core.evaluation import Comparison
from adair_core.evaluation.saved import read_protocol, read_result, saved_comparison


def text_of(found: Comparison) -> str:
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(*found.tables())
    return " ".join(console.export_text().split())


def test_differences_are_from_the_first_image_by_image() -> None:
    found = comparison([30, 20, 25, 28], [31, 20.5, 24, 28])
    assert found.reference == "a"
    assert found.image_differences("psnr", "b") == {"0.png": 1, "1.png": 0.5, "2.png": -1, "3.png": 0}
    [pair] = found.differences
    assert (pair.candidate, pair.reference, pair.metric, pair.condition) == ("b", "a", "psnr", "only")
    assert pair.found.statistic.mean == 0.125
    assert (pair.found.wins, pair.found.losses, pair.found.ties) == (2, 1, 1)


def test_several_conditions_have_a_mean_in_which_an_image_counts_once() -> None:
    low, high = [20.0, 22.0, 24.0], [30.0, 32.0, 34.0]
    found = comparison({"low": low, "high": high}, {"low": [21, 24, 27], "high": [31, 32, 33]})
    assert [pair.condition for pair in found.differences] == ["low", "high", None]
    overall = found.differences[-1].found
    assert overall.statistic.mean == pytest.approx(1)
    assert overall.statistic.count == 3
    assert found.means()["all"]["a"]["psnr"].mean == 27


def test_an_exact_restoration_under_one_condition_does_not_shift_the_mean_over_all() -> None:
    found = comparison({"low": [20.0], "high": [30.0]}, {"low": [21.0], "high": [math.inf]})
    assert found.image_differences("psnr", "b") == {"0.png": 1.0}


def test_an_exact_restoration_under_one_condition_wins_over_all() -> None:
    found = comparison({"low": [20.0, 20.0], "high": [30.0, 30.0]}, {"low": [19.0, 21.0], "high": [math.inf, 31.0]})
    overall = found.differences[-1]
    assert (overall.condition, overall.found.wins, overall.found.losses) == (None, 2, 0)
    assert overall.found.statistic.mean == 0.0  # -1 and +1, without what is infinite
    assert "b, psnr: 1 restored exactly, not in the mean" in found.remarks()
    both = comparison([20.0, math.inf], [math.inf, 20.0])
    assert "psnr: 1 restored exactly, not in the mean" in both.remarks()


def test_several_candidates_are_corrected_within_a_metric_and_condition() -> None:
    base = [20.0 + 0.3 * place for place in range(8)]
    found = comparison(
        base, [value + 0.1 * place for place, value in enumerate(base, 1)], [value + 1 for value in base]
    )
    ahead = [pair.found for pair in found.differences]
    assert [each.p_holm for each in ahead] == [pytest.approx(2 * 2 / 2**8)] * 2
    assert any("Holm" in remark for remark in found.remarks())
    assert not any("Holm" in remark for remark in comparison(base, base).remarks())


def test_too_few_images_are_told() -> None:
    assert "it takes at least 6 that differ, and here are 3," in text_of(comparison([1, 2, 3], [2, 3, 5]))
    assert "with 2 comparisons it takes at least 7 that differ" in text_of(comparison([1] * 6, [2] * 6, [3] * 6))
    many = [float(value) for value in range(30)]
    told = comparison(many, [value + 1 for value in many]).remarks()
    assert not any("too few" in remark or "too narrow" in remark for remark in told)
    assert any("too narrow" in remark for remark in comparison(many[:12], many[:12]).remarks())


def test_lower_is_better_where_the_metric_says_so() -> None:
    [pair] = comparison([0.5, 0.4, 0.3], [0.4, 0.3, 0.35], metric="lpips").differences
    assert (pair.found.wins, pair.found.losses) == (2, 1)


def test_table_has_means_differences_and_p() -> None:
    text = text_of(comparison([20, 21, 22, 23, 24, 25], [21, 22.5, 23, 24, 25, 26.5]))
    assert "differences from a" in text
    assert "+1.17" in text
    assert "0.031" in text  # 2 of 64
    assert "psnr (dB) ↑" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": 4}, "crop is 0 and 4"),
        ({"color": "y"}, "color is rgb and y"),
        ({"ground_truth_mean": True}, "ground_truth_mean is False and True"),
        ({"seed": 1}, "seed is 0 and 1"),
    ],
)
def test_other_protocols_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=rf"a and b cannot be compared: their protocols differ: {message}"):
        Comparison(reports={"a": report([1, 2]), "b": report([1, 2], **options)})


def test_a_protocols_note_may_differ() -> None:
    Comparison(reports={"a": report([1, 2]), "b": report([1, 2], note="another one")})


def test_other_conditions_images_and_pixels_are_refused() -> None:
    first = report([1, 2])
    with pytest.raises(UsageError, match=r"conditions is only .*noise.* and other"):
        Comparison(reports={"a": first, "b": report({"other": [1, 2]})})
    with pytest.raises(UsageError, match=r"of 2 and 3 images; only one of them has 2\.png"):
        Comparison(reports={"a": first, "b": report([1, 2, 3])})
    with pytest.raises(UsageError, match="the order differs, and with it the noise"):
        Comparison(reports={"a": first, "b": report([1, 2], names=["1.png", "0.png"])})
    changed = first.images[1].model_copy(update={"target": "f" * 32})
    with pytest.raises(UsageError, match=r"pixels of 1\.png differ"):
        Comparison(reports={"a": first, "b": first.model_copy(update={"images": (first.images[0], changed)})})
    with pytest.raises(UsageError, match="earlier versions"):
        Comparison(reports={"a": first, "b": first.model_copy(update={"images": ()})})


def test_one_candidate_or_no_shared_metric_is_refused() -> None:
    with pytest.raises(UsageError, match="at least two candidates, got 1"):
        Comparison(reports={"a": report([1])})
    with pytest.raises(UsageError, match=r"share no metric .*a: psnr; b: lpips"):
        Comparison(reports={"a": report([1]), "b": report([1], metric="lpips")})


def test_json_reads_back_and_holds_what_was_computed() -> None:
    found = comparison([30, math.inf, 20], [31, math.inf, math.inf])
    again = Comparison.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    document = json.loads(found.to_json())
    [pair] = document["differences"]
    assert (pair["found"]["statistic"]["mean"], pair["found"]["statistic"]["infinite"]) == (0.5, 1)
    assert (pair["found"]["wins"], pair["found"]["ties"]) == (2, 1)
    assert document["means"]["only"]["b"]["psnr"]["infinite"] == 2
    assert document["data_set"]["images"] == 3


def test_csv_has_a_row_for_each_image_and_candidate() -> None:
    found = comparison([30.123456789, 20], [31, 21])
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [(row["image"], row["candidate"]) for row in rows] == [
        (f"{image}.png", name) for image in range(2) for name in "ab"
    ]
    assert float(rows[0]["psnr"]) == 30.123456789
    [row] = csv.DictReader(io.StringIO(found.differences_csv()))
    assert float(row["difference"]) == pytest.approx((31 - 30.123456789 + 1) / 2)
    assert row["candidate"] == "b"


def test_ground_truth_mean_is_marked_everywhere() -> None:
    options = {"ground_truth_mean": True}
    found = Comparison(reports={name: report([30, 20], **options) for name in "ab"})
    assert "with ground-truth mean: each result was scaled" in text_of(found)
    assert "psnr_gt-mean" in found.to_csv()
    assert "psnr_gt-mean" in found.differences_csv()
    assert "restored_psnr_gt-mean" in report([30], **options).to_csv()
    assert "with ground-truth mean" in report([30], **options).title()


def test_saved_results_are_compared(tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    report([30, 20]).to_json(one)
    report([31, 20]).to_json(two)
    found = saved_comparison({"one": one, "two": two})
    assert found.candidates == ("one", "two")
    assert found.differences[0].found.statistic.mean == 0.5
    both = tmp_path / "both.json"
    found.to_json(both)
    third = tmp_path / "three.json"
    report([33, 22]).to_json(third)
    assert saved_comparison({"both": both, "three": third}).candidates == ("one", "two", "three")
    with pytest.raises(UsageError, match="another candidate named 'one'"):
        saved_comparison({"both": both, "again": both})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        ("{", "expected JSON"),
        ("[1]", "expected a result of adair evaluate"),
        ('{"reports": {}}', "expected a result of adair evaluate"),
        ('{"means": {}, "report": {}}', r"report\.protocol: Field required"),
    ],
)
def test_files_that_are_no_results(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_result(path)


def test_protocols_are_read_from_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(protocol("x", crop=3).model_dump_json())
    assert read_protocol(path) == protocol("x", crop=3)
    path.write_text('{"name": "p", "conditions": [{"label": "x"}], "crop": -1, "colour": "y"}')
    with pytest.raises(UsageError, match=r"mine\.json: .*crop: .*colour: there is no such option"):
        read_protocol(path)
    for text in ("{", "[]"):
        path.write_text(text)
        with pytest.raises(UsageError, match="expected a protocol"):
            read_protocol(path)
    with pytest.raises(DataError, match="--show-protocol"):
        read_protocol(tmp_path / "none.json")
