"""Build a source distribution and, from it, a wheel; install the wheel beside several PyTorch versions and try it.

    python tools/check_wheel.py --torch 2.11.0 --torch 2.14.1      # pip installs these versions: gigabytes
    python tools/check_wheel.py --site-packages DIR                # PyTorch of an environment that is there already

What must hold: one wheel serves every PyTorch from 2.11 on; without a compiler, with one that fails and with
ADAIR_BUILD=none the package installs and runs its references; what was asked for and cannot be built fails, and says
why. Runs in an environment with adair's dependencies, setuptools, build, pybind11 and ninja (``make setup``).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
HERE = sysconfig.get_path("purelib")

TRIAL = """
import sys, torch, adair_core
from adair_core.ops import feed_forward
from adair_core.ops.native import library, references_only
assert "site-packages" in adair_core.__file__, adair_core.__file__
wanted = sys.argv[1] == "native"
found = library()
assert found.loaded == wanted, found
assert (adair_core.tune_process(threads=1).allocator_tuned == wanted) or sys.platform != "linux"
torch.manual_seed(0)
worst = 0.0
for dtype, bound in ((torch.float32, 1e-5), (torch.bfloat16, 4e-2)):
    shapes = [(2, 12, 9, 7), (12,), (12,), (20, 12, 1, 1), (20,), (20, 1, 3, 3), (20,), (12, 10, 1, 1), (12,)]
    arguments = [(0.3 * torch.randn(shape)).to(dtype).requires_grad_() for shape in shapes]
    def results():
        output = feed_forward(*arguments)
        return [output, *torch.autograd.grad(output.float().square().sum(), arguments)]
    ours = results()
    with references_only():
        references = results()
    for ours, reference in zip(ours, references):
        worst = ((ours - reference).abs().max() / reference.abs().max()).item()
        assert worst < bound, (dtype, tuple(ours.shape), worst)
kind = f"native kernels ({found.capability})" if found.loaded else "references"
print(f"torch {torch.__version__}: {kind}, forward and backward agree")
"""


def run(*command: str | Path, expect_failure: bool = False, **environment: str) -> str:
    """Run a command and return what it printed; end the check if it succeeds or fails against expectation."""
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=tempfile.gettempdir(),
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment},
    )
    if (done.returncode != 0) != expect_failure:
        print(done.stdout)
        sys.exit(f"FAILED (exit code {done.returncode}): {' '.join(map(str, command))}")
    return done.stdout


def build_wheel(source: Path, into: Path, *options: str, **settings: str) -> tuple[Path, str]:
    """Build a wheel; returns it and pip's output."""
    into.mkdir()
    options = options or ("--no-build-isolation",)
    text = run(sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", *options, "-w", into, source, **settings)
    return next(into.glob("*.whl")), text


def try_wheel(
    wheel: Path, folder: Path, wanted: str, *, torch: str | None = None, packages: Path | None = None
) -> None:
    """Install a wheel into an environment with a PyTorch of its own, and use it there.

    Args:
        wheel: of adair.
        folder: for the environment.
        wanted: ``native`` or ``references``: what must run.
        torch: the version that pip installs.
        packages: a folder of packages with a PyTorch.
    """
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / "bin" / "python"
    if torch is not None:
        run(python, "-m", "pip", "install", f"torch=={torch}")
    run(python, "-m", "pip", "install", "--no-deps", wheel)
    # The other dependencies come from this environment: only PyTorch differs.
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "borrowed.pth").write_text("".join(f"{path}\n" for path in (packages, HERE) if path), encoding="utf-8")
    print(f"ok: {wheel.name} with {run(python, '-W', 'error', '-c', TRIAL, wanted).strip()}", flush=True)


def tools_without_compiler(folder: Path) -> str:
    """A PATH with what builds need, apart from compilers."""
    folder.mkdir()
    for name in ("ninja", "uname", "sh", "env"):
        where = shutil.which(name)
        if where:
            (folder / name).symlink_to(where)
    return str(folder)


def check_builds_that_fail(source: Path, folder: Path) -> None:
    """Builds that must go on without kernels, and builds that must not."""
    path = tools_without_compiler(folder / "bin")
    failing = folder / "broken-compiler"
    failing.write_text("#!/bin/sh\necho 'broken-compiler 1.0'; test \"$1\" = --version\n", encoding="utf-8")
    failing.chmod(0o755)

    tolerated = {
        "ADAIR_BUILD=none": ({"ADAIR_BUILD": "none"}, "native kernels: none"),
        "no compiler": ({"ADAIR_BUILD": "auto", "PATH": path, "CXX": ""}, "no C++ compiler"),
        "a failing compiler": ({"ADAIR_BUILD": "auto", "CXX": str(failing)}, "is left out"),
    }
    for number, (name, (settings, message)) in enumerate(tolerated.items()):
        wheel, text = build_wheel(source, folder / f"tolerated{number}", **settings)
        assert message in text, text
        assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so")], wheel
        try_wheel(wheel, folder / f"environment{number}", "references", packages=Path(HERE))
        print(f"ok: {name}: installs without kernels", flush=True)

    refused = {
        "ADAIR_BUILD=cpu without a compiler": ({"ADAIR_BUILD": "cpu", "PATH": path, "CXX": ""}, "no C++ compiler"),
        "ADAIR_BUILD=cpu with a failing compiler": ({"ADAIR_BUILD": "cpu", "CXX": str(failing)}, "could not be built"),
        "ADAIR_BUILD=gpu": ({"ADAIR_BUILD": "gpu"}, "expected one of auto, cpu, cuda, none, got 'gpu'"),
    }
    if not [*ROOT.glob("csrc/*/cuda.cu")]:
        refused["ADAIR_BUILD=cuda"] = ({"ADAIR_BUILD": "cuda"}, "has no CUDA kernels")
    command = [sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "-w", folder / "refused"]
    for name, (settings, message) in refused.items():
        text = run(*command, "--no-build-isolation", source, expect_failure=True, **settings)
        assert message in text, text
        print(f"ok: {name}: fails, and says why", flush=True)

    # With build isolation PyTorch is found where pip installs to: the compiler is asked, and it fails.
    text = run(*command, source, expect_failure=True, ADAIR_BUILD="cpu", CXX=str(failing))
    assert "could not be built" in text, text
    print("ok: build isolation: uses the PyTorch that is installed", flush=True)


def main() -> None:
    """Run all checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", action="append", default=[], metavar="VERSION", help="let pip install it")
    parser.add_argument("--site-packages", action="append", default=[], type=Path, metavar="DIR", help="with a PyTorch")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the source distribution and the wheel there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", folder / "sdist", ROOT)
        source = next((folder / "sdist").glob("*.tar.gz"))
        print(f"ok: {source.name}", flush=True)
        check_builds_that_fail(source, folder)
        wheel, text = build_wheel(source, folder / "wheel", ADAIR_BUILD="cpu", ADAIR_WERROR="0")
        print("\n".join(line.strip() for line in text.splitlines() if line.strip().startswith("adair: ")))
        print(f"ok: {wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
        if asked.keep:
            shutil.copytree(source.parent, asked.keep, dirs_exist_ok=True)
            shutil.copytree(wheel.parent, asked.keep, dirs_exist_ok=True)
        for number, packages in enumerate([Path(HERE), *asked.site_packages]):
            try_wheel(wheel, folder / f"with{number}", "native", packages=packages)
        for version in asked.torch:
            try_wheel(wheel, folder / f"torch{version}", "native", torch=version)


if __name__ == "__main__":
    main()
