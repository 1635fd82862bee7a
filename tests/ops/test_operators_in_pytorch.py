"""Operators inside what PyTorch offers around them: export, transforms, checkpoints, several processes, copies."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from operator_cases import CASES, IMAGE, IMAGE_CASES, LAYOUTS, Case, CaseModule, module_of
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from adair_core.ops.transforms import decomposed, is_decomposing

DDP = Path(__file__).with_name("data_parallel.py")
DTYPES = [torch.float32, torch.float64]
"""With native kernels and without."""


def identify(value: object) -> str | None:
    if isinstance(value, Case):
        return f"{value.name}{value.constants or ''}{'' if value.shapes[-1] and None not in value.shapes else '-bare'}"
    return str(value).removeprefix("torch.") if isinstance(value, (torch.memory_format, torch.dtype)) else None


each_case = pytest.mark.parametrize("case", CASES, ids=identify)
each_image_case = pytest.mark.parametrize("case", IMAGE_CASES, ids=identify)
# The values of an index are checked, which a graph cannot do; no network that is exported has one.
INDEXED = ("bottleneck_batch", "low_rank_convolution")
each_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=identify)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=identify)


def of_size(case: Case, size: tuple[int, ...]) -> Case:
    return replace(case, shapes=tuple(size if shape == IMAGE else shape for shape in case.shapes))


def gradients(module: CaseModule, inputs: list[Tensor], run: Callable[..., Tensor] | None = None) -> list[Tensor]:
    leaves = [value.clone().requires_grad_() for value in inputs]
    output = (module if run is None else run)(*leaves)
    return [output, *torch.autograd.grad(output.square().sum(), [*leaves, *module.parameters()])]


def assert_equal(found: list[Tensor], truth: list[Tensor], tolerance: float = 0.0) -> None:
    for value, expected in zip(found, truth, strict=True):
        torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)


@each_dtype
@each_layout
@each_image_case
def test_export(case: Case, layout: torch.memory_format, dtype: torch.dtype) -> None:
    module, inputs = module_of(case, dtype, layout=layout)
    exported = torch.export.export(module, tuple(inputs))
    called = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert f"adair.{case.name}.default" in called
    assert torch.equal(exported.module()(*inputs), module(*inputs))
    assert torch.equal(exported.run_decompositions().module()(*inputs), module(*inputs))


@each_layout
@each_image_case
def test_export_for_any_height_and_width(case: Case, layout: torch.memory_format) -> None:
    module, inputs = module_of(of_size(case, (2, 12, 9, 14)), torch.float32, layout=layout)
    # From 4 on: a convolution with a stride has more than one output, for which PyTorch makes a case of its own.
    sizes = {2: torch.export.Dim("height", min=4, max=512), 3: torch.export.Dim("width", min=4, max=512)}
    exported = torch.export.export(module, tuple(inputs), dynamic_shapes={"images": (sizes,) * len(inputs)})
    for height, width in ((5, 23), (40, 4)):
        _, others = module_of(of_size(case, (2, 12, height, width)), torch.float32, layout=layout)
        assert torch.equal(exported.module()(*others), module(*others))


@each_layout
@pytest.mark.parametrize("case", [case for case in IMAGE_CASES if not case.name.startswith(INDEXED)], ids=identify)
def test_decomposed_for_programs_that_know_no_operators_of_ours(case: Case, layout: torch.memory_format) -> None:
    module, inputs = module_of(case, torch.float32, layout=layout)
    with torch.no_grad(), decomposed():
        exported = torch.export.export(module, tuple(inputs), strict=False)
    called = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert not [name for name in called if name.startswith("adair")]
    with torch.no_grad():
        exact = module(*inputs)
        # Relative to the largest value: additions come in another order.
        torch.testing.assert_close(exported.module()(*inputs), exact, rtol=0, atol=1e-6 * exact.abs().max().item())
    assert not is_decomposing()


@each_image_case
def test_one_compilation_for_any_size(case: Case) -> None:
    torch.compiler.reset()
    module, inputs = module_of(of_size(case, (3, 12, 9, 14)))
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for size in ((3, 12, 9, 14), (6, 12, 8, 23), (4, 12, 17, 3)):
            _, inputs = module_of(of_size(case, size))
            assert_equal(gradients(module, inputs, compiled), gradients(module, inputs), 1e-12)


@each_dtype
@each_case
def test_inference_mode(case: Case, dtype: torch.dtype) -> None:
    module, inputs = module_of(case, dtype)
    truth = module(*inputs).detach()
    with torch.inference_mode():
        inside = module(*inputs)
        made_inside = [value.clone() for value in inputs]
        assert inside.is_inference()
        assert torch.equal(inside, truth)
        assert torch.equal(module(*made_inside), truth)
    with torch.no_grad():
        assert torch.equal(module(*made_inside), truth)


@each_dtype
@pytest.mark.parametrize("reentrant", [True, False])
@each_case
def test_checkpoint(case: Case, reentrant: bool, dtype: torch.dtype) -> None:
    module, inputs = module_of(case, dtype)
    truth = gradients(module, inputs)
    leaves = [value.requires_grad_() for value in inputs]
    output = checkpoint(module, *leaves, use_reentrant=reentrant)
    output.square().sum().backward()
    assert_equal([output, *(value.grad for value in (*leaves, *module.parameters()))], truth)


@each_case
def test_copies(case: Case) -> None:
    module, inputs = module_of(case, torch.float32)
    truth = gradients(module, inputs)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    for twin in (
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
        torch.load(file, weights_only=False),
    ):
        assert_equal(gradients(twin, inputs), truth)
        assert not {p.data_ptr() for p in twin.parameters()} & {p.data_ptr() for p in module.parameters()}


def functional(module: CaseModule, inputs: list[Tensor]) -> Callable[[dict[str, Tensor]], Tensor]:
    return lambda parameters: torch.func.functional_call(module, parameters, tuple(inputs))


def parameters_of(module: CaseModule) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in module.named_parameters()}


@each_case
def test_functional_call_and_grad(case: Case) -> None:
    module, inputs = module_of(case)
    doubled = {name: 2 * value for name, value in parameters_of(module).items()}
    run = functional(module, inputs)
    found = torch.func.grad(lambda parameters: run(parameters).square().sum())(doubled)
    twin = copy.deepcopy(module)
    twin.load_state_dict(doubled)
    output, *truth = gradients(twin, inputs)
    assert torch.equal(run(doubled), output)
    assert_equal(list(found.values()), truth[len(inputs) :], 1e-10)


@each_case
def test_gradient_of_gradient(case: Case) -> None:
    module, inputs = module_of(case)

    def loss(x: Tensor) -> Tensor:
        return module(x, *inputs[1:]).square().sum()

    found = torch.func.grad(lambda x: torch.func.grad(loss)(x).square().sum())(inputs[0])
    leaf = inputs[0].clone().requires_grad_()
    (first,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    assert_equal([found], list(torch.autograd.grad(first.square().sum(), leaf)), 1e-10)


def tangents_of(inputs: list[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(9)
    return [torch.randn(value.shape, generator=generator, dtype=value.dtype) for value in inputs]


def by_differences(function: Callable[..., Tensor], at: list[Tensor], along: list[Tensor]) -> Tensor:
    step = 1e-6
    forward, back = (function(*(v + sign * step * t for v, t in zip(at, along, strict=True))) for sign in (1, -1))
    return (forward - back) / (2 * step)


# PyTorch's own, where it has forward derivatives made by scripts.
scripts_warn = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script:FutureWarning", "ignore:`torch.jit.script:DeprecationWarning"
)


@scripts_warn
@each_case
def test_forward_mode(case: Case) -> None:
    module, inputs = module_of(case)
    places = list(parameters_of(module))

    def run(*values: Tensor) -> Tensor:
        given = dict(zip(places, values[len(inputs) :], strict=True))
        return torch.func.functional_call(module, given, values[: len(inputs)])

    at = [*inputs, *parameters_of(module).values()]
    along = tangents_of(at)
    truth = by_differences(run, at, along)
    output, found = torch.func.jvp(run, tuple(at), tuple(along))
    assert_equal([output], [run(*at)])
    torch.testing.assert_close(found, truth, rtol=1e-5, atol=1e-5)
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(value, tangent) for value, tangent in zip(at, along, strict=True)]
        torch.testing.assert_close(forward_ad.unpack_dual(run(*duals)).tangent, truth, rtol=1e-5, atol=1e-5)


@scripts_warn
@each_case
def test_an_operator_alone_refuses_forward_mode(case: Case) -> None:
    # PyTorch by itself would take its derivative for zero.
    arguments: list[Any] = [value if value is None else value.detach() for value in case.tensors()]
    operator = getattr(torch.ops.adair, case.name).default
    with forward_ad.dual_level():
        arguments[0] = forward_ad.make_dual(arguments[0], torch.ones_like(arguments[0]))
        with pytest.raises(RuntimeError, match=f"{case.name} has no derivative in forward mode.*public function"):
            operator(*arguments, *case.constants, *case.extra)


@scripts_warn
@each_case
def test_forward_mode_inside_compiled_code(case: Case) -> None:
    torch.compiler.reset()
    module, inputs = module_of(case)
    if "batch" in case.name or case.name == "low_rank_convolution":
        # Their references read the index, which the compiler cannot do.
        expected: Any = pytest.raises(torch._dynamo.exc.TorchDynamoException, match="data-dependent")
    else:
        expected = contextlib.nullcontext()

    def run(x: Tensor, along: Tensor) -> Tensor:
        return torch.func.jvp(lambda value: module(value, *inputs[1:]), (x,), (along,))[1]

    along = tangents_of(inputs)[0]
    with expected:
        found = torch.compile(run, backend="eager", fullgraph=True)(inputs[0], along)
        torch.testing.assert_close(found, run(inputs[0], along), rtol=1e-10, atol=1e-10)


@each_case
def test_vmap(case: Case) -> None:
    module, inputs = module_of(case)
    several = [torch.stack([value, 2 * value, value - 1], dim=1) for value in inputs]
    found = torch.func.vmap(module, in_dims=1)(*several)
    assert torch.equal(found, torch.stack([module(*(value[:, i] for value in several)) for i in range(3)]))
    # Through the parameters alone, and gradients for each image.
    doubled = {name: torch.stack([value, 2 * value]) for name, value in parameters_of(module).items()}
    run = functional(module, inputs)
    truth = torch.stack([run({name: value[i] for name, value in doubled.items()}) for i in range(2)])
    assert torch.equal(torch.func.vmap(run)(doubled), truth)


@each_case
def test_gradients_for_each_image(case: Case) -> None:
    module, inputs = module_of(case)
    several = [torch.stack([value, 2 * value]) for value in inputs]

    def loss(parameters: dict[str, Tensor], *images: Tensor) -> Tensor:
        return torch.func.functional_call(module, parameters, images).square().sum()

    given = parameters_of(module)
    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, *(0 for _ in several)))(given, *several)
    for place in range(2):
        truth = gradients(module, [value[place] for value in several])[1 + len(inputs) :]
        assert_equal([value[place] for value in found.values()], truth, 1e-10)


@each_case
def test_several_gradients_at_once(case: Case) -> None:
    module, inputs = module_of(case)
    leaf = inputs[0].clone().requires_grad_()
    output = module(leaf, *inputs[1:])
    several = torch.stack([torch.ones_like(output), output.detach()])
    (found,) = torch.autograd.grad(output, leaf, several, is_grads_batched=True, retain_graph=True)
    truth = torch.stack([torch.autograd.grad(output, leaf, one, retain_graph=True)[0] for one in several])
    torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-12)


def test_two_processes_have_the_gradients_of_one_with_both_halves() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    children = [
        subprocess.Popen(
            [sys.executable, str(DDP)],
            env={**os.environ, **shared, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [child.communicate(timeout=300)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0], "\n".join(outputs)
    assert [output.splitlines()[-1] for output in outputs] == [f"{len(IMAGE_CASES)} cases"] * 2
