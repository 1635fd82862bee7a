"""The state of the native kernels, for `adair doctor`: what was built, what loads, what to do."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import torch

import adair_core
from adair_core.errors import UsageError
from adair_core.ops.cards import built_for, unfit
from adair_core.ops.library_file import misfit
from adair_core.ops.native import Library, NativeLibraryWarning, cuda_library, library
from adair_core.tuning import OPT_OUT, runtime

_REBUILD = (
    "in adair's source folder, 'ADAIR_BUILD=cpu pip install -v --no-build-isolation --no-deps --force-reinstall .' "
    "builds them or says what is missing ('make kernels' in a clone set up with make)"
)
_REBUILD_CUDA = _REBUILD.replace("ADAIR_BUILD=cpu", "ADAIR_BUILD=cuda").replace(
    "make kernels", "ADAIR_BUILD=cuda make kernels"
)
_ENVIRONMENT = ("ADAIR_CPU_CAPABILITY", OPT_OUT, "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


def native_build() -> dict[str, Any]:
    """Describe the native modules, each entry ready to be shown.

    Returns:
        A state of each; ``advice`` lists what to do, if anything.
    """
    advice: list[str] = []
    state: dict[str, Any] = {"CPU kernels": _kernels(advice)}
    state["CUDA kernels"] = _cuda_kernels(advice)
    state |= _runtime(advice)
    state |= {name: os.environ[name] for name in _ENVIRONMENT if os.environ.get(name)}
    return {**state, "advice": advice}


def _kernels(advice: list[str]) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NativeLibraryWarning)  # told here
            found = library()
    except UsageError as error:
        advice.append(f"correct or unset the environment variable: {error}")
        return "unusable: ADAIR_CPU_CAPABILITY has an unknown value"
    return _described(found, advice)


def _described(found: Library, advice: list[str]) -> str:
    if found.path is None:
        advice.append(
            f"there are no native kernels, and every operator runs as its slower PyTorch reference: a C++ compiler "
            f"(GCC or Clang) has to be installed; {_REBUILD}"
        )
        return "not built"
    if found.error is not None:
        reason = misfit(found.path) or found.error
        advice.append(
            f"{found.path} cannot be used, and every operator runs as its slower PyTorch reference: {reason}; "
            f"{_REBUILD}"
        )
        return f"broken: {reason}"
    return f"{found.path.name}, using {found.capability}"


def _cuda_kernels(advice: list[str]) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NativeLibraryWarning)
            found = cuda_library()
    except UsageError:
        return "unusable, like those for the CPU"  # which has been told
    if found.path is None:
        if torch.cuda.is_available():
            advice.append(f"there are no native kernels for CUDA devices: the CUDA toolkit is needed; {_REBUILD_CUDA}")
        return "not built"
    if found.error is not None:
        reason = misfit(found.path) or found.error
        advice.append(
            f"{found.path} cannot be loaded, and operators on CUDA devices run as references: {reason}; {_REBUILD_CUDA}"
        )
        return f"broken: {reason}"
    for index in range(torch.cuda.device_count()):
        obstacle = unfit(index)
        if obstacle is not None:
            card = ".".join(map(str, torch.cuda.get_device_capability(index)))
            advice.append(
                f"cuda:{index} runs every operator as its slower PyTorch reference: {obstacle}; {_REBUILD_CUDA}, "
                f"with TORCH_CUDA_ARCH_LIST={card} if that is not done on this machine"
            )
    return f"{found.path.name}, for compute capability {built_for() or 'unknown'}"


def _runtime(advice: list[str]) -> dict[str, str]:
    try:
        module = runtime()
    except ImportError as error:
        files = sorted(Path(adair_core.__file__).parent.glob("_runtime*"))
        reason = (misfit(files[0]) if files else None) or str(error)
        advice.append(f"the native runtime module cannot be loaded: {reason}; {_REBUILD}")
        return {"runtime module": f"broken: {reason}"}
    if module is None:
        return {"runtime module": "not built"}
    info = module.build_info()
    return {
        "runtime module": f"{Path(str(module.__file__)).name}",
        "built for": f"torch >= {info['torch_floor']}, with torch {info['torch']} and Python {info['python']}",
        "compiler": info["compiler"],
        "flags": info["flags"],
        "sources": f"csrc {info.get('kernels', 'unknown')}, callers {info.get('callers', 'unknown')}",
        "instruction sets": f"this machine has {module.highest_capability()}",
    }
