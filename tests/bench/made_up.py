"""Results that nobody measured."""

from __future__ import annotations

from adair_core.bench.report import CaseResult, Report, RowResult


def case_result(name, rows, **fields):
    """A case of a name, with rows given as seconds or as a `RowResult`."""
    group, what, shape, precision = name.split("/")
    made = {key: value if isinstance(value, RowResult) else RowResult(seconds=value) for key, value in rows.items()}
    defaults = {"flops": 10**9, "bytes": 10**6, "floor": 0.001, "others": 0.0}
    return CaseResult(group=group, what=what, shape=shape, precision=precision, rows=made, **{**defaults, **fields})


def report(*cases):
    return Report(
        commit="abc123",
        started="2026-01-02T03:04:05+00:00",
        machine={"cpu": "a CPU", "threads": 2, "torch": "2.14.1", "capability": "AVX512", "allocator": "keeps blocks"},
        load="0.00 0.00 0.00 1/99",
        rates={"float32": {"flops": 1e11, "bytes": 2e10}},
        cases=cases,
    )
