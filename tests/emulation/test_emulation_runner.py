"""The runner itself: what kernels may do works, what CUDA leaves undefined is an error."""

from __future__ import annotations

import emulator
import pytest
import torch
from torch import Tensor

X = torch.arange(64.0)


def library() -> emulator.Library:
    return emulator.built_from(emulator.HERE / "trial.cu")


def trial(name: str, x: Tensor = X, y: Tensor | None = None, seed: int = 0) -> Tensor:
    y = torch.empty(64) if y is None else y
    emulator.run(library(), "trial", {"name": name, "x": x, "y": y}, seed=seed)
    return y


@pytest.mark.parametrize("seed", range(5))
def test_barriers_and_exchanges(seed: int) -> None:
    assert torch.equal(trial("reverse", seed=seed), X.flip(0))
    assert torch.equal(trial("reverse_in_warps", seed=seed), X.view(2, 32).flip(1).flatten())
    numbers = trial("lane_numbers", y=torch.empty(192), seed=seed).view(3, 2, 32)
    expected = torch.tensor([5.0, 37.0])[None, :, None] + torch.arange(3.0)[:, None, None]
    assert torch.equal(numbers, expected.expand(3, 2, 32))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("reverse_without_barrier", "a race: (reads|writes) what thread|reads what nobody has written"),
        ("write_after_read", "a race: (reads|writes) what thread .* has (read|written), with no barrier between"),
        ("divergent_barrier", "a barrier that not all threads reach: 24 have ended; 40 wait at __syncthreads"),
        ("two_barriers", "a barrier that not all threads reach: 32 wait at .* 32 wait at "),
        ("partial_shuffle", "a barrier that not all threads reach: .* wait at __shfl_xor_sync"),
        ("reads_beyond", "out of bounds: reads byte 256 of x, which has 256"),
        ("writes_beyond", "out of bounds: writes byte 256 of y, which has 256"),
        ("leaves_one_out", "element 17 of y, which has 64, was never written"),
        ("all_to_one", "a race: writes what thread .* has written"),
        ("writes_input", "reads what nobody has written|writes an input"),
        ("reads_output", "reads what nobody has written: byte .* of y"),
        ("not_aligned", "an access of 8 bytes that is not aligned"),
        ("beyond_shared", "out of bounds: writes byte 256 of an array in shared memory that has 256"),
        ("too_wide_a_grid", "too_wide_a_grid: a grid of 4294967297 x 1 x 1 blocks is more than CUDA has"),
        ("too_high_a_grid", "too_high_a_grid: a grid of 1 x 65536 x 1 blocks is more than CUDA has"),
        ("unwritten_shared", "reads what nobody has written: byte .* of shared memory"),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_what_is_undefined_is_an_error(name: str, message: str, seed: int) -> None:
    with pytest.raises(emulator.runner().EmulationError, match=message):
        trial(name, seed=seed)


@pytest.mark.skipif(emulator.SANITIZE, reason="AddressSanitizer ends the process")
def test_a_write_past_the_checks_meets_the_guards() -> None:
    with pytest.raises(emulator.runner().EmulationError, match="something was written beside y"):
        trial("plain_write_beyond")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_conversions_round_as_pytorch_does(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    special = [0.0, -0.0, 1.0, 65504.0, 65519.9, 65520.0, 3e38, -3e38, torch.inf, -torch.inf, 6e-8, 2.9e-8, 6.1e-5]
    ties = torch.tensor([1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-8, 1 + 3 * 2**-8, 2**-25, 3 * 2**-25, 2**-14 - 2**-25])
    wide = torch.randn(2000, generator=generator) * torch.exp(8 * torch.randn(2000, generator=generator))
    values = torch.cat([torch.tensor(special), ties, wide])
    for start in range(0, len(values) - 63, 64):
        x = values[start : start + 64].contiguous()
        assert torch.equal(trial(str(dtype).removeprefix("torch."), x), x.to(dtype).float())


@pytest.mark.parametrize(
    ("operator", "values", "message"),
    [
        ("trial", ["reverse"], "expected 3 arguments, got 1"),
        ("trial", ["reverse", None, None], "argument [12] is not of the launcher's type"),
        ("trial", [1, None, None], "is not of the launcher's type"),
        ("other", [], "has no adair_native::other"),
    ],
)
def test_values_that_a_launcher_does_not_take_are_an_error(operator: str, values: list[object], message: str) -> None:
    with pytest.raises(emulator.runner().EmulationError, match=message):
        emulator.runner().run(str(library().path), f"adair_native::{operator}", values, 0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": None}, "name: expected str, got NoneType"),
        ({"name": True}, "name: expected str, got bool"),
        ({"x": None}, "x: expected Tensor, got NoneType"),
        ({"x": 1.0}, "x: expected Tensor, got float"),
        ({"z": X}, r"missing: \[\]; are not in its schema: \['z'\]"),
    ],
)
def test_values_that_are_not_in_the_schema_are_an_error(changed: dict[str, object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        emulator.run(library(), "trial", {"name": "reverse", "x": X, "y": torch.empty(64), **changed})


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"missing: \['y'\]"):
        emulator.run(library(), "trial", {"name": "reverse", "x": X})
