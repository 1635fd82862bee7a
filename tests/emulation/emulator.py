"""Builds the launchers and kernels for CUDA devices for the CPU, and calls them on CPU tensors.

The runner (`runner/`) is a Python module. Each csrc/<operator>/cuda.cu, with all that it includes, is a library of its
own that the runner loads; headers of PyTorch and CUDA are those in `stand_ins/`. Builds are kept in build/emulation
under the hash of all that goes into them.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.util
import os
import re
import subprocess
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pybind11
import torch
from torch import Tensor

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
INCLUDED = [f"-I{HERE / 'runner'}", f"-I{HERE / 'stand_ins'}"]
BUILDS = HERE.parents[1] / "build" / "emulation"
COMPILER = os.environ.get("CXX", "c++")
SANITIZE = os.environ.get("ADAIR_EMULATION_SANITIZE", "0") != "0"
FLAGS = [
    *(
        "-std=c++20",
        "-shared",
        "-fPIC",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unknown-pragmas",
        "-U_FORTIFY_SOURCE",
        "-ffp-contract=off",
    ),
    *(("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined") if SANITIZE else ("-O1",)),
]
# A size or an index that is narrowed must say so: small tensors would not show that large ones do not fit.
NARROWING = ["-Wconversion", "-Wno-sign-conversion", "-Wno-float-conversion"]
# As PyTorch numbers them.
DTYPES = {torch.int64: 4, torch.float16: 5, torch.float32: 6, torch.float64: 7, torch.bfloat16: 15}
CUDA_NAMES = {torch.float16: "__half", torch.float32: "float", torch.bfloat16: "__nv_bfloat16"}
KINDS = {"bool": (bool,), "int": (int,), "float": (float, int), "str": (str,)}
DEVICE, OTHER_DEVICE, HOST = 1, 0, -1
"""Where a call's tensors are; the device that is current, which a launcher has to change; and the CPU."""

Value = Tensor | bool | int | float | str | None


def compiled(name: str, command: list[str], sources: list[Path]) -> Path:
    """Run a compiler unless its result is there already; it is written to the path that is returned."""
    digest = hashlib.sha256(repr(command).encode())
    for source in sorted(sources):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    target = BUILDS / digest.hexdigest()[:20] / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            unfinished = target.with_suffix(".unfinished")
            done = subprocess.run([*command, "-o", str(unfinished)], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            unfinished.rename(target)
    return target


def _runner_sources() -> list[Path]:
    return [path for folder in ("runner", "stand_ins") for path in (HERE / folder).rglob("*.*")]


@functools.cache
def runner() -> ModuleType:
    """The module that runs kernels."""
    name = "emulation_runner"
    sources = _runner_sources()
    paths = [*INCLUDED, "-isystem", pybind11.get_include(), "-isystem", sysconfig.get_path("include")]
    files = [str(path) for path in sources if path.suffix == ".cpp"]
    path = compiled(
        f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}", [COMPILER, *FLAGS, *paths, *files, "-ldl"], sources
    )
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Library:
    """An operator's launchers and kernels.

    Attributes:
        path: of the file.
        schemas: of operators, by their names.
    """

    path: Path
    schemas: Mapping[str, Any]

    def outputs(self, operator: str, values: Mapping[str, Value]) -> dict[str, Tensor]:
        """Of the values of a call, the tensors that it writes."""
        written = [each.name for each in self.schemas[operator].arguments if each.alias_info is not None]
        return {name: value for name in written if isinstance(value := values[name], Tensor)}


@functools.cache
def _prefix() -> Path:
    """The headers of the runner, compiled: half of the time that a small operator takes otherwise."""
    command = [COMPILER, *FLAGS, *NARROWING, *INCLUDED, "-x", "c++-header", str(HERE / "runner" / "prefix.h")]
    return compiled("prefix.h.gch", command, _runner_sources())


def library(operator: str, csrc: Path = CSRC, *, only: torch.dtype | None = None) -> Library:
    """Build csrc/<operator>/cuda.cu, whose sources are below `csrc`, for all dtypes or `only` one."""
    folder = csrc / operator
    return built_from(folder / "cuda.cu", folder / "cpu.cpp", csrc=csrc, only=only)


def built_from(launchers: Path, *declaring: Path, csrc: Path = CSRC, only: torch.dtype | None = None) -> Library:
    """Build a file of launchers. Schemas are in it and in the files that are `declaring`."""
    included = ("*/*.cuh", "cuda/*.h", "*/arguments.h", "common/*.h")
    sources = [launchers, *_runner_sources(), *(path for pattern in included for path in csrc.glob(pattern))]
    command = [COMPILER, *FLAGS, *NARROWING, f"-I{_prefix().parent}", "-include", "prefix.h", f"-I{csrc}", *INCLUDED]
    command += [] if only is None else [f"-DADAIR_ONLY={CUDA_NAMES[only]}"]
    # It takes the runner from the module, which is loaded by then.
    command += ["-x", "c++", str(launchers), "-x", "none", str(runner().__file__)]
    return Library(compiled(f"{launchers.parent.name}.so", command, sources), schemas(launchers, *declaring))


def schemas(*sources: Path) -> dict[str, Any]:
    """The operators that sources declare, by their names."""
    texts = [path.read_text(encoding="utf-8") for path in sources if path.exists()]
    literals = [found for text in texts for found in re.findall(r'm\.def\(((?:\s*"[^"]*")+)\)', text)]
    parsed = [torch._C.parse_schema("".join(re.findall(r'"([^"]*)"', literal))) for literal in literals]
    return {schema.name: schema for schema in parsed}


@functools.cache
def launchers() -> dict[str, str]:
    """The folder in csrc that has an operator's launcher, by the operator's name."""
    files = {path.parent.name: path.read_text(encoding="utf-8") for path in sorted(CSRC.glob("*/cuda.cu"))}
    return {name: folder for folder, text in files.items() for name in re.findall(r'm\.impl\("(\w+)"', text)}


def run(
    built: Library,
    operator: str,
    values: Mapping[str, Value],
    *,
    seed: int = 0,
    shifted: str | None = None,
    shift: int = 1,
    devices: Mapping[str, int] | None = None,
) -> None:
    """Call an operator's launcher.

    Args:
        built: from `library`.
        operator: its name in ``torch.ops.adair_native``.
        values: every argument of its schema. Tensors that the schema says are written it has to write everywhere, and
            no others.
        seed: of the order of threads and blocks.
        shifted: a tensor that begins elsewhere than where vectors would be aligned.
        shift: how many elements later it begins.
        devices: of tensors that are elsewhere than on `DEVICE`.
    """
    shifts, places = {shifted: shift}, devices or {}
    given = [
        _described(each, values[each.name], shifts.get(each.name, 0), places.get(each.name, DEVICE))
        for each in _bound(built.schemas[operator], values)
    ]
    runner().run(str(built.path), f"adair_native::{operator}", given, seed)


def _bound(schema: Any, values: Mapping[str, Value]) -> Iterable[Any]:
    missing = [each.name for each in schema.arguments if each.name not in values]
    unknown = values.keys() - {each.name for each in schema.arguments}
    if missing or unknown:
        raise TypeError(f"{schema.name}: arguments are missing: {missing}; are not in its schema: {sorted(unknown)}")
    return schema.arguments


def _described(argument: Any, value: Value, shift: int, device: int) -> Any:
    kind = str(argument.type)
    if value is None and kind == "Optional[Tensor]":
        return None
    if type(value) in KINDS.get(kind, ()):
        return float(value) if kind == "float" else value
    if not isinstance(value, Tensor) or kind not in ("Tensor", "Optional[Tensor]"):
        raise TypeError(f"{argument.name}: expected {kind}, got {type(value).__name__}")
    return runner().Tensor(
        name=argument.name,
        address=value.data_ptr(),
        type=DTYPES[value.dtype],
        sizes=value.shape,
        strides=value.stride(),
        device=device,
        is_output=argument.alias_info is not None,
        shift=shift,
    )
