from __future__ import annotations

import pytest
from made_up import case_result, report

from adair_core.bench import targets
from adair_core.bench.report import RowResult
from adair_core.bench.targets import Verdict, judge, needed

MODEL = "model/paper/1x3x128x128/float32"


def verdict(report, what):
    found = [entry for entry in judge(report) if entry.what == what]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    ("value", "at_least", "outcome"),
    [
        (2.0, True, "second"),
        (1.7, True, "first"),
        (1.49, True, "miss"),
        (None, True, "not measured"),
        (1.4, False, "first"),
        (1.6, False, "miss"),
    ],
)
def test_outcomes(value, at_least, outcome):
    assert Verdict(1, "", 1.5, 2.0 if at_least else None, value, at_least).outcome == outcome


def test_ratios_of_a_model():
    rows = {"eager": (4.0,), "compile": (3.0,), "stock eager": (5.0,), "adair": (2.0,)}
    made = report(case_result(MODEL, rows, floor=1.0))
    assert verdict(made, f"{MODEL}: eager / adair").value == 2.0
    assert verdict(made, f"{MODEL}: stock eager / adair").value == 2.5
    best = verdict(made, f"{MODEL}: best other / adair")
    assert (best.value, best.first, best.second, best.outcome) == (1.5, 1.3, 1.5, "second")
    assert "the best is compile" in best.note
    assert "50% of the roofline" in best.note


def test_failures_are_told_and_are_not_misses():
    made = report(case_result(MODEL, {"eager": (4.0,), "adair": RowResult(failure="no kernel")}))
    found = verdict(made, f"{MODEL}: eager / adair")
    assert (found.outcome, found.note) == ("not measured", "no kernel")
    other = verdict(made, "model/paper/1x3x256x256/float32: eager / adair")
    assert (other.outcome, other.note) == ("not measured", "the case was not run")


def test_adapters_may_cost_their_operations_and_five_points():
    rows = {"adair": (1.0,), "adair + bottleneck": (1.13,), "adair + lora": (1.06,)}
    made = report(
        case_result("adapter/paper/1x3x128x128/float32", rows, shares={"adair + bottleneck": 0.1}),
        case_result("adapter/paper PEFT/1x3x128x128/float32", {"eager": (2.0,), "PEFT": (3.0,)}),
    )
    bottleneck = verdict(made, "not merged, float32: adair + bottleneck / adair")
    assert (bottleneck.first, bottleneck.outcome) == (pytest.approx(1.15), "first")
    lora = verdict(made, "not merged, float32: adair + lora / adair")
    assert (lora.first, lora.outcome) == (1.05, "miss")
    assert "PEFT / eager is 1.50" in lora.note
    assert verdict(made, "not merged, float32: adair + prompt / adair").outcome == "not measured"


def test_activations_are_counted_in_features():
    rows = {
        "eager": RowResult(seconds=(3.0,), saved=3000),
        "adair": RowResult(seconds=(1.0,), saved=1050),
        "adair, depthwise LoRA too": RowResult(seconds=(1.0,), saved=2100),
    }
    made = report(case_result("train/paper lora/1x3x128x128/float32", rows, features=100))
    found = verdict(made, "train/paper lora/1x3x128x128/float32: activations kept by adair, in U a block")
    assert (found.value, found.outcome, found.note) == (10.5, "first", "eager keeps 30.0")
    name = "train/paper lora/1x3x128x128/float32: activations kept by adair, depthwise LoRA too, in U a block"
    found = verdict(made, name)
    assert (found.value, found.first, found.outcome) == (21.0, 20.0, "miss")
    assert verdict(report(), name).note == "the case was not run"


def test_a_line_for_each_target():
    verdicts = [Verdict(2, "", 1.5, 2.0, value) for value in (1.7, 2.2, 1.0, 1.6)] + [Verdict(1, "", 1.5, 2.0, None)]
    assert targets.summary(verdicts) == [
        "target 1: no data 1",
        "target 2: second figure reached 1, first reached 2, first missed 1",
    ]


def test_the_worst_case_counts():
    made = report(
        case_result("block/latent/9x7/float32", {"eager": (0.9,), "compile": (1.0,), "adair": (1.0,)}),
        case_result("block/latent/32x32/float32", {"eager": (2.0,), "adair": (1.0,)}),
    )
    found = verdict(made, "the worst case: best other / adair")
    assert (found.value, found.outcome) == (0.9, "miss")
    assert found.note == "block/latent/9x7/float32 against eager; below 0.95 in 1 of 2 cases"


def test_disturbed_cases_are_marked():
    made = report(case_result(MODEL, {"eager": (2.0,), "adair": (1.0,)}, others=1.0))
    assert "DISTURBED" in verdict(made, f"{MODEL}: eager / adair").note


def test_throughput():
    rows = {"stock eager": (4.0,), "adair": (1.6,)}
    made = report(case_result("train/tiny full/16x3x64x64/autocast", rows, images=16))
    found = next(entry for entry in judge(made) if entry.number == 7)
    assert (found.value, found.outcome) == (2.5, "first")
    assert found.note.startswith("10.0 patches a second")


def test_every_case_that_is_judged_is_measured():
    """Names in the judgements are names of cases: an empty run asks for each, and `needed` offers it."""
    offered = {case.name for case in needed()}
    asked = {entry.what.partition(": ")[0] for entry in judge(report()) if entry.number not in (3, 6)}
    assert asked <= offered
    assert {entry.number for entry in judge(report())} == set(range(1, 8))
    for item in range(1, 8):
        assert needed([item])


def test_table():
    lines = targets.table([Verdict(2, "speed", 1.5, 2.0, 1.75), Verdict(5, "cost", 1.1, None, None, False, "none")])
    assert lines[0] == ("2", "speed", ">= 1.50", ">= 2.00", "1.75", "first", "")
    assert lines[1] == ("5", "cost", "<= 1.10", "-", "-", "not measured", "none")
