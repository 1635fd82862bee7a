"""What this machine is, building the kernels, the tests, and the sanitizers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from gpu_checks.device import Device

ROOT = Path(__file__).parents[2]
TAIL = 40
TRAININGS = "tests/training/"


def environment(device: Device) -> dict[str, Any]:
    """Versions, the card and its driver, the compiler."""
    found: dict[str, Any] = {"torch": torch.__version__, "python": sys.version.split()[0], "cuda": torch.version.cuda}
    if not device.rehearsal:
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "card": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "bytes": properties.total_memory,
            "driver": _first_line(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]),
        }
    found["nvcc"] = _last_line(["nvcc", "--version"])
    found["commit"] = _first_line(["git", "-C", str(ROOT), "rev-parse", "HEAD"])
    return {**found, "failures": []}


def build(device: Device) -> dict[str, Any]:
    """Build the kernels in place, for this card alone."""
    if device.rehearsal:
        return {"note": "the build is not rehearsed", "failures": []}
    major, minor = torch.cuda.get_device_capability()
    variables = {"ADAIR_BUILD": "cuda", "TORCH_CUDA_ARCH_LIST": f"{major}.{minor}"}
    return _run([sys.executable, "setup.py", "build_ext", "--inplace"], variables)


def tests(device: Device) -> dict[str, Any]:
    """The tests that are marked ``gpu``, but those of trainings; a rehearsal collects them."""
    return _pytest(device, [file for file in marked_files() if not file.startswith(TRAININGS)])


def training_tests(device: Device) -> dict[str, Any]:
    """Those of trainings, which read and write image files: where a package for that is missing, it is named."""
    try:
        import adair_core.training  # noqa: F401
    except ModuleNotFoundError as error:
        return {
            "note": f"not run: trainings need {error.name}, which is not installed",
            "failures": [f"no {error.name}"],
        }
    return _pytest(device, [file for file in marked_files() if file.startswith(TRAININGS)])


def _pytest(device: Device, files: list[str]) -> dict[str, Any]:
    arguments = ["--collect-only", "-q"] if device.rehearsal else ["-v", "--maxfail=50", "--tb=short"]
    # Warnings of a PyTorch or a driver that nobody here has seen are shown, and are no failures.
    words = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", "-W", "default", *arguments]
    return _run([*words, *files], {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})


def marked_files() -> list[str]:
    """The files with such tests. Others may need packages that the machine has not."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(path.relative_to(ROOT)) for path in files if "\n@pytest.mark.gpu\n" in path.read_text(encoding="utf-8")]


def sanitize(device: Device, tool: str) -> dict[str, Any]:
    """Every kernel on tiny images (`gpu_checks.tiny`) under a tool of compute-sanitizer; a rehearsal runs without it.

    PyTorch's own kernels are watched, too, but only what ours do is counted: names of ours hold ``adair``.
    """
    words = [sys.executable, str(ROOT / "tools" / "gpu_check.py"), "perform", "tiny"]
    if device.rehearsal:
        return _run([*words, "--dry-run"], {})
    program = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(program).exists():
        return {"note": "not run: compute-sanitizer, of the CUDA toolkit, is not here", "failures": [f"no {tool}"]}
    options = ["--tool", tool, "--error-exitcode", "9", "--kernel-name", "kernel_substring=adair"]
    if tool == "memcheck":  # libraries may try calls that fail; what fails of ours is an exception
        options += ["--report-api-errors", "no"]
    # The caching allocator would hide accesses beyond a tensor.
    found = _run([program, *options, *words], {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"})
    if not any("SUMMARY: 0 " in line for line in found["output"]):
        found["failures"].append(f"{tool} ended without a summary of no errors: it has found some, or has not watched")
    return found


def _run(words: list[str], variables: dict[str, str]) -> dict[str, Any]:
    lines = []
    with subprocess.Popen(
        words,
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)  # now, as time may run out
            lines.append(line.rstrip("\n"))
        code = process.wait()
    failures = [] if code == 0 else [f"{Path(words[0]).name} ended with {code}"]
    return {
        "command": " ".join([*(f"{k}={v}" for k, v in variables.items()), *words]),
        "output": lines[-TAIL:],
        "failures": failures,
    }


def _first_line(words: list[str]) -> str:
    return next(iter(_lines(words)), "")


def _last_line(words: list[str]) -> str:
    return next(iter(reversed(_lines(words))), "")


def _lines(words: list[str]) -> list[str]:
    if shutil.which(words[0]) is None:
        return []
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip().splitlines()
