"""`adair new-plugin` writes packages that work: installed, they pass their own tests."""

from __future__ import annotations

import pytest
from plugin_packages import install, run_tests

from adair_core.testing import installed, run_program

KINDS = ("degradation", "adapter", "backbone")


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


@pytest.mark.parametrize(
    ("name", "kind"), [("none", "degradation"), ("block", "backbone"), ("degradation-spec", "degradation")]
)
def test_names_that_the_module_needs_itself(name, kind, workplace):
    assert run_program("new-plugin", name, "--kind", kind).exit_code == 0
    install(workplace / f"adair-plugin-{name}", workplace / "site")
    with installed(workplace / "site") as loaded:
        registry = {"degradation": loaded.degradations, "backbone": loaded.backbones}[kind]
        assert registry[name].name == name
        assert run_tests(workplace / f"adair-plugin-{name}" / "tests" / f"test_{name.replace('-', '_')}.py") > 10


def test_an_existing_folder_is_left_alone(workplace):
    (workplace / "adair-plugin-grain").mkdir()
    (workplace / "adair-plugin-grain" / "work.txt").write_text("precious")
    outcome = run_program("new-plugin", "grain", "--kind", "degradation")
    assert outcome.exit_code == 2
    assert "adair-plugin-grain exists already; choose another name or --out" in outcome.stderr
    assert [file.name for file in (workplace / "adair-plugin-grain").iterdir()] == ["work.txt"]


@pytest.mark.parametrize("name", ["Grain", "film_grain", "-x", "1st", "a.b", "../x", "class", "json"])
def test_bad_names(name, workplace):
    outcome = run_program("new-plugin", "--kind", "degradation", "--", name)
    assert outcome.exit_code == 2
    assert (
        "NAME: expected a name that Python does not use" in outcome.stderr
        or "NAME: expected lower-case" in outcome.stderr
    )
    assert list(workplace.iterdir()) == []


def test_an_empty_name(workplace):
    outcome = run_program("new-plugin", "--kind", "degradation", "--", "")
    assert outcome.exit_code == 2
    assert "NAME: expected a value, got an empty one" in outcome.stderr
    assert not list(workplace.iterdir())


def test_kinds(workplace):
    assert run_program("new-plugin", "grain").exit_code == 2
    outcome = run_program("new-plugin", "grain", "--kind", "metric")
    assert outcome.exit_code == 2
    assert "'metric' is not one of 'adapter', 'backbone', 'degradation'" in outcome.stderr
