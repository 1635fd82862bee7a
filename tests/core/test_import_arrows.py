"""Imports point one way: cli -> training -> evaluation -> inference -> model -> ops; nothing imports plugins.

bench stands beside them: it measures ops and model, and cli alone imports it; so does demo, above inference.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "adair_core"
FILES = sorted(file for file in ROOT.rglob("*.py") if "templates" not in file.parts)

# part -> the parts that it may import; single files of adair_core that are not in a folder are the part "core".
ALLOWED = {
    "core": set(),
    "ops": {"core"},
    "data": {"core"},
    "model": {"core", "ops", "data"},
    "diagnosis": {"core", "model"},
    "inference": {"core", "ops", "data", "model", "diagnosis"},
    "demo": {"core", "data", "model", "diagnosis", "inference"},
    "evaluation": {"core", "ops", "data", "model", "inference"},
    "training": {"core", "ops", "data", "model", "inference", "evaluation"},
    "bench": {"core", "ops", "model"},
    "cli": {"core", "ops", "data", "model", "diagnosis", "inference", "demo", "evaluation", "training", "bench"},
    "testing": {"core", "ops", "data", "model", "inference", "evaluation", "training", "bench", "cli"},
}

# adapter.py holds the base classes of adapters, which compute with the operators; branch.py hands them to those of
# branches.
EXTRA = {"adair_core.adapter": {"ops"}, "adair_core.branch": {"ops"}}


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in FILES}


def imports_of(file: Path, *, at_load: bool = False) -> Iterator[str]:
    """The full names that a file imports, in functions too; ``at_load``: only those that loading the file runs."""
    package = module_name(file) if file.name == "__init__.py" else module_name(file).rpartition(".")[0]
    pending: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if at_load and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if at_load and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        pending.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *filter(None, [node.module])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in MODULES else base


def part_of(module: str) -> str:
    parts = module.split(".")
    if len(parts) > 1 and (ROOT / parts[1]).is_dir():
        return parts[1]
    return "core"


def test_every_folder_has_its_place():
    folders = {file.parent.name for file in ROOT.glob("*/__init__.py")}
    assert folders == set(ALLOWED) - {"core"}


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_no_import_from_the_plugins(file):
    assert not [name for name in imports_of(file) if name.split(".")[0] in ("adair_plugins", "plugins")]


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_arrows(file):
    own = part_of(module_name(file))
    if file == ROOT / "__init__.py":
        return  # the public names, from everywhere
    for name in imports_of(file):
        if name == "adair_core":
            continue
        if name.startswith("adair_core."):
            part = part_of(name)
            allowed = {own, *ALLOWED[own], *EXTRA.get(module_name(file), ())}
            assert part in allowed, f"{module_name(file)} imports {name}: {own} -> {part}"


def test_no_cycles():
    graph = {
        module: {name for name in imports_of(file, at_load=True) if name in MODULES and name != module}
        for module, file in MODULES.items()
        if module != "adair_core"  # loaded before anything inside it, and so by everything
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"import cycle: {' -> '.join([*path[path.index(module) :], module])}"
        if module in done:
            return
        for name in sorted(graph[module] - {"adair_core"}):
            visit(name, (*path, module))
        done.add(module)

    for module in graph:
        visit(module, ())
    assert done == set(graph)


def test_the_parser_sees_imports_in_functions(tmp_path):
    """The checks above would notice: relative, nested and type-checking imports are all found."""
    file = ROOT / "model" / "imaginary.py"
    text = "from . import files\ndef f():\n    from adair_core.training import train\nimport adair_plugins.tasks\n"
    original = Path.read_text
    try:
        Path.read_text = lambda self, **kw: text if self == file else original(self, **kw)
        names = set(imports_of(file))
        loaded = set(imports_of(file, at_load=True))
    finally:
        Path.read_text = original
    assert names == {"adair_core.model.files", "adair_core.training", "adair_plugins.tasks"}
    assert loaded == {"adair_core.model.files", "adair_plugins.tasks"}
