"""tools/bench_compare.py on made-up results."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from made_up import case_result, report

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import bench_compare

NAME = "op/feed_forward/1x8x4x4/float32"


def write(path, rows):
    report(case_result(NAME, rows)).write(path)
    return path


@pytest.fixture
def compare(tmp_path):
    def run(before, after, *options):
        files = [str(write(tmp_path / f"{name}.json", rows)) for name, rows in (("a", before), ("b", after))]
        return CliRunner().invoke(bench_compare.main, [*files, *options])

    return run


def test_a_regression_ends_with_1(compare):
    done = compare({"adair": (1.0, 1.01, 1.02)}, {"adair": (1.2, 1.21, 1.22)})
    assert done.exit_code == 1
    assert "SLOWER" in done.stdout
    assert "1.198" in done.stdout
    assert "1 compared, 0 faster, 1 slower by more than 1.05x" in done.stdout


def test_an_improvement_and_nothing_new_end_with_0(compare):
    done = compare({"adair": (1.0, 1.01, 1.02)}, {"adair": (0.5, 0.51, 0.52)})
    assert (done.exit_code, "faster" in done.stdout) == (0, True)
    assert compare({"adair": (1.0, 1.01)}, {"adair": (1.01, 1.0)}).exit_code == 0


def test_noise_is_no_regression(compare):
    """The median is 1.2 times as long, but the interval says that it might not be."""
    assert compare({"adair": (1.0, 2.0, 1.0)}, {"adair": (1.2, 0.9, 2.5)}).exit_code == 0


def test_threshold_and_rows(compare):
    before, after = {"adair": (1.0, 1.0), "eager": (1.0, 1.0)}, {"adair": (1.2, 1.2), "eager": (9.0, 9.0)}
    assert compare(before, after, "--threshold", "1.3", "--row", "adair").exit_code == 0
    assert compare(before, after, "--row", "eager").exit_code == 1


def test_relative_takes_a_slower_machine_out(compare):
    before, after = {"adair": (1.0, 1.0), "eager": (2.0, 2.0)}, {"adair": (3.0, 3.0), "eager": (6.0, 6.0)}
    done = compare(before, after, "--relative", "eager")
    assert (done.exit_code, "1.000" in done.stdout) == (0, True)


def test_files_of_pytest_benchmark(tmp_path):
    def entry(seconds):
        return {"group": NAME, "extra_info": {"competitor": "adair"}, "stats": {"data": seconds}}

    path = tmp_path / "pytest.json"
    path.write_text(json.dumps({"benchmarks": [entry([1.0, 2.0])]}))
    assert bench_compare.read_times(path) == {NAME: {"adair": (1.0, 2.0)}}
    ours = write(tmp_path / "ours.json", {"adair": (3.0, 6.0)})
    done = CliRunner().invoke(bench_compare.main, [str(ours), str(path), "--threshold", "1.0"])
    assert (done.exit_code, "0.333" in done.stdout) == (0, True)


def test_errors_are_clear(tmp_path, compare):
    done = CliRunner().invoke(bench_compare.main, [str(tmp_path / "none.json"), str(tmp_path / "none.json")])
    assert done.exit_code == 1
    assert "expected a readable benchmark result" in done.output
    done = compare({"adair": (1.0,)}, {"other": (1.0,)})
    assert done.exit_code == 2
    assert "expected two results with cases and competitors in common, got 1 case and 1 case" in done.output
