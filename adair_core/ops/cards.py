"""Which GPUs the CUDA kernels of this installation run on.

Machine code runs on cards of its own major number whose minor one is not lower, PTX on every card that is not older
(CUDA C++ Programming Guide, "Binary Compatibility" and "PTX Compatibility"), code for 9.0a on 9.0 alone.
"""

from __future__ import annotations

import functools
import re

import torch

from adair_core.tuning import runtime

_TARGET = re.compile(r"(\d+)\.(\d)([af]?)(\+PTX)?")


def built_for() -> str:
    """What the CUDA kernels are compiled for, as in TORCH_CUDA_ARCH_LIST; empty if there are none, or it is unknown."""
    module = runtime()
    return "" if module is None else str(module.build_info().get("cuda_architectures", ""))


@functools.cache
def unfit(index: int | None) -> str | None:
    """Why a CUDA device cannot run the kernels of this installation; ``None`` if it can."""
    if not torch.cuda.is_available():  # a fake tensor's
        return None
    return cannot_run(built_for(), torch.cuda.get_device_capability(index))


def cannot_run(targets: str, capability: tuple[int, int]) -> str | None:
    """Why a card cannot run what is compiled for others; ``None`` if it can, or if there is no telling.

    Args:
        targets: what it is compiled for, as in TORCH_CUDA_ARCH_LIST: ``8.0;9.0;10.0+PTX``.
        capability: the card's compute capability.

    Example:
        >>> cannot_run("8.0;9.0", (8, 6)) is None and cannot_run("9.0+PTX", (12, 0)) is None
        True
        >>> cannot_run("9.0", (8, 0))
        'the CUDA kernels are compiled for compute capability 9.0, and this card has 8.0'
    """
    names = re.split(r"[;\s]+", targets.strip())
    found = [_TARGET.fullmatch(name) for name in names]
    if any(target is None or _runs(target, capability) for target in found):  # names such as Hopper: PyTorch knows them
        return None
    card = ".".join(map(str, capability))
    return f"the CUDA kernels are compiled for compute capability {', '.join(names)}, and this card has {card}"


def _runs(target: re.Match[str], capability: tuple[int, int]) -> bool:
    major, minor, suffix, ptx = target.groups()
    wanted = (int(major), int(minor))
    if suffix == "a":
        return capability == wanted
    alike = capability[0] == wanted[0] or (ptx is not None and not suffix)
    return alike and capability >= wanted
