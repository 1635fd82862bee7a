"""pytest-benchmark reports the times that it is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys

SUITE = """
import pytest
from adair_core.bench.replay import clock, replayed

@pytest.mark.benchmark(timer=clock)
@pytest.mark.parametrize("seconds", [(3.0, 1.0, 2.0), (1e-6, 3e-6)])
def test_given(benchmark, seconds):
    benchmark.pedantic(replayed(seconds), rounds=len(seconds), iterations=1)
"""


def test_pytest_benchmark_reports_what_it_is_given(tmp_path):
    (tmp_path / "test_suite.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark-json", "out.json", "."]
    # pytest-benchmark measures nothing in a worker of pytest-xdist, which this test may run in.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    slow, fast = (entry["stats"] for entry in json.loads((tmp_path / "out.json").read_text())["benchmarks"])
    assert [round(value, 6) for value in slow["data"]] == [3.0, 1.0, 2.0]
    assert round(slow["median"], 6) == 2.0
    assert [round(value, 9) for value in fast["data"]] == [1e-6, 3e-6]
