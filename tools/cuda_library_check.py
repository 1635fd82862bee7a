"""Build the library of the CUDA kernels as an installation does, link it and load it; needs nvcc, and no GPU.

    python tools/cuda_library_check.py

What `tools/nvcc_check.py` compiles one file at a time is linked here with setup.py's own flags, and PyTorch loads it: a
symbol that is missing, or a schema that does not fit, is not found out on the day that there is a GPU. Every kernel
that the sources register must be there under PyTorch's key for CUDA, and its launcher must be reached by the arguments
of its schema; without a device it ends where it asks for one. One architecture, about a minute on two idle cores.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
ARCHITECTURE = "9.0"
REGISTERED = re.compile(r'm\.impl\("(\w+)"')

TRIAL = """
import os
import sys
import torch
from adair_core.ops.cards import built_for
from adair_core.ops.native import cuda_library

found = cuda_library()
assert found.loaded, f"the library does not load: {found.error}"
assert built_for() == os.environ["TORCH_CUDA_ARCH_LIST"], f"what it is built for is lost: {built_for()!r}"
FILLERS = {"bool": True, "int": 1, "float": 1.0}
key = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
for name in sys.argv[1:]:
    operator = getattr(torch.ops.adair_native, name).default
    assert torch._C._dispatch_has_kernel_for_dispatch_key(operator.name(), "CUDA"), f"{name} is not registered"
    arguments = [FILLERS.get(str(each.type), torch.ones(1)) for each in operator._schema.arguments]
    try:
        operator.redispatch(key, *arguments)
    except RuntimeError as error:
        reason = str(error).partition(chr(10))[0]
        assert "CUDA" in reason, f"{name}: {reason}"
    else:
        raise AssertionError(f"{name} took tensors of the host")
"""


def main() -> None:
    """Build, load, call; exit with 1 if something does not hold."""
    sources = sorted((ROOT / "csrc").glob("*/cuda.cu"))
    kernels = [name for path in sources for name in REGISTERED.findall(path.read_text())]
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder)
        for part in ("adair_core", "csrc"):
            shutil.copytree(ROOT / part, package / part, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        build = [sys.executable, "setup.py", "--quiet", "build_ext", "--build-lib", folder]
        run(build, ROOT, ADAIR_BUILD="cuda", ADAIR_WERROR="1")
        run([sys.executable, "-c", TRIAL, *kernels], package)
    print(f"cuda_library_check: {len(kernels)} kernels for {ARCHITECTURE} linked, loaded and reached")


def run(command: list[str], folder: Path, **environment: str) -> None:
    """Run a command; end with what it printed if it fails."""
    variables = {**os.environ, "TORCH_CUDA_ARCH_LIST": ARCHITECTURE, **environment}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"cuda_library_check: {done.stdout[-4000:]}{done.stderr[-4000:]}")


if __name__ == "__main__":
    main()
