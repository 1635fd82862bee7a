"""What the tests of emulated kernels share: calls with several orders of threads, and errors against float64."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

import emulator
import pytest
import torch
from emulator import Library, Value
from torch import Tensor

# Half the distance of neighbours: results are rounded once, sums are float32.
TOLERANCES = {torch.float32: 2e-6, torch.bfloat16: 2**-8, torch.float16: 2**-11}
# Switching between threads is slow under AddressSanitizer, and bounds do not depend on their order.
SEEDS = (1,) if emulator.SANITIZE else (1, 2)
each_dtype = pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda dtype: str(dtype).removeprefix("torch."))


def normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def choices(optional: Collection[str], *besides: str) -> list[set[str]]:
    """What to leave out of a call: each of these tensors alone, and all `optional` ones but one."""
    return [{name} for name in (*optional, *besides)] + [{*optional} - {name} for name in optional]


def double(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.double()


_shifts: list[bool] = []


@contextlib.contextmanager
def shifting() -> Iterator[None]:
    """Repeat each call with each of its tensors where vectors of 16 bytes are not aligned, as a part of another may be.

    They begin an element later, where no vectors are, and eight bytes later, where only shorter ones are.
    """
    _shifts.append(True)
    try:
        yield
    finally:
        _shifts.pop()


def run(built: Library, operator: str, /, **values: Value) -> None:
    """Call a launcher with every argument of its schema and several orders of threads: each must give the same bits."""
    first: dict[str, Tensor] = {}
    for seed in SEEDS:
        emulator.run(built, operator, values, seed=seed)
        outputs = built.outputs(operator, values)
        for name, value in outputs.items():
            bits = value.view(torch.uint8)
            assert torch.equal(first.setdefault(name, bits.clone()), bits), f"{name} depends on the order of threads"
    aligned = {name: value.double() for name, value in outputs.items()}
    for shifted in (name for name, value in values.items() if _shifts and isinstance(value, Tensor)):
        for shift in sorted({1, 8 // values[shifted].element_size()}):
            emulator.run(built, operator, values, seed=1, shifted=shifted, shift=shift)
            for name, value in aligned.items():
                require_close(outputs[name], value, 1e-5, f"with {shifted} elsewhere: {name}")


def require_close(found: Tensor | None, truth: Tensor | None, tolerance: float, name: str = "result") -> None:
    """Require a relative error of the whole, and an absolute one of each value."""
    assert (found is None) == (truth is None)
    if found is None or truth is None:
        return
    assert found.shape == truth.shape, name
    assert found.isfinite().all(), f"{name} has values that are not finite"
    error, size = found.double() - truth, truth.norm() + 1e-30
    assert error.norm() / size <= tolerance, f"{name}: relative error {error.norm() / size:.2e} > {tolerance:.2e}"
    worst, largest = error.abs().max(), truth.abs().max() + 1e-30
    assert worst <= 8 * tolerance * largest, f"{name}: an error of {worst:.2e}, the largest value being {largest:.2e}"
