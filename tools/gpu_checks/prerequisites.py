"""What a visit asks of a machine, and how to get it. The standard library alone: this runs where nothing else does."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]

RUNNING = {
    "torch": "torch>=2.11",
    "numpy": "numpy>=1.26",
    "pluggy": "pluggy>=1.7",
    "click": "click>=8.1",
    "pydantic": "pydantic>=2.7",
    "einops": "einops>=0.8",
    "typing_extensions": "typing_extensions>=4.6",
    "safetensors": "safetensors>=0.5",
    "PIL": "pillow>=11.3",
    "pytest": "pytest>=8.3",
}
"""Module -> requirement: of adair's, those that steps come to."""

BUILDING = {"setuptools": "setuptools>=77", "pybind11": "pybind11>=2.13", "ninja": "ninja"}
"""Likewise for the build of the kernels, and for installing adair without a network."""

INSTALL = "ADAIR_BUILD=none python -m pip install --no-deps --no-build-isolation --editable ."


def advice(*, building: bool) -> str | None:
    """What is missing and what to do; ``None`` if nothing is.

    Args:
        building: whether the kernels are to be built, too.
    """
    asked = {**RUNNING, **BUILDING} if building else RUNNING
    packages = [requirement for module, requirement in asked.items() if not _fulfilled(module, requirement)]
    tools = []
    if building:
        if not any(map(shutil.which, ("c++", "g++", "clang++"))):
            tools.append("a C++ compiler (c++, g++ or clang++ on PATH)")
        if shutil.which("nvcc") is None and not Path("/usr/local/cuda/bin/nvcc").exists():
            tools.append("the CUDA toolkit (nvcc on PATH, or in /usr/local/cuda)")
    package = _own_package()
    if not (packages or tools or package):
        return None
    lines = ["gpu_check cannot run here. Missing:"]
    lines += [f"  {each}" for each in (*packages, *tools, *([package] if package else []))]
    lines += ["What to do, in the source folder:"]
    if packages:
        lines += [f"  python -m pip install {' '.join(map(repr, packages))}"]
        lines += [
            "or, without a network, with wheels from a machine that has one (docs/kernels.md, 'On a bare machine'):"
        ]
        lines += [f"  python -m pip install --no-index --find-links wheels {' '.join(map(repr, packages))}"]
    if package:
        lines += [f"  {INSTALL}"]
    if tools:
        lines += ["  install them; or build on another machine, and add --built (docs/kernels.md, 'On a bare machine')"]
    return "\n".join(lines)


def _fulfilled(module: str, requirement: str) -> bool:
    """Whether a package is there, and new enough."""
    if importlib.util.find_spec(module) is None:
        return False
    name, _, least = requirement.partition(">=")
    try:
        return not least or _numbers(importlib.metadata.version(name)) >= _numbers(least)
    except importlib.metadata.PackageNotFoundError:
        return True  # put there without a package manager, so there is no telling


def _numbers(version: str) -> tuple[int, ...]:
    """Of a release: ``"2.11.0+cu130"`` -> ``(2, 11, 0)``."""
    return tuple(map(int, re.findall(r"\d+", version.partition("+")[0])[:3]))


def _own_package() -> str | None:
    """What is wrong with the installation of adair; ``None`` if it is that of these sources, with its plugins."""
    found = importlib.util.find_spec("adair_core")
    if found is None:
        return "adair itself: adair_core is not installed"
    if found.origin is None or Path(found.origin).parent.resolve() != (ROOT / "adair_core").resolve():
        return f"adair from this folder: adair_core is {found.origin}, expected {ROOT / 'adair_core'}"
    if not importlib.metadata.entry_points(group="adair.plugins"):
        return "adair's plugins: the package is found, but is not installed, so its built-in plugins are not known"
    return None
