"""The native kernels on a CUDA device: values, bits, graphs. What needs no device is tested in tests/emulation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from native_checks import NARROW, SIZES, WIDE, results, sized, worst_error
from operator_cases import CASES, IMAGE, LAYOUTS, Case
from torch import Tensor
from torch._subclasses import FakeTensorMode

from adair_core.ops.native import cuda_library, references_only, refusal
from adair_core.ops.registration import CUDA_KERNELS

CUDA_CASES = [case for case in CASES if case.name in CUDA_KERNELS]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# Half the distance of neighbours, for results that are rounded once or twice.
FLOORS = {torch.float32: 1e-5, torch.bfloat16: 2**-7, torch.float16: 2**-10}

needs_device = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
each_case = pytest.mark.parametrize("case", CUDA_CASES, ids=lambda case: f"{case.name}{case.extra}")
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))


@pytest.fixture(autouse=True)
def _all_bits_of_float32() -> Iterator[None]:
    """PyTorch's convolutions round float32 to TF32 by default, and errors of a thousandth would count as usual."""
    libraries = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [library.allow_tf32 for library in libraries]
    for library in libraries:
        library.allow_tf32 = False
    yield
    for library, allowed in zip(libraries, before, strict=True):
        library.allow_tf32 = allowed


def on_device(case: Case, dtype: torch.dtype, layout: torch.memory_format | None) -> list[Tensor | None]:
    layout = layout if case.shapes[0] == IMAGE or len(case.shapes[0] or ()) == 4 else None
    tensors = case.tensors(dtype, layout=layout)
    return [None if value is None else value.detach().cuda().requires_grad_() for value in tensors]


@pytest.mark.gpu
@needs_device
@each_dtype
@each_case
def test_values_and_gradients_on_a_device(case: Case, dtype: torch.dtype) -> None:
    assert cuda_library().loaded, "tests on a device need ADAIR_BUILD=cuda"
    images = case.shapes[0] == IMAGE
    for size in SIZES if images else [IMAGE]:
        for wide in (False, True) if images else (False,):
            for layout in LAYOUTS:
                one = sized(case, size, WIDE if wide else NARROW)
                tensors = on_device(one, dtype, layout)
                exact = [None if value is None else value.detach().double().requires_grad_() for value in tensors]
                truth, found, again = results(one, exact), results(one, tensors), results(one, tensors)
                with references_only():
                    usual = results(one, tensors)
                assert all(map(torch.equal, found, again)), "two runs differ in bits"
                assert worst_error(one, found, usual, truth, floor=FLOORS[dtype]) <= 1, (size, wide, layout)


@pytest.mark.gpu
@needs_device
@each_case
def test_replay_of_a_graph_on_a_device(case: Case) -> None:
    with torch.no_grad():
        tensors = on_device(case, torch.float32, torch.channels_last)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            expected = case.run(*tensors)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = case.run(*tensors)
        captured.zero_()
        graph.replay()
        assert torch.equal(captured, expected)


@pytest.mark.gpu
@needs_device
def test_kernels_run_on_the_current_stream_of_their_own_device() -> None:
    case = next(case for case in CUDA_CASES if case.name == "layer_norm2d")
    device = torch.device("cuda", torch.cuda.device_count() - 1)
    tensors = [None if value is None else value.detach().to(device) for value in case.tensors(torch.float32)]
    expected = case.run(*tensors)
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)
        tensors[0].mul_(1.0)  # on the stream, before the kernel
        found = case.run(*tensors)
    stream.synchronize()
    assert torch.equal(found, expected)


@pytest.mark.skipif(not cuda_library().loaded, reason="the native library for CUDA is not built")
@each_dtype
@each_case
def test_cuda_kernels_take_all_their_dtypes(case: Case, dtype: torch.dtype) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        tensors = [None if shape is None else torch.empty(shape, dtype=dtype, device="cuda") for shape in case.shapes]
        arguments = (*tensors, *case.constants, *case.extra)
        assert refusal(CUDA_KERNELS[case.name], *arguments, device="cuda") is None
        wide = [None if value is None else value.double() for value in tensors]
        reason = refusal(CUDA_KERNELS[case.name], *wide, *case.constants, *case.extra, device="cuda")
        assert reason == "native kernels take float32, bfloat16 and float16, not float64"


def test_a_large_rank_is_refused_on_a_device() -> None:
    with FakeTensorMode():
        x, down = torch.empty(1, 4, 2, 2, device="cuda"), torch.empty(65, 4, 1, 1, device="cuda")
        assert CUDA_KERNELS["bottleneck"].refusal(x, down) == "CUDA kernels take up to 64 hidden channels, not 65"
