"""No tensor of the host among those of a device: in the kernels' callers, the references, and the tests of both.

What runs on a device is run on one that is pretended, so that a mistake shows where there is none.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from native_checks import NARROW, WHOLE, results, sized
from operator_cases import CASES, IMAGE, LAYOUTS, Case
from pretended_device import DEVICE, PretendedDevice, elsewhere, kernels_declared, sent
from torch import Tensor

from adair_core import ops
from adair_core.bench.cases.operators import OPERATORS
from adair_core.ops.epilogue import Epilogue
from adair_core.ops.native import library, references_only
from adair_core.ops.per_image import PerImage
from adair_core.ops.registration import CUDA_KERNELS
from adair_plugins.adapters.prompt import Prompt

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from gpu_checks.operators import UNCAPTURED

pytestmark = pytest.mark.skipif(not library().loaded, reason="the native library, which declares kernels, is not built")

CUDA_CASES = [case for case in CASES if case.name in CUDA_KERNELS]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}{case.extra}")
each_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=["first", "last"])


@pytest.fixture(autouse=True)
def _device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    enabled, autocast = torch.is_autocast_enabled, torch.autocast

    def within(kind: str, *arguments: Any, **options: Any) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext() if kind == DEVICE.type else autocast(kind, *arguments, **options)

    # The device has none.
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind=None: kind != DEVICE.type and enabled(kind))
    monkeypatch.setattr(torch, "autocast", within)
    with kernels_declared():
        yield


def there(case: Case, dtype: torch.dtype, layout: torch.memory_format) -> list[Tensor | None]:
    tensors = case.tensors(dtype, layout=layout if len(case.shapes[0] or ()) == 4 else None)
    return [None if value is None else elsewhere(value) for value in tensors]


@each_layout
@each_case
def test_references(case: Case, layout: torch.memory_format) -> None:
    tensors = case.tensors(torch.float64, layout=layout if len(case.shapes[0] or ()) == 4 else None)
    expected = results(case, tensors)
    with PretendedDevice() as device, references_only():
        found = results(case, [None if value is None else elsewhere(value) for value in tensors])
    assert device.kernels == set()
    for value, right in zip(found, expected, strict=True):
        torch.testing.assert_close(value.value, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("widths", [NARROW, WHOLE, {12: 120, 36: 360, 10: 64, 5: 32}], ids=["12", "96", "120"])
@each_layout
@pytest.mark.parametrize("case", CUDA_CASES, ids=lambda case: f"{case.name}{case.extra}")
def test_callers_of_kernels(case: Case, layout: torch.memory_format, widths: dict[int, int]) -> None:
    case = sized(case, IMAGE, widths) if case.shapes[0] == IMAGE else case
    tensors = there(case, torch.float32, layout)
    with PretendedDevice() as device:
        found = results(case, tensors)
    taken = not case.name.startswith("bottleneck") or case.shapes[1][-4] <= 64
    assert bool(device.kernels) == taken
    inputs = [value for value in tensors if value is not None]
    assert [value.shape for value in found[1:]] == [value.shape for value in inputs]
    with torch.no_grad(), PretendedDevice(capturing=True) as device:
        case.run(*tensors)
    assert bool(device.kernels) == taken


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("channels", [8, 120])
def test_what_a_visit_to_a_gpu_times_can_be_captured(name: str, channels: int) -> None:
    operator = OPERATORS[name]
    generator = torch.Generator().manual_seed(0)
    tensors = [elsewhere(torch.randn(size, generator=generator)) for size in operator.shapes(channels, 5, 7, 2)]
    options = {"heads": 2} if operator.heads else {}
    with PretendedDevice(), torch.device(DEVICE):
        operator.ours(*tensors, **options)
    expected = pytest.raises(RuntimeError, match="not permitted") if name in UNCAPTURED else contextlib.nullcontext()
    with PretendedDevice(capturing=True), torch.device(DEVICE), expected:
        inputs = [value.requires_grad_(place in operator.trained) for place, value in enumerate(tensors)]
        result = operator.ours(*inputs, **options)
        torch.autograd.grad(result, [inputs[place] for place in operator.trained], torch.ones_like(result))


def test_an_index_of_the_host_is_taken() -> None:
    case = next(case for case in CASES if case.name == "bottleneck_batch")
    x, *stack = there(case, torch.float32, torch.channels_last)
    index = torch.tensor([1, -1])
    with PretendedDevice():
        with references_only():
            ops.bottleneck_batch(x, *stack, index).sum().backward()
        ops.bottleneck_batch(x, *stack, index).sum().backward()
    with torch.no_grad(), PretendedDevice(capturing=True), pytest.raises(RuntimeError, match="not permitted when"):
        ops.bottleneck_batch(x, *stack, index)


def test_adapters_of_a_batch_can_be_captured() -> None:
    case = next(case for case in CASES if case.name == "bottleneck")
    first, second = ([elsewhere(v.detach()) for v in case.tensors(torch.float32)[1:8]] for _ in range(2))
    x = elsewhere(torch.randn(4, 12, 5, 7, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad(), PretendedDevice(capturing=True) as device:
        Epilogue((tuple(first), None, tuple(second)), (1, 2, 1)).add_to(x)
    assert device.kernels == {"bottleneck"}


@pytest.mark.parametrize("name", ["attention_branch", "feed_forward"])
@pytest.mark.parametrize("channels", [12, 120])
def test_parameters_per_image_can_be_captured(name: str, channels: int) -> None:
    case = next(case for case in CASES if case.name == name)
    case = sized(case, (3, 12, 5, 7), {12: channels, 36: 3 * channels})
    x, *parameters = there(case, torch.float32, torch.channels_last)
    varied = [None if value is None else PerImage([value, value], (1, 2)) for value in parameters]
    with torch.no_grad(), PretendedDevice(capturing=True) as device:
        result = CUDA_KERNELS[name].run(x, *varied, 1e-5, True, False)[0]
    assert result.shape == x.shape
    assert device.kernels


def test_prompts_of_a_batch_can_be_captured() -> None:
    prompts = [sent(Prompt(12, components=3, channels=4, size=5)) for _ in range(2)]
    x = elsewhere(torch.randn(3, 12, 9, 7, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad(), PretendedDevice(capturing=True) as device:
        Prompt.add_to_each(x, x, [(prompts[0], 1.0), None, (prompts[1], 0.5)], [1, 1, 1])
    assert device.kernels == {"bottleneck"}


@pytest.mark.parametrize(
    "mistake",
    [
        lambda x: x * torch.linspace(-1, 1, x.numel()).view(x.shape),
        lambda x: torch.zeros_like(x).index_copy(0, torch.tensor([1]), x[:1]),
        lambda x: torch.cat([x, torch.zeros(1, *x.shape[1:])]),
        lambda x: ops.layer_norm2d(x, torch.ones(12), None),
        lambda x: ops.layer_norm2d(x, x[0, :, 0, 0], torch.zeros(12)),
    ],
)
def test_tensors_of_the_host_are_noticed(mistake) -> None:
    x = elsewhere(torch.ones(IMAGE))
    for device in PretendedDevice(), PretendedDevice(capturing=True):
        with device, pytest.raises(RuntimeError, match="same device"):
            mistake(x)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda x: x * torch.ones(IMAGE).to(x.device),
        lambda x: x[torch.tensor([1, 0])],
        lambda x: x / float(x.sum()),
        lambda x: x[(x > 0)],
        lambda x: x.to("cpu"),
    ],
)
def test_what_no_graph_holds_is_noticed(mistake) -> None:
    x = elsewhere(torch.ones(IMAGE))
    with torch.no_grad():
        with PretendedDevice():
            mistake(x)
        with PretendedDevice(capturing=True), pytest.raises(RuntimeError, match="not permitted when"):
            mistake(x)
