"""The native modules; all other metadata is in pyproject.toml.

ADAIR_BUILD says what is built: ``none``, ``cpu`` (fails without a compiler) or ``auto`` (the default: ``cpu`` if there
is a compiler, else ``none``).
"""

import os
import shutil
import sys
from pathlib import Path

from setuptools import setup

CSRC = Path("csrc")
# The oldest PyTorch whose stable interface the kernels use: one build serves that and every later version.
TORCH_FLOOR = "0x020b000000000000"
KINDS = ("auto", "cpu", "none")


def resolve_build() -> str:
    """Read ADAIR_BUILD and look for a compiler."""
    asked = os.environ.get("ADAIR_BUILD", "auto")
    if asked not in KINDS:
        sys.exit(f"ADAIR_BUILD: expected one of {', '.join(KINDS)}, got {asked!r}")
    if asked != "auto":
        return asked
    return "cpu" if shutil.which(os.environ.get("CXX", "c++")) else "none"


def native_modules() -> dict:
    """Declare the CPU kernels, as one library that PyTorch loads."""
    from torch.utils.cpp_extension import BuildExtension, CppExtension

    kernels = CppExtension(
        "adair_core._ops_cpu",
        sorted(map(str, [*CSRC.glob("common/*.cpp"), *CSRC.glob("*/cpu.cpp")])),
        include_dirs=[str(CSRC.absolute())],
        define_macros=[("TORCH_TARGET_VERSION", TORCH_FLOOR)],
        extra_compile_args=["-std=c++20", "-O3", "-fno-math-errno", "-fvisibility=hidden", "-Wno-psabi"],
        py_limited_api=True,
    )
    return {"ext_modules": [kernels], "cmdclass": {"build_ext": BuildExtension}}


build = resolve_build()
print(f"adair: ADAIR_BUILD={os.environ.get('ADAIR_BUILD', 'auto')}: native kernels: {build}")
setup(**(native_modules() if build == "cpu" else {}))
