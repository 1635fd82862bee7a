"""The launchers and kernels for CUDA devices as ``torch.ops.adair_native`` has them, emulated on a CPU.

They take the same arguments, so that all that is composed of them in Python is tested without a device.
"""

from __future__ import annotations

from collections.abc import Callable

import emulator
import torch


def __getattr__(name: str) -> Callable[..., None]:
    """The operator of this name."""
    folder = emulator.launchers().get(name)
    if folder is None:
        raise AttributeError(f"no csrc/*/cuda.cu has a launcher of {name}")
    built = emulator.library(folder, only=torch.float32)

    def call(*values: emulator.Value) -> None:
        names = [argument.name for argument in built.schemas[name].arguments]
        emulator.run(built, name, dict(zip(names, values, strict=True)), seed=1)

    return call
