from __future__ import annotations

import pytest
import torch

from adair_core import errors
from adair_core.errors import AdairError, DataError, UnknownNameError, expected, is_out_of_memory, listing


def test_all_are_adair_errors_with_an_exit_code():
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)]
    assert len(classes) > 8
    for error in classes:
        assert issubclass(error, AdairError)
        assert error.exit_code in (1, 2, 130)
        assert error.__doc__


@pytest.mark.parametrize(
    ("name", "code"),
    [("UsageError", 2), ("UnknownNameError", 2), ("DataError", 1), ("WeightsError", 1), ("Interrupted", 130)],
)
def test_exit_codes(name, code):
    assert getattr(errors, name).exit_code == code


def test_unknown_name_in_the_designed_form():
    error = UnknownNameError("task", "denois", ["denoise", "derain"], failed_plugins=1)
    assert str(error) == (
        "unknown task 'denois'; did you mean 'denoise'? known: denoise, derain; "
        "1 plugin failed to load, see 'adair plugins'"
    )


def test_unknown_name_without_anything_near():
    assert str(UnknownNameError("task", "xyz", ["denoise"])) == "unknown task 'xyz'; known: denoise"
    assert str(UnknownNameError("task", "xyz", [])) == "unknown task 'xyz'; known: none"


def test_expected_and_listing():
    assert expected("rank", expected="1 or more", got=0) == "rank: expected 1 or more, got 0"
    assert expected("rank", expected="1 or more", got=0, hint="try 8").endswith("got 0; try 8")
    assert listing([]) == ""
    assert listing(["a", "b"]) == "a, b"
    assert listing(list("abcdefg"), limit=3) == "a, b, c and 4 more"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        *map(
            RuntimeError,
            [
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried",
                "could not create a primitive",
                "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 7.79 GiB",
                "HIP out of memory. Tried to allocate 2.00 GiB",
                "CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
                "CUDA driver error: out of memory",
                "gram: the kernel could not be launched: out of memory",
                "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
                "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
                "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
                "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
            ],
        ),
    ],
    ids=str,
)
def test_memory_that_ran_out_is_recognised(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        DataError("CUDA out of memory.png: not an image"),
        ValueError("can't allocate memory for -1 images"),
        KeyError("CUBLAS_STATUS_ALLOC_FAILED"),
        *map(
            RuntimeError,
            [
                "could not create a primitive descriptor for a convolution forward propagation primitive",
                "CUDA error: an illegal memory access was encountered",
                "CUDA error: device-side assert triggered",
                "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`",
                "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
                "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED",
                "gram: the kernel could not be launched: invalid configuration argument",
                "expected a contiguous tensor, got one whose rows are out of memory order",
                "shapes cannot be multiplied",
            ],
        ),
    ],
    ids=str,
)
def test_other_errors_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)
