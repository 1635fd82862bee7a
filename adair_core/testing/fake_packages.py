"""Packages that exist for one test: written into a folder as an installer would, and found as any other is."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from adair_core.plugins import ENTRY_POINT_GROUP, Plugins, plugins


def write_package(
    folder: Path,
    name: str,
    modules: Mapping[str, str],
    *,
    version: str = "1.0",
    entry_points: Mapping[str, str] | None = None,
) -> Path:
    """Write a package with plugins, as ``pip install --target`` would leave it.

    Args:
        folder: where; put it on ``PYTHONPATH``, or use `installed`.
        name: distribution name, such as ``adair-plugin-grain``.
        modules: module name -> source, which is dedented.
        version: of the distribution.
        entry_points: entry point -> ``module`` or ``module:attribute``; one for each module by default.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    header = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (metadata / "METADATA").write_text(header, encoding="utf-8")
    points = {module: module for module in modules} if entry_points is None else entry_points
    lines = [f"[{ENTRY_POINT_GROUP}]", *(f"{point} = {target}" for point, target in points.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@contextmanager
def installed(*folders: Path) -> Iterator[Plugins]:
    """Have the packages in folders installed for as long as the context lasts.

    Yields:
        The program's plugins, loaded anew.
    """
    before = set(sys.modules)
    paths = [str(folder) for folder in folders]
    sys.path[:0] = paths
    importlib.invalidate_caches()
    plugins.cache_clear()
    try:
        yield plugins()
    finally:
        for path in paths:
            sys.path.remove(path)
        for module in set(sys.modules) - before:
            file = getattr(sys.modules[module], "__file__", None) or ""
            if any(file.startswith(path) for path in paths):
                del sys.modules[module]
        importlib.invalidate_caches()
        plugins.cache_clear()
