"""The matrix product for AMX, compared with numpy: with emulated tile instructions, and with those of the machine."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
COMPILER = os.environ.get("CXX", "c++")


@pytest.fixture(scope="module", params=["emulated", "real"])
def product(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes._NamedFuncPointer:
    if shutil.which(COMPILER) is None or os.uname().machine != "x86_64":
        pytest.skip("needs a C++ compiler for x86_64")
    cpu = Path("/proc/cpuinfo").read_text()
    if "avx512_bf16" not in cpu:
        pytest.skip("rounding to bfloat16 needs AVX512-BF16")
    emulated = request.param == "emulated"
    if not emulated and "amx_bf16" not in cpu:
        pytest.skip("this processor has no AMX-BF16")
    path = tmp_path_factory.mktemp("native") / "tile_products.so"
    sources = [HERE / "tile_products.cpp", CSRC / "common" / "capability.cpp"]
    options = [f"-I{CSRC}", f"-I{HERE}", f"-DADAIR_EMULATE_AMX={int(emulated)}"]
    flags = ["-std=c++20", "-O2", "-shared", "-fPIC", "-Wno-psabi", *options]
    subprocess.run([COMPILER, *flags, *map(str, sources), "-o", str(path)], check=True)
    library = ctypes.CDLL(str(path))
    assert library.has_tiles(), "the processor has tiles, and the system does not let this process use them"
    return library.product


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view(np.float32)


def pointer(values: np.ndarray | None) -> object:
    return None if values is None else values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


# Whole tiles; a rest in rows, columns or depth; one row of tiles and two; odd panels; a depth of less than one tile.
SIZES = [
    *[(16, 16, 32), (32, 32, 64), (33, 48, 48), (64, 254, 48), (66, 48, 127)],
    *[(7, 20, 5), (48, 33, 2), (130, 96, 96), (31, 16, 34), (34, 80, 200)],
]


@pytest.mark.parametrize(("rows", "n", "k"), SIZES)
@pytest.mark.parametrize("with_start", [True, False])
def test_products_with_tiles_equal_numpy(product, rows: int, n: int, k: int, with_start: bool) -> None:
    rng = np.random.default_rng(rows + n + k)
    a, w = to_bfloat16(rng.normal(size=(rows, k))), to_bfloat16(rng.normal(size=(n, k)))
    start = rng.normal(size=n).astype(np.float32) if with_start else None
    result = np.full((rows, -(-n // 16) * 16), np.nan, np.float32)
    product(pointer(a), pointer(w), pointer(start), *map(ctypes.c_int64, (rows, n, k)), pointer(result))
    truth = a.astype(np.float64) @ w.astype(np.float64).T + (0 if start is None else start)
    assert np.abs(result[:, :n] - truth).max() < 1e-6 * np.abs(truth).max()
    assert not result[:, n:].any()
