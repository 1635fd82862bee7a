from __future__ import annotations

import io
import shutil
import sys

import pytest
import torch

from adair_core.bench.case import EAGER, OURS, WHOLE, Case, Subject
from adair_core.bench.cases import case_named
from adair_core.bench.roofline import Roofline
from adair_core.bench.run import Plan, measure, measure_case
from adair_core.bench.stock_process import StockProcess, serve
from adair_core.errors import AdairError

RATES = {torch.float32: Roofline(1e9, 1e9)}


def fake_case(rows, **fields):
    subject = Subject(**{"rows": rows, "exact": None, "flops": 10**6, "bytes": 0, **fields})
    return Case("op", "fake", "1", "float32", lambda: subject)


def constant(value):
    return lambda: lambda: torch.tensor([value])


def test_results_of_a_case():
    rows = {EAGER: constant(1.0), OURS: constant(1.5), "other": constant(9.0)}
    fields = {"exact": lambda: torch.tensor([1.0], dtype=torch.float64), "unjudged": frozenset({"other"})}
    result = measure_case(fake_case(rows, saved={OURS: lambda: 77}, **fields), Plan(least=3, most=3, budget=0.0), RATES)
    assert result.name == "op/fake/1/float32"
    assert [len(row.seconds) for row in result.rows.values()] == [3, 3, 3]
    assert [row.error for row in result.rows.values()] == [0.0, 0.5, None]
    assert [row.saved for row in result.rows.values()] == [None, 77, None]
    assert result.floor == 1e-3


def test_a_failing_competitor_is_reported_and_the_others_go_on():
    def broken():
        raise RuntimeError("no compiler here\nand a long story")

    result = measure_case(fake_case({"compile": broken, OURS: constant(1.0)}), Plan(least=1, most=1, budget=0.0), RATES)
    assert result.rows["compile"].failure == "RuntimeError: no compiler here"
    assert not result.rows["compile"].seconds
    assert len(result.rows[OURS].seconds) == 1


def test_optional_competitors_run_on_request():
    rows = {EAGER: constant(1.0), WHOLE: constant(1.0)}
    plan = Plan(least=1, most=1, budget=0.0)
    assert list(measure_case(fake_case(rows), plan, RATES).rows) == [EAGER]
    plan = Plan(least=1, most=1, budget=0.0, only=(WHOLE,))
    assert list(measure_case(fake_case(rows), plan, RATES).rows) == [WHOLE]


def test_a_run():
    told, seen = [], []
    threads = torch.get_num_threads()
    case = fake_case({EAGER: lambda: lambda: seen.append(torch.get_num_threads()) or torch.ones(1)})
    plan = Plan(size="smoke", threads=1, least=1, most=1, budget=0.0)
    report = measure([case, case], plan, say=told.append, progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 2), "op/fake/1/float32", (1, 2), "op/fake/1/float32", (2, 2)]
    assert set(seen) == {1}
    assert torch.get_num_threads() == threads
    assert report.machine["threads"] == 1
    assert list(report.rates) == ["float32"]


def test_a_case_that_cannot_be_made_does_not_lose_the_others():
    def broken():
        raise RuntimeError("no such device")

    told = []
    cases = [Case("op", "broken", "1", "float32", broken), fake_case({EAGER: constant(1.0)})]
    plan = Plan(size="smoke", threads=1, least=1, most=1, budget=0.0)
    report = measure(cases, plan, say=told.append, progress=lambda *_: None)
    assert "op/broken/1/float32 is left out: RuntimeError: no such device" in told
    assert [case.name for case in report.cases] == ["op/fake/1/float32"]


def test_questions_and_answers_of_the_stock_process():
    answers = io.StringIO()
    questions = io.StringIO("warm\ntime\ntime\n")
    threads = torch.get_num_threads()
    name = "block/latent/5x3/float32"
    serve(name, "smoke", threads, questions=questions, answers=answers)
    allocator, *times = answers.getvalue().splitlines()
    assert allocator in ("keeps blocks", "returns blocks", "unknown")
    assert len(times) == 2
    assert all(float(value) > 0 for value in times)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator is glibc's")
def test_the_stock_process_is_stock_and_takes_part():
    case = case_named("model/paper/1x3x17x13/float32", "smoke")
    process = StockProcess(case, "smoke", 1)
    process.warm_up()
    assert process.allocator == "returns blocks"
    assert process.seconds() > 0
    process.close()
    assert case.stock


def test_a_stock_process_that_dies_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    process = StockProcess(fake_case({}), "smoke", 1)
    with pytest.raises(AdairError, match="stock allocator ended with exit code 1"):
        process.warm_up()
