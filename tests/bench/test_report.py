from __future__ import annotations

import json
import math

import pytest
from made_up import case_result, report

from adair_core.bench.plot import draw
from adair_core.bench.report import HEADINGS, Report, RowResult, markdown, table
from adair_core.errors import AdairError, DataError

NAME = "op/feed_forward/1x8x4x4/float32"


def test_the_file_holds_everything(tmp_path):
    rows = {"eager": RowResult(seconds=(0.1, 0.3), error=1e-7, saved=123), "compile": RowResult(failure="no compiler")}
    made = report(case_result(NAME, rows, features=41, shares={"eager": 0.25}, others=None))
    made.write(tmp_path / "deep" / "results.json")
    assert Report.read(tmp_path / "deep" / "results.json") == made
    assert json.loads((tmp_path / "deep" / "results.json").read_text())["format"] == "adair-bench-1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "expected a readable benchmark result"),
        ("{", "expected a benchmark result in JSON"),
        ("[]", "got list"),
        ('{"format": "other-9"}', "got format 'other-9'"),
        ('{"format": "adair-bench-1"}', "expected a benchmark result in JSON"),
    ],
)
def test_other_files_are_refused(tmp_path, text, said):
    path = tmp_path / "results.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=said):
        Report.read(path)


def test_the_best_other_is_the_fastest_of_pytorchs_ways():
    rows = {"eager": (4.0,), "compile": (2.0,), "PEFT": (0.5,), "stock eager": (0.1,), "adair": (1.0,)}
    case = case_result(NAME, {**rows, "compile, channels last": RowResult(failure="broken")})
    assert case.best_other() == "compile"
    assert case_result(NAME, {"adair": (1.0,)}).best_other() is None


def test_fraction_of_the_roofline():
    assert case_result(NAME, {"adair": (0.004, 0.002, 0.001)}, floor=0.001).fraction("adair") == 0.5


def test_table():
    rows = {
        "eager": RowResult(seconds=(0.004, 0.004, 0.004), error=3e-7, saved=2**20),
        "adair": (0.002, 0.002, 0.001),
        "compile": RowResult(failure="no compiler"),
    }
    lines = table([case_result(NAME, rows, features=2**19, shares={"adair": 0.071}, others=1.25)])
    assert [len(line) for line in lines] == [len(HEADINGS)] * 3
    eager, adair, compiled = (dict(zip(HEADINGS, line, strict=True)) for line in lines)
    assert (eager["case"], adair["case"]) == (NAME, "")
    assert (eager["ms"], eager["vs eager"], eager["error"]) == ("4", "-", "3.0e-07")
    assert eager["note"] == "DISTURBED: other programs used 1.2 processors; keeps 1.0 MiB = 2.0 U"
    assert (adair["ms"], adair["vs eager"], adair["of roof"], adair["rounds"]) == ("2", "2.00x", "50%", "3")
    assert adair["note"].endswith("7.1% more operations")
    assert (compiled["ms"], compiled["note"]) == ("-", "no compiler")
    assert len(markdown(HEADINGS, lines).splitlines()) == 5


def test_undisturbed_where_nothing_is_known():
    assert not case_result(NAME, {"eager": (1.0,)}, others=None).disturbed
    assert not case_result(NAME, {"eager": (1.0,)}, others=0.05).disturbed
    assert case_result(NAME, {"eager": (1.0,)}, others=0.9).disturbed


def test_a_row_without_rounds_has_no_median():
    assert math.isnan(RowResult().median)


def test_plot(tmp_path):
    made = report(case_result(NAME, {"eager": (2.0, 2.1), "adair": (1.0, 1.1)}))
    draw(made, tmp_path / "speed.svg")
    assert "adair" in (tmp_path / "speed.svg").read_text()
    with pytest.raises(AdairError, match=r"ends in \.png"):
        draw(made, tmp_path / "speed.nonsense")
