"""An installation without the native library, with a broken one, and with a cap on the instruction set.

Each in a process of its own, on a copy of the package: a library can be loaded only once.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

import adair_core
from adair_core.ops import built_from, native
from adair_core.ops.library_file import misfit
from adair_core.ops.native import library

PACKAGE = Path(adair_core.__file__).parent
LIBRARY = next(iter(sorted(PACKAGE.glob("_ops_cpu*.so"))), None)
needs_library = pytest.mark.skipif(LIBRARY is None or not library().loaded, reason="the native library is not built")

DOCTOR = "import sys; from adair_core.cli.program import run; sys.exit(run(sys.argv[1:]))"
COMPUTE = """
import torch
from adair_core.ops import feed_forward
one = torch.ones
y = feed_forward(one(1, 4, 3, 3), one(4), None, one(6, 4, 1, 1), None, one(6, 1, 3, 3), None, one(4, 3, 1, 1), None)
print(tuple(y.shape))
"""


@pytest.fixture
def package(tmp_path) -> Path:
    """A copy of the package without native files."""
    copy = tmp_path / "copy" / "adair_core"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    return copy


def python(package: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(package.parent), **environment},
        cwd=package.parent,  # where Python looks first
        capture_output=True,
        text=True,
        check=False,
    )


def doctor(package: Path) -> dict[str, Any]:
    done = python(package, "-W", "error", "-c", DOCTOR, "doctor", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_a_missing_library_is_quiet(package):
    done = python(package, "-W", "error", "-c", COMPUTE)
    assert (done.stdout.strip(), done.stderr) == ("(1, 4, 3, 3)", "")
    report = doctor(package)
    assert report["build"]["CPU kernels"] == "not built"
    assert report["kernels"]["feed_forward"]["cpu float32"] == "the native library is not built"
    (advice,) = report["build"]["advice"]
    assert "a C++ compiler (GCC or Clang) has to be installed" in advice
    assert "ADAIR_BUILD=cpu pip install" in advice


def test_a_broken_library_is_loud_and_everything_still_runs(package):
    (package / "_ops_cpu.abi3.so").write_text("this is text")
    (package / f"_runtime{sysconfig.get_config_var('EXT_SUFFIX')}").write_text("this is text")
    done = python(package, "-c", COMPUTE)
    assert done.stdout.strip() == "(1, 4, 3, 3)"
    assert "NativeLibraryWarning: the native kernels in" in done.stderr
    assert "the slower reference kernels run instead; 'make kernels' in a clone" in done.stderr
    assert done.stderr.count("NativeLibraryWarning") == 1
    report = doctor(package)
    for module in ("CPU kernels", "runtime module"):
        assert report["build"][module] == "broken: the file is not a library (it begins with b'this is ')"
    assert report["kernels"]["feed_forward"]["cpu float32"] == "the native library cannot be used"
    assert len(report["build"]["advice"]) == 2
    assert ["cannot be used" in advice for advice in report["build"]["advice"]] == [True, False]
    assert "the native runtime module cannot be loaded" in report["build"]["advice"][1]
    tuned = "import adair_core; print(adair_core.tune_process(threads=1).allocator)"
    assert python(package, "-c", tuned).stdout.startswith("left as it was: the native module cannot be loaded (")


RUNTIME = next(iter(sorted(PACKAGE.glob("_runtime*.so"))), None)


def with_native_files(package: Path) -> Path:
    for file in (LIBRARY, RUNTIME):
        shutil.copy(file, package / file.name)
    return package


@needs_library
def test_native_files_without_sources_beside_them(package):
    report = doctor(with_native_files(package))
    assert report["build"]["advice"] == []
    assert report["kernels"]["feed_forward"]["cpu float32"] is None


def refused_as_stale(package: Path, what: str) -> None:
    done = python(package, "-c", COMPUTE)
    assert done.stdout.strip() == "(1, 4, 3, 3)"
    assert f"cannot be used (built with other {what}: digest " in done.stderr
    assert "'make kernels' in a clone, or 'pip install .', builds them anew" in done.stderr
    report = doctor(package)
    assert report["build"]["CPU kernels"].startswith(f"broken: built with other {what}: digest ")
    assert report["kernels"]["feed_forward"]["cpu float32"] == "the native library cannot be used"
    assert "ADAIR_BUILD=cpu pip install" in report["build"]["advice"][0]


@needs_library
def test_kernels_of_other_cpp_sources_are_refused(package):
    shutil.copytree(PACKAGE.parent / "csrc", package.parent / "csrc")
    assert doctor(with_native_files(package))["build"]["advice"] == []
    with (package.parent / "csrc" / "common" / "gemm.h").open("a") as file:
        file.write("// a change")
    refused_as_stale(package, "C++ sources (csrc/)")


@needs_library
def test_kernels_of_other_python_code_are_refused(package):
    with (package / "ops" / "feed_forward" / "native.py").open("a") as file:
        file.write("# a change")
    refused_as_stale(with_native_files(package), "Python code that calls them")


@needs_library
def test_a_runtime_module_from_before_there_were_digests(package, monkeypatch):
    class Old:
        @staticmethod
        def build_info():
            return {"kind": "cpu"}

    monkeypatch.setattr(native, "runtime", lambda: Old)
    assert "digest unknown, here it is" in native.outdated(PACKAGE)
    monkeypatch.setattr(native, "runtime", lambda: None)
    assert native.outdated(PACKAGE) is None


def test_digests_see_names_and_contents(tmp_path):
    folder = tmp_path / "csrc" / "op"
    folder.mkdir(parents=True)
    seen = {built_from.kernels(tmp_path / "csrc")}
    assert seen == {""}
    (folder / "a.h").write_text("one")
    seen.add(built_from.kernels(tmp_path / "csrc"))
    (folder / "a.h").write_text("two")
    seen.add(built_from.kernels(tmp_path / "csrc"))
    (folder / "a.h").rename(folder / "b.h")
    seen.add(built_from.kernels(tmp_path / "csrc"))
    (folder / "b.h~").write_text("an editor's")
    seen.add(built_from.kernels(tmp_path / "csrc"))
    assert len(seen) == 4


def callers_of_kernels() -> set[Path]:
    """Files of the package, relative to its folder, that name the kernels or hand them their parameters."""
    naming = re.compile(r"torch\.ops\.adair_native\b|\bpixel_steps\b(?!\.py)")
    files = {file for file in PACKAGE.rglob("*.py") if naming.search(file.read_text())}
    return {file.relative_to(PACKAGE) for file in files | set(PACKAGE.glob("ops/*/parameters.py"))}


def test_the_callers_are_found():
    found = {file.as_posix() for file in callers_of_kernels()}
    assert {"ops/pixel_steps.py", "ops/feed_forward/cuda.py", "ops/attention_branch/composed.py"} < found
    assert {"ops/native.py", "ops/bottleneck/native.py", "ops/feed_forward/parameters.py"} < found


@pytest.mark.parametrize("caller", sorted(callers_of_kernels()), ids=str)
def test_the_digest_sees_each_caller(tmp_path, caller):
    shutil.copytree(PACKAGE / "ops", tmp_path / "ops", ignore=shutil.ignore_patterns("__pycache__"))
    before = built_from.callers(tmp_path)
    with (tmp_path / caller).open("a") as file:
        file.write("# a change")
    assert built_from.callers(tmp_path) != before


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_a_changed_caller_makes_new_kernels():
    # Only the data base of rules; nothing is made.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "-pnq"], cwd=PACKAGE.parent, env=environment, capture_output=True, text=True, check=False
    )
    (rule,) = [line for line in done.stdout.splitlines() if line.startswith(".venv/.adair-kernels:")]
    prerequisites = {Path(name) for name in rule.partition(":")[2].split()}
    assert prerequisites >= {Path("adair_core") / caller for caller in callers_of_kernels()}


@pytest.mark.skipif(not sys.platform.startswith("linux") or LIBRARY is None, reason="an ELF library")
def test_a_library_for_another_machine(package):
    binary = bytearray(LIBRARY.read_bytes())
    binary[18:20] = (22 if platform.machine() != "s390x" else 62).to_bytes(2, "little")
    (package / "_ops_cpu.abi3.so").write_bytes(binary)
    report = doctor(package)
    machine = platform.machine()
    assert report["build"]["CPU kernels"] == f"broken: the library is built for s390x, this machine is {machine}"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ELF")
@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is not a library"), (b"MZ\x90\0", "the file is not a library"), (b"\x7fELF\2\1", "truncated")],
)
def test_files_that_are_no_library(tmp_path, content, reason):
    (tmp_path / "x.so").write_bytes(content)
    assert reason in misfit(tmp_path / "x.so")
    assert "cannot be read" in misfit(tmp_path / "missing.so")
    assert misfit(Path(sys.modules["_ctypes"].__file__ if "_ctypes" in sys.modules else sys.executable)) is None


@needs_library
def test_a_broken_library_for_cuda_is_told_and_leaves_the_cpu_alone(package):
    shutil.copy(LIBRARY, package)
    (package / "_ops_cuda.abi3.so").write_text("this is text")
    done = python(package, "-W", "error", "-c", COMPUTE)
    assert (done.stdout.strip(), done.stderr) == ("(1, 4, 3, 3)", "")
    report = doctor(package)
    assert report["build"]["CUDA kernels"] == "broken: the file is not a library (it begins with b'this is ')"
    assert any("ADAIR_BUILD=cuda pip install" in advice for advice in report["build"]["advice"])


def test_a_library_for_cuda_alone_is_of_no_use(package):
    (package / "_ops_cuda.abi3.so").write_text("this is text")
    code = "from adair_core.ops.native import cuda_library; print(cuda_library().error)"
    assert "the CPU kernels, which it needs" in python(package, "-W", "error", "-c", code).stdout


@needs_library
@pytest.mark.parametrize("level", ["baseline", "avx2", "avx512"])
def test_the_instruction_set_is_capped(level):
    code = "from adair_core.ops.native import library; print(library().capability)"
    order = ["baseline", "avx2", "avx512", "avx512_bf16", "amx_bf16"]
    done = python(PACKAGE, "-c", code, ADAIR_CPU_CAPABILITY=level)
    highest = python(PACKAGE, "-c", code, ADAIR_CPU_CAPABILITY="").stdout.strip()
    assert done.stdout.strip() == min(level, highest, key=order.index)


@needs_library
def test_an_unknown_instruction_set_is_one_clear_error():
    message = "ADAIR_CPU_CAPABILITY: expected one of baseline, avx2, avx512, avx512_bf16, amx_bf16, got 'sse9'"
    done = python(PACKAGE, "-c", COMPUTE, ADAIR_CPU_CAPABILITY="sse9")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"adair_core.errors.UsageError: {message}"
    done = python(PACKAGE, "-c", DOCTOR, "doctor", ADAIR_CPU_CAPABILITY="sse9")
    assert done.returncode == 0, done.stderr
    assert f"to do: correct or unset the environment variable: {message}" in done.stdout
