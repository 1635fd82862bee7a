"""The CUDA kernels of a weight with a low-rank update against the reference in float64."""

from __future__ import annotations

from pathlib import Path

import emulator
import pytest
import torch
from checks import TOLERANCES, each_dtype, normal, require_close, run
from emulator import Library
from mutants import Mutation, mutant

from adair_core.ops.low_rank_weight import reference

# Rows, columns, rank: vectors and single values, more and fewer than a block or a group of ranks has.
SIZES = [(6, 45, 2), (36, 12, 8), (3, 1100, 4), (12, 9, 1), (70, 33, 19)]


def check(built: Library, size: tuple[int, int, int], dtype: torch.dtype) -> None:
    rows, columns, rank = size
    scale = 0.5
    weight, a, b = normal(rows, columns, dtype=dtype), normal(rank, columns, seed=1), normal(rows, rank, seed=2)
    result, to_a, to_b = torch.empty_like(weight), torch.empty_like(a), torch.empty_like(b)
    run(built, "low_rank_weight", weight=weight, a=a, b=b, scale=scale, result=result)
    truth = reference.low_rank_weight(weight.double(), a.double(), b.double(), scale)
    require_close(result, truth, TOLERANCES[dtype])

    gradient = normal(rows, columns, dtype=dtype, seed=3)
    run(built, "low_rank_weight_backward", gradient=gradient, a=a, b=b, scale=scale, to_a=to_a, to_b=to_b)
    expected = reference.low_rank_weight_backward(gradient.double(), a.double(), b.double(), scale)
    for found, wanted, name in zip((to_a, to_b), expected, ("to_a", "to_b"), strict=True):
        require_close(found, wanted, 2e-6, name)


@each_dtype
@pytest.mark.parametrize("size", SIZES)
def test_low_rank_weight_equals_the_reference(size, dtype: torch.dtype) -> None:
    check(emulator.library("low_rank_weight"), size, dtype)


def test_more_rows_than_a_grid_has(tmp_path: Path) -> None:
    """With a smaller grid in place of the largest one: blocks then have several rows."""
    smaller = Mutation("low_rank_weight/kernel.cuh", "f.rows < 65535 ? f.rows : 65535", "f.rows < 4 ? f.rows : 4")
    check(mutant("low_rank_weight", smaller, tmp_path), (11, 5, 2), torch.float32)
