"""Builds the emulated kernels and calls them on CPU tensors.

The runner (`runner/`) is a Python module; each operator's kernels are a library of their own that it loads. Builds are
kept in build/emulation under the hash of all that goes into them.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.util
import os
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pybind11
import torch
from torch import Tensor

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
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
DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


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


@functools.cache
def runner() -> ModuleType:
    """The module that runs kernels."""
    name = "emulation_runner"
    sources = [*(HERE / "runner").iterdir()]
    paths = [f"-I{HERE / 'runner'}", "-isystem", pybind11.get_include(), "-isystem", sysconfig.get_path("include")]
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


def library(operator: str, csrc: Path = CSRC, *, float_only: bool = False) -> Path:
    """The library of an operator's kernels, whose sources are below `csrc`."""
    entry = HERE / "operators" / f"{operator}.cpp"
    sources = [entry, *entry.parent.glob("*.h"), *(HERE / "runner").iterdir()]
    sources += [path for pattern in ("*/*.cuh", "*/arguments.h", "common/*.h") for path in csrc.glob(pattern)]
    paths = [f"-I{csrc}", f"-I{HERE / 'runner'}", f"-I{entry.parent}"]
    command = [COMPILER, *FLAGS, *NARROWING, *paths, *(["-DEMULATED_FLOAT_ONLY"] if float_only else []), str(entry)]
    # It takes the runner from the module, which is loaded by then.
    return compiled(f"{operator}.so", [*command, str(runner().__file__)], sources)


def run(
    built: Path,
    entry: str,
    numbers: Mapping[str, float],
    inputs: Mapping[str, Tensor | None],
    outputs: Mapping[str, Tensor | None],
    *,
    seed: int = 0,
    shifted: str | None = None,
) -> None:
    """Run an entry of a library.

    Args:
        built: from `library`.
        entry: the operator, or another entry of its library.
        numbers: sizes, flags and the dtype, by name.
        inputs: contiguous tensors, which the kernel may not write; ``None`` is a null pointer.
        outputs: contiguous tensors, of which it has to write every element.
        seed: of the order of threads and blocks.
        shifted: a tensor that begins an element later than where vectors would be aligned.
    """
    described = [
        (name, tensor.data_ptr(), tensor.element_size(), tensor.numel(), role, name == shifted)
        for role, tensors in ((False, inputs), (True, outputs))
        for name, tensor in tensors.items()
        if tensor is not None
    ]
    assert all(tensor is None or tensor.is_contiguous() for tensor in (*inputs.values(), *outputs.values()))
    runner().run(str(built), entry, {name: float(value) for name, value in numbers.items()}, described, seed)
