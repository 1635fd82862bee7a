"""pytest-benchmark on cases whose competitors take turns; see README.md."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch

from adair_core.bench import machine, roofline
from adair_core.bench.case import Case, compute_dtype
from adair_core.bench.cases import cases
from adair_core.bench.replay import replayed
from adair_core.bench.report import CaseResult
from adair_core.bench.run import Plan, Rates, measure_case
from adair_core.tuning import tune_process

ROUNDS = {"smoke": (2, 2, 0.0), "quick": (3, 10, 1.0), "full": (5, 40, 5.0)}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("adair")
    group.addoption("--bench-size", choices=list(ROUNDS), default="quick", help="of the images [default: quick]")
    group.addoption("--bench-threads", type=int, default=None, help="of PyTorch [default: its own]")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each case and competitor that ``@pytest.mark.cases(group, prefix)`` names."""
    mark = metafunc.definition.get_closest_marker("cases")
    if mark is None:
        return
    group, prefix, rows = (*mark.args, mark.kwargs["rows"])
    found = [
        case for case in cases(group, metafunc.config.getoption("--bench-size")) if f"{case.what} ".startswith(prefix)
    ]
    pairs = [(case, row) for case in found for row in rows]
    metafunc.parametrize(("case", "row"), pairs, ids=[f"{case.name}-{row}" for case, row in pairs])


@pytest.fixture(scope="session")
def rates(pytestconfig: pytest.Config) -> Rates:
    """The rates of this very run, and the settings under which everything runs."""
    tune_process(threads=pytestconfig.getoption("--bench-threads") or torch.get_num_threads())
    small = pytestconfig.getoption("--bench-size") == "smoke"
    options = {"side": 64, "copied": 2**16, "repeats": 1} if small else {}
    return {dtype: roofline.measure(dtype, **options) for dtype in (torch.float32, torch.bfloat16)}


@pytest.fixture(scope="session")
def measured(rates: Rates, pytestconfig: pytest.Config) -> Callable[[Case, tuple[str, ...]], CaseResult]:
    """All competitors of a case, timed in turn when the first of them is asked for."""
    size = pytestconfig.getoption("--bench-size")
    least, most, budget = ROUNDS[size]
    done: dict[str, CaseResult] = {}

    def measure(case: Case, rows: tuple[str, ...]) -> CaseResult:
        if case.name not in done:
            plan = Plan(size=size, threads=torch.get_num_threads(), least=least, most=most, budget=budget, only=rows)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # compilers' own
                done[case.name] = measure_case(case, plan, rates)
        return done[case.name]

    return measure


@pytest.fixture
def record(benchmark, measured, rates, request) -> Callable[[Case, str], None]:
    """Give pytest-benchmark the rounds of one competitor of a case."""
    rows = request.node.get_closest_marker("cases").kwargs["rows"]

    def give(case: Case, row: str) -> None:
        result = measured(case, rows)
        found = result.rows.get(row)
        if found is None or not found.seconds:
            pytest.fail(f"{row}: {found.failure if found else 'this case has no such competitor'}", pytrace=False)
        roof = rates[compute_dtype(case.precision)]
        benchmark.group = case.name
        benchmark.extra_info.update(
            machine.describe(),
            competitor=row,
            rounds=len(found.seconds),
            flops=result.flops,
            bytes=result.bytes,
            roofline_flops=roof.flops,
            roofline_bytes=roof.bytes,
            fraction_of_roofline=result.fraction(row),
            error=found.error,
            saved_bytes=found.saved,
            other_processors=result.others,
            disturbed=result.disturbed,
        )
        benchmark.pedantic(replayed(found.seconds), rounds=len(found.seconds), iterations=1)

    return give
