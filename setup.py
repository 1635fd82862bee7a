"""The native modules; all other metadata is in pyproject.toml.

The environment variable ADAIR_BUILD says what is built:

    auto   (default) what can be built and used here; where a build fails, says so and installs without
    cpu    the CPU kernels; without them the installation fails
    cuda   the CPU and the CUDA kernels, likewise
    none   nothing: every operator runs as its PyTorch reference

ADAIR_WERROR=1 makes warnings in our own code errors. CXX is the compiler, CFLAGS and LDFLAGS are added to our flags,
MAX_JOBS is how many compilers run at once.

PyTorch is deliberately no build requirement: pip would fetch a second one, of gigabytes, into a throw-away environment,
and the kernels that come out serve every later PyTorch anyway. What is needed are its headers, so the one of the
environment that is installed into is used, also under build isolation; where there is none yet, nothing is built.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import runpy
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup

CSRC = Path("csrc")
KINDS = ("auto", "cpu", "cuda", "none")
# The oldest PyTorch whose stable interface the kernels use: one build serves that and every later version.
TORCH_FLOOR = "0x020b000000000000"
# Code for 8.0 runs on 8.6 and 8.9 too; what is newer than 10.0 compiles the PTX.
CUDA_ARCHITECTURES = "8.0;9.0;10.0+PTX"
FLAGS = ["-std=c++20", "-fno-math-errno", "-fvisibility=hidden", "-Wno-psabi"]
# Before those of the environment, which may want others.
DEFAULT_CFLAGS = "-O3 -g0"
STRICT_FLAGS = ["-Wall", "-Wextra", "-Werror"]


def say(text: str) -> None:
    print(f"adair: {text}", flush=True)


def find_compiler() -> str | None:
    """The C++ compiler; as torch's and setuptools' own search has no second choice, CXX is set to it."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    for name in names:
        if shutil.which(name.split()[0]):
            os.environ["CXX"] = name
            return name
    return None


def find_toolkit() -> None:
    """Set CUDA_HOME: torch takes the folder above nvcc's, which is not it where nvcc on PATH is a link or a script."""
    nvcc = shutil.which("nvcc")
    homes = [*([Path(nvcc).resolve().parents[1]] if nvcc else []), Path("/usr/local/cuda")]
    home = next((home for home in homes if [*home.glob("lib*/libcudart.so")]), None)
    if home is not None:
        os.environ.setdefault("CUDA_HOME", str(home))


def first_line(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.partition("\n")[0]


def obstacle_to_cpu() -> str | None:
    """Why the CPU kernels cannot be built here; ``None`` if they can."""
    if os.name == "nt":
        return "the kernels need GCC or Clang; there is no build for Windows"
    if find_compiler() is None:
        return f"no C++ compiler ({os.environ.get('CXX') or 'c++, g++ or clang++'}) on PATH; install one or set CXX"
    sys.path += [path for path in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")} - {*sys.path} if path]
    if importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed in this environment; install it first: pip install 'torch>=2.11'"
    if importlib.util.find_spec("pybind11") is None:
        return "pybind11 is not installed; pip install pybind11 ninja"
    return None


def obstacle_to_cuda() -> str | None:
    """Why the CUDA kernels cannot be built where the CPU kernels can; ``None`` if they can."""
    find_toolkit()
    import torch
    from torch.utils.cpp_extension import CUDA_HOME

    if not [*CSRC.glob("*/cuda.cu")]:
        return "this version of adair has no CUDA kernels (csrc/*/cuda.cu)"
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is built without CUDA"
    if CUDA_HOME is None or not Path(CUDA_HOME, "bin", "nvcc").exists():
        return "nvcc is missing; install the CUDA toolkit or set CUDA_HOME"
    return None


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def resolve(asked: str) -> str:
    """What is built, of none, cpu and cuda; ends the installation if it cannot be what was asked for."""
    if asked not in KINDS:
        sys.exit(f"adair: ADAIR_BUILD: expected one of {', '.join(KINDS)}, got {asked!r}")
    # These commands collect metadata and files: they need neither PyTorch nor a compiler.
    if asked == "none" or {"egg_info", "dist_info", "sdist"} & set(sys.argv):
        return "none"
    obstacles = {"cpu": obstacle_to_cpu()}
    if asked != "cpu" and obstacles["cpu"] is None:
        obstacles["cuda"] = obstacle_to_cuda()
    if asked == "auto" and obstacles.get("cuda", "unknown") is None and not has_gpu():
        obstacles["cuda"] = "no CUDA device here, and they take minutes to compile; ADAIR_BUILD=cuda builds them"
    for kind, obstacle in obstacles.items():
        if obstacle is not None:
            if asked in (kind, "cuda"):
                sys.exit(f"adair: ADAIR_BUILD={asked}: {obstacle}")
            say(f"no {kind} kernels: {obstacle}")
    return next((kind for kind in ("cuda", "cpu") if obstacles.get(kind, "unknown") is None), "none")


def digests_header() -> Path:
    """Write which sources are built, for the loader to compare; returns the folder, untouched if nothing changed."""
    digests = runpy.run_path("adair_core/ops/built_from.py")["of"](Path.cwd())
    text = "".join(f'#define ADAIR_DIGEST_OF_{name.upper()} "{value}"\n' for name, value in digests.items())
    header = Path("build", "generated", "built_from_digests.h")
    if not header.exists() or header.read_text() != text:
        header.parent.mkdir(parents=True, exist_ok=True)
        header.write_text(text)
    return header.parent.absolute()


def native_modules(kind: str, strict: bool) -> dict:
    """Declare the libraries that PyTorch loads and the module that Python imports."""
    import pybind11
    import torch
    from torch.utils import cpp_extension

    flags = [*FLAGS, *(STRICT_FLAGS if os.environ.get("ADAIR_WERROR", "0") != "0" else [])]
    headers = [*cpp_extension.include_paths(), pybind11.get_include()]
    # As system headers, which warnings do not concern. No path of this machine ends up in the files: the same sources
    # give the same bytes.
    paths = [part for path in headers for part in ("-isystem", path)]
    paths += [f"-ffile-prefix-map={path}=." for path in (Path.cwd(), *headers)]
    macros = [("TORCH_TARGET_VERSION", TORCH_FLOOR)]

    if kind == "cuda":
        os.environ["TORCH_CUDA_ARCH_LIST"] = os.environ.get("TORCH_CUDA_ARCH_LIST") or CUDA_ARCHITECTURES

    kernels = cpp_extension.CppExtension(
        "adair_core._ops_cpu",
        sorted(map(str, [*CSRC.glob("common/*.cpp"), *CSRC.glob("*/cpu.cpp")])),
        define_macros=macros,
        extra_compile_args=[*flags, *paths],
        py_limited_api=True,
    )
    build = {
        "COMPILER": first_line(os.environ["CXX"], "--version"),
        "FLAGS": " ".join([os.environ["CFLAGS"], *flags]),
        "KIND": kind,
        "CUDA_ARCHITECTURES": os.environ["TORCH_CUDA_ARCH_LIST"] if kind == "cuda" else "",
    }
    runtime = Extension(
        "adair_core._runtime",
        sorted(map(str, [*CSRC.glob("runtime/*.cpp"), CSRC / "common/capability.cpp"])),
        define_macros=[(f"ADAIR_{name}", f'"{value}"') for name, value in build.items()]
        + [("ADAIR_TORCH", f'"{torch.__version__}"'), ("ADAIR_TORCH_FLOOR", TORCH_FLOOR)],
        extra_compile_args=[*flags, *paths],
        language="c++",
    )
    modules = [kernels, runtime]
    if kind == "cuda":
        strict_nvcc = ["-Werror", "all-warnings", "-Xptxas", "-warn-spills"]
        nvcc_flags = ["-std=c++20", "-O3", *(strict_nvcc if os.environ.get("ADAIR_WERROR", "0") != "0" else [])]
        gpu_kernels = cpp_extension.CUDAExtension(
            "adair_core._ops_cuda",
            sorted(map(str, CSRC.glob("*/cuda.cu"))),
            # Without it, PyTorch's header of the stream is empty.
            define_macros=[*macros, ("USE_CUDA", None)],
            extra_compile_args={"cxx": [*flags, *paths], "nvcc": [*nvcc_flags, *paths[: 2 * len(headers)]]},
            py_limited_api=True,
        )
        modules.append(gpu_kernels)
    for module in modules:
        module.include_dirs = [str(CSRC.absolute())]
    runtime.include_dirs.append(str(digests_header()))

    class Build(cpp_extension.BuildExtension):
        def build_extensions(self) -> None:
            """Build each module by itself, in a folder of its own; without `strict`, go on without what fails."""
            base, declared, built = self.build_temp, self.extensions, []
            for module in declared:
                self.extensions, self.build_temp = [module], str(Path(base, module.name))
                try:
                    super().build_extensions()
                    built.append(module)
                except Exception as error:
                    how = "'pip install -v' shows the compiler's messages, ADAIR_BUILD=none builds nothing"
                    if strict:
                        sys.exit(f"adair: {module.name} could not be built ({error}); {how}")
                    say(f"{module.name} could not be built and is left out ({error}); {how}")
                    self.without(module.name)
            self.extensions = built
            self.without_old_cuda(Path(self.get_ext_fullpath(runtime.name)).parent)

        def copy_extensions_to_source(self) -> None:
            super().copy_extensions_to_source()
            for name in {module.name for module in modules} - {module.name for module in self.extensions}:
                self.without(name)
            self.without_old_cuda(Path("adair_core"))

        def without_old_cuda(self, folder: Path) -> None:
            """Likewise of a build that had CUDA kernels, where this one has not."""
            for path in folder.glob("_ops_cuda*") if kind != "cuda" else ():
                path.unlink()

        def without(self, name: str) -> None:
            """Remove what an earlier build left: it would not fit the Python code of this one."""
            Path(self.get_ext_fullpath(name)).unlink(missing_ok=True)

    levels = "baseline avx2 avx512 avx512_bf16 amx_bf16" if platform.machine() in ("x86_64", "AMD64") else "baseline"
    say(f"compiler {os.environ['CXX']}: {build['COMPILER']}")
    say(f"torch {torch.__version__} in {Path(torch.__file__).parent}; what is built serves every torch >= 2.11")
    say(f"flags {build['FLAGS']}; instruction sets, chosen at run time: {levels}")
    return {"ext_modules": modules, "cmdclass": {"build_ext": Build}}


# Where ninja is, if the environment is used without having been activated.
os.environ["PATH"] += os.pathsep + sysconfig.get_path("scripts")
os.environ["CFLAGS"] = f"{DEFAULT_CFLAGS} {os.environ.get('CFLAGS', '')}".strip()
asked = os.environ.get("ADAIR_BUILD") or "auto"
kind = resolve(asked)
say(f"ADAIR_BUILD={asked}: native kernels: {kind}")
setup(**(native_modules(kind, strict=asked != "auto") if kind != "none" else {}))
