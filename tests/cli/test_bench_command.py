"""`adair bench`; what it measures is replaced by something that takes no time."""

from __future__ import annotations

import json

import pytest
import torch

from adair_core.bench import cases as bench_cases
from adair_core.bench.case import EAGER, OURS, Case, Subject
from adair_core.bench.report import Report
from adair_core.testing import run_program


@pytest.fixture
def fake(monkeypatch):
    def row(value):
        return lambda: lambda: torch.tensor([value])

    def cases(size):
        subject = Subject(
            rows={EAGER: row(1.0), OURS: row(1.0)}, exact=lambda: torch.ones(1).double(), flops=10, bytes=10
        )
        return [Case("op", f"fake {name} {size}", "1x2", "float32", lambda: subject) for name in ("a", "b")]

    monkeypatch.setitem(bench_cases.GROUPS, "op", cases)
    monkeypatch.setattr("adair_core.bench.run.roofline.measure", lambda *_: bench_roofline())


def bench_roofline():
    from adair_core.bench.roofline import Roofline

    return Roofline(1e11, 1e10)


def test_table(fake):
    done = run_program("bench", "--what", "op", "--quick", "--rounds", 2, "--threads", 1)
    assert done.exit_code == 0, done.stderr
    assert "float32: 100 GF/s, copy 10.0 GB/s" in done.stdout
    assert "1 threads" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if " 0.0e+00 " in line]
    assert len(rows) == 4
    assert "\x1b" not in done.stdout


def test_json_file_and_plot(fake, tmp_path):
    files = tmp_path / "out" / "results.json", tmp_path / "speed.png"
    done = run_program("bench", "--what", "op", "--rounds", 2, "--json", "--out", files[0], "--plot", files[1])
    assert done.exit_code == 0, done.stderr
    report = Report.read(files[0])
    assert json.loads(done.stdout)["cases"][0]["rows"][EAGER]["seconds"] == list(report.cases[0].rows[EAGER].seconds)
    assert [case.what for case in report.cases] == ["fake a full", "fake b full"]
    assert all(len(row.seconds) == 2 for case in report.cases for row in case.rows.values())
    assert files[1].read_bytes().startswith(b"\x89PNG")


def test_filter_rows_and_list(fake, tmp_path):
    assert (
        run_program("bench", "--what", "op", "--list", "--filter", "*fake a*").stdout == "op/fake a full/1x2/float32\n"
    )
    done = run_program("bench", "--what", "op", "--row", OURS, "--rounds", 1, "--json")
    assert [list(case["rows"]) for case in done.json["cases"]] == [[OURS], [OURS]]


def test_bad_requests(fake):
    done = run_program("bench", "--what", "op", "--filter", "nothing*")
    assert (done.exit_code, "expected a pattern that matches a case" in done.stderr) == (2, True)
    done = run_program("bench", "--what", "ops")
    assert done.exit_code == 2
    assert "Traceback" not in done.stderr
    done = run_program("bench", "--what", "op", "--row", "nobody", "--rounds", 1)
    assert (done.exit_code, "no competitor could be timed" in done.stderr) == (0, True)
