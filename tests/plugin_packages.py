"""What tests do with plugin packages on the disk: install them for a while, and run their own tests."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from adair_core.testing import write_package


def install(folder: Path, site: Path) -> None:
    """What an installer makes of the package, as its pyproject says."""
    text = (folder / "pyproject.toml").read_text()  # tomllib is younger than the oldest Python that adair runs on
    name, version = re.search(r'^name = "(.+)"$', text, re.M)[1], re.search(r'^version = "(.+)"$', text, re.M)[1]
    module = re.search(r'^py-modules = \["(.+)"\]$', text, re.M)[1]
    point, target = re.search(r'^\[project\.entry-points\."adair\.plugins"\]\n(.+) = "(.+)"$', text, re.M).groups()
    source = (folder / f"{module}.py").read_text()
    write_package(site, name, {module: source}, version=version, entry_points={point: target})


def run_tests(file: Path) -> int:
    """Run a test file without another pytest: its functions and its contract's methods; how many ran."""
    spec = importlib.util.spec_from_file_location("own_tests", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    count = 0
    for name, value in vars(module).items():
        if name.startswith("test_"):
            value()
            count += 1
        elif name.startswith("Test"):
            subject = value()
            for method in [method for method in dir(subject) if method.startswith("test_")]:
                bound = getattr(subject, method)
                try:
                    bound(*([0.0] if inspect.signature(bound).parameters else []))
                except pytest.skip.Exception:
                    continue
                count += 1
    return count
