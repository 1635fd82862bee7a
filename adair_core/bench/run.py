"""Measuring cases."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch
from torch import Tensor

from adair_core.bench import machine, roofline
from adair_core.bench import memory as memories
from adair_core.bench.case import COMPILED, OPTIONAL, STOCK, Case, Size, Subject, compute_dtype, relative_error
from adair_core.bench.report import CaseResult, Report, RowResult
from adair_core.bench.rounds import SLOW, Competitor, Local, interleave
from adair_core.bench.stock_process import StockProcess
from adair_core.errors import AdairError

Say = Callable[[str], None]
Rates = dict[torch.dtype, roofline.Roofline]

CLOSE = 4
"""Adair with an adapter beside adair without, and four adapters beside one, differ by less than their rounds do."""


@dataclass(frozen=True)
class Plan:
    """How thoroughly to measure.

    Attributes:
        size: of the images.
        threads: of PyTorch.
        least: rounds that every case gets.
        most: rounds that no case exceeds.
        budget: seconds of a case's rounds; `CLOSE` times as many where a few per cent count.
        only: competitors that run; ``None`` = all but the optional ones.
        judge: whether errors against float64 are computed.
        brief: whether whole networks are compiled for channels last alone. For channels first, compiling takes minutes,
            and what came out was slower in every run that is kept (834 to 667 ms, 612 to 476, 607 to 474).
        memory: whether the peak memory of training steps is measured, too.
    """

    size: Size = "full"
    threads: int = 1
    least: int = 5
    most: int = 40
    budget: float = 5.0
    only: Collection[str] | None = None
    judge: bool = True
    brief: bool = False
    memory: bool = False

    def includes(self, name: str, group: str) -> bool:
        """Whether a competitor runs in cases of a group."""
        if self.brief and name == COMPILED and group in ("model", "train"):
            return False
        return name not in OPTIONAL if self.only is None else name in self.only


def measure(cases: Sequence[Case], plan: Plan, *, say: Say, progress: Callable[[int, int], None]) -> Report:
    """Measure cases, one after the other; the competitors of each in turn.

    The caller tunes the process's allocator (`adair_core.tuning`); the report says what it does.

    Args:
        cases: of the plan's size.
        plan: how thoroughly.
        say: is told what happens.
        progress: is told how many cases are done, and of how many.
    """
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    load = machine.load()
    memory = memories.measure(plan.size, plan.threads, say=say) if plan.memory else []
    with _threads(plan.threads):
        dtypes = dict.fromkeys(compute_dtype(case.precision) for case in cases)
        small = plan.size == "smoke"
        rates = {
            dtype: roofline.measure(dtype, side=64, copied=2**16, repeats=1) if small else roofline.measure(dtype)
            for dtype in dtypes
        }
        results = []
        for number, case in enumerate(cases):
            progress(number, len(cases))
            say(f"{case.name}")
            try:
                results.append(measure_case(case, plan, rates))
            # Whatever one case cannot do, the minutes that the others took are not to be lost.
            except Exception as error:
                say(f"{case.name} is left out: {_first_line(error)}")
        progress(len(cases), len(cases))
        described = machine.describe()
    return Report(
        commit=commit(),
        started=started,
        machine=described,
        load=load,
        rates={
            str(dtype).removeprefix("torch."): {"flops": rate.flops, "bytes": rate.bytes}
            for dtype, rate in rates.items()
        },
        cases=tuple(results),
        memory=tuple(memory),
    )


def measure_case(case: Case, plan: Plan, rates: Rates) -> CaseResult:
    """Measure one case.

    A competitor that fails has its failure in the result, and the others go on.
    """
    # A block is compiled once for each of its shapes and layouts. Past its limit the compiler would silently run eager.
    with torch._dynamo.config.patch(recompile_limit=64, fail_on_recompile_limit_hit=True):
        return _measured(case, plan, rates)


def _measured(case: Case, plan: Plan, rates: Rates) -> CaseResult:
    torch._dynamo.reset()
    subject = case.make()
    exact = subject.exact() if plan.judge and subject.exact is not None else None
    competitors: dict[str, Competitor] = {}
    rows: dict[str, RowResult] = {}
    for name, build in _builders(case, subject, plan):
        began = time.perf_counter()
        try:
            competitor, error = build(None if name in subject.unjudged else exact)
            competitor.warm_up()
        # Compilers raise whatever they like; their rows say so.
        except Exception as failure:
            rows[name] = RowResult(failure=_first_line(failure))
            continue
        competitors[name] = competitor
        saved = subject.saved[name]() if name in subject.saved else None
        rows[name] = RowResult(error=error, saved=saved, prepared=time.perf_counter() - began)
    del exact
    children = [value.process for value in competitors.values() if isinstance(value, StockProcess)]
    before = machine.Ticks.now(children)
    budget = plan.budget * (CLOSE if case.group in ("adapter", "mixed") else 1)
    times = interleave(competitors, least=plan.least, most=plan.most, budget=budget)
    others = machine.others(before, machine.Ticks.now(children))
    for competitor in competitors.values():
        competitor.close()
    for name, seconds in times.items():
        rows[name] = rows[name].model_copy(update={"seconds": tuple(seconds)})
    roof = rates[compute_dtype(case.precision)]
    return CaseResult(
        group=case.group,
        what=case.what,
        shape=case.shape,
        precision=case.precision,
        rows=rows,
        flops=subject.flops,
        bytes=subject.bytes,
        floor=roof.seconds(subject.flops, subject.bytes),
        images=subject.images,
        features=subject.features,
        shares=dict(subject.shares),
        others=others,
    )


Builder = Callable[[Tensor | None], tuple[Competitor, float | None]]


def _builders(case: Case, subject: Subject, plan: Plan) -> Iterator[tuple[str, Builder]]:
    for name, row in subject.rows.items():
        if plan.includes(name, case.group):

            def build(
                exact: Tensor | None, name: str = name, row: Callable[[], Callable[[], Tensor]] = row
            ) -> tuple[Competitor, float | None]:
                run = row()
                began = time.perf_counter()
                result = run().detach()
                # The first call of compiled code compiles, which says nothing about the second.
                slow = time.perf_counter() - began > SLOW and not name.startswith(COMPILED)
                return Local(run, warm=slow), None if exact is None else relative_error(result, exact)

            yield name, build
    if case.stock and plan.includes(STOCK, case.group):
        yield STOCK, lambda _: (StockProcess(case, plan.size, plan.threads), None)


def commit() -> str | None:
    """The commit of the source that runs, with ``+`` if files differ from it; ``None`` outside a repository."""
    folder = Path(__file__).parent
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return None
    return done.stdout.strip() or None


def refuse_disturbance(*, force: bool) -> None:
    """Stop where a measurement would mean nothing.

    Raises:
        AdairError: other programs run.
    """
    if not force and machine.is_idle() is False:
        raise AdairError(
            f"other programs are running (load {machine.load()}): expected an idle machine; end them, or measure "
            f"nevertheless with --force: the results are then marked"
        )


def _first_line(failure: Exception) -> str:
    text = str(failure).strip()
    return f"{type(failure).__name__}: {text.splitlines()[0][:160]}" if text else type(failure).__name__


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
