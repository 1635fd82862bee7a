"""`adair new-plugin` writes packages that work: installed, they pass their own tests."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from pathlib import Path

import pytest

from adair_core.testing import installed, run_program, write_package

KINDS = ("degradation", "adapter", "backbone")


def install(folder: Path, site: Path) -> None:
    """What an installer makes of the package, as its pyproject says."""
    text = (folder / "pyproject.toml").read_text()  # tomllib is younger than the oldest Python that adair runs on
    name, version = re.search(r'^name = "(.+)"$', text, re.M)[1], re.search(r'^version = "(.+)"$', text, re.M)[1]
    module = re.search(r'^py-modules = \["(.+)"\]$', text, re.M)[1]
    point, target = re.search(r'^\[project\.entry-points\."adair\.plugins"\]\n(.+) = "(.+)"$', text, re.M).groups()
    source = (folder / f"{module}.py").read_text()
    write_package(site, name, {module: source}, version=version, entry_points={point: target})


def run_tests(file: Path) -> int:
    """Run a test file without another pytest: its functions and its contract's methods."""
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


@pytest.mark.parametrize("kind", KINDS)
def test_the_package_works(kind, workplace):
    outcome = run_program("new-plugin", "my-own", "--kind", kind)
    assert outcome.exit_code == 0, outcome.stderr
    folder = workplace / "adair-plugin-my-own"
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert files == {
        *["pyproject.toml", "README.md", ".gitignore", "adair_plugin_my_own.py", "tests/test_my_own.py"],
    }
    assert not [file for file in folder.rglob("*") if file.is_file() and "$" in file.read_text()]
    install(folder, workplace / "site")
    with installed(workplace / "site") as loaded:
        registry = {"degradation": loaded.degradations, "adapter": loaded.adapters, "backbone": loaded.backbones}[kind]
        assert registry.provenance("my-own").package == "adair-plugin-my-own"
        assert run_tests(folder / "tests" / "test_my_own.py") > 10
        taken = run_program("new-plugin", "my-own", "--kind", kind, "-o", "elsewhere")
        assert taken.exit_code == 2
        assert f"{kind} 'my-own' exists already, in adair-plugin-my-own 0.1.0" in taken.stderr
    sys.modules.pop("own_tests", None)


def test_an_existing_folder_is_left_alone(workplace):
    (workplace / "adair-plugin-grain").mkdir()
    (workplace / "adair-plugin-grain" / "work.txt").write_text("precious")
    outcome = run_program("new-plugin", "grain", "--kind", "degradation")
    assert outcome.exit_code == 2
    assert "adair-plugin-grain exists already; choose another name or --out" in outcome.stderr
    assert [file.name for file in (workplace / "adair-plugin-grain").iterdir()] == ["work.txt"]


@pytest.mark.parametrize("name", ["Grain", "film_grain", "", "-x", "1st", "a.b", "../x", "class", "json"])
def test_bad_names(name, workplace):
    outcome = run_program("new-plugin", "--kind", "degradation", "--", name)
    assert outcome.exit_code == 2
    assert (
        "NAME: expected a name that Python does not use" in outcome.stderr
        or "NAME: expected lower-case" in outcome.stderr
    )
    assert list(workplace.iterdir()) == []


def test_kinds(workplace):
    assert run_program("new-plugin", "grain").exit_code == 2
    outcome = run_program("new-plugin", "grain", "--kind", "metric")
    assert outcome.exit_code == 2
    assert "'metric' is not one of 'adapter', 'backbone', 'degradation'" in outcome.stderr
