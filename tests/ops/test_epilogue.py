"""Bottleneck adapters at the end of a branch: in the branch's kernel, and in operators of their own."""

from __future__ import annotations

from itertools import accumulate

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from adair_core.adapter import FeatureAdapter
from adair_core.model import build_backbone
from adair_core.model.adapted_backbone import AdaptedBackbone
from adair_core.ops import attention_branch, feed_forward
from adair_core.ops.epilogue import BottleneckParameters, Epilogue
from adair_core.ops.native import library, references_only
from adair_core.ops.per_image import NotPerImageError, PerImage
from adair_core.plugins import plugins

needs_library = pytest.mark.skipif(not library().loaded, reason="the native library is not built")
HEADS = 2
BRANCHES = ("attention_branch", "feed_forward")


def random(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def bottleneck(channels: int, rank: int, *, biased: bool = True, seed: int = 5) -> BottleneckParameters:
    shapes = [(rank, channels, 1, 1), (rank,), (rank, 1, 3, 3), (rank,), (channels, rank, 1, 1), (channels,)]
    values = [random(*shape, seed=seed + place, scale=0.5) for place, shape in enumerate(shapes)]
    values = [value if biased or value.dim() > 1 else None for value in values]
    return (*values, torch.tensor([0.7]))  # type: ignore[return-value]


def parameters(name: str, channels: int, hidden: int, seed: int = 0) -> list[Tensor | None]:
    attends = name == "attention_branch"
    wide = 3 * channels if attends else 2 * hidden
    shapes: list[tuple[int, ...]] = [
        (channels,),
        (channels,),
        (wide, channels, 1, 1),
        (wide,),
        (wide, 1, 3, 3),
        (wide,),
    ]
    shapes += [(HEADS, 1, 1)] if attends else []
    shapes += [(channels, channels if attends else hidden, 1, 1), (channels,)]
    return [random(*shape, seed=100 * seed + place, scale=0.4) for place, shape in enumerate(shapes)]


def run(
    name: str, x: Tensor, values: list[Tensor | None], epilogue: Epilogue | None = None, residual: bool = True
) -> Tensor:
    if name == "attention_branch":
        return attention_branch(x, *values, heads=HEADS, residual=residual, epilogue=epilogue)
    return feed_forward(x, *values, residual=residual, epilogue=epilogue)


def double(values: list[Tensor | None]) -> list[Tensor | None]:
    return [None if value is None else value.double() for value in values]


def exact(
    name: str, x: Tensor, values: list[Tensor | None], adapters: list[BottleneckParameters | None], residual: bool
) -> Tensor:
    """In float64, by PyTorch's own convolutions; an adapter for each image."""
    with references_only():
        branch = run(name, x.double(), double(values), residual=False)
    outputs = []
    for own, image in zip(adapters, branch.split(1), strict=True):
        added = image
        if own is not None:
            down, down_b, taps, taps_b, up, up_b, scale = double(list(own))
            assert down is not None
            assert taps is not None
            assert up is not None
            assert scale is not None
            hidden = functional.conv2d(
                functional.conv2d(image, down, down_b), taps, taps_b, padding=1, groups=len(taps)
            )
            added = image + scale * functional.conv2d(functional.gelu(hidden), up, up_b)
        outputs.append(added)
    return torch.cat(outputs) + (x.double() if residual else 0)


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted).norm() / wanted.norm())


# A pixel, a row, a column; blocks that meet in rows, in columns, in both.
SIZES = [(1, 1), (1, 60), (60, 1), (2, 3), (9, 7), (70, 9), (9, 130), (41, 117)]


@needs_library
@pytest.mark.parametrize("name", BRANCHES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("channels", "hidden", "rank", "biased", "residual"), [(22, 301, 8, True, True), (48, 40, 17, False, False)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_against_float64(
    name: str,
    size: tuple[int, int],
    channels: int,
    hidden: int,
    rank: int,
    biased: bool,
    residual: bool,
    dtype: torch.dtype,
) -> None:
    x = random(1, channels, *size, seed=1).to(dtype).contiguous(memory_format=torch.channels_last)
    values, adapter = parameters(name, channels, hidden), bottleneck(channels, rank, biased=biased)
    epilogue = Epilogue((adapter,))
    wanted = exact(name, x, values, [adapter], residual)
    with torch.no_grad():
        found = run(name, x, values, epilogue, residual)
        apart = epilogue.add_to(run(name, x, values, residual=False), x if residual else None)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    # PyTorch's own operators, one after the other, with the roundings between them.
    with torch.no_grad(), references_only():
        plain = epilogue.add_to(run(name, x, values, residual=False), x if residual else None)
    assert error(found, wanted) <= max(2 * error(plain, wanted), 1e-6)
    assert error(apart, wanted) <= max(2 * error(plain, wanted), 1e-6)


@needs_library
@pytest.mark.parametrize("name", BRANCHES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_bits_with_any_number_of_threads(name: str, dtype: torch.dtype) -> None:
    x = random(2, 16, 40, 70, seed=1).to(dtype).contiguous(memory_format=torch.channels_last)
    values, epilogue = parameters(name, 16, 300), Epilogue((bottleneck(16, 8),))
    before, found = torch.get_num_threads(), []
    try:
        with torch.no_grad():
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                found.append(run(name, x, values, epilogue))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("name", BRANCHES)
@pytest.mark.parametrize("widths", [(8, None, 8), (8, None, 3), (5, 17, None)])
@pytest.mark.parametrize("branches", [None, (2, 2), (1, 2, 1)])
@pytest.mark.parametrize("graded", [False, True])
def test_each_image_has_its_own(
    name: str, widths: tuple[int | None, ...], branches: tuple[int, ...] | None, graded: bool
) -> None:
    channels, counts = 18, (1, 1, 2)
    x = random(4, channels, 12, 9, seed=1).contiguous(memory_format=torch.channels_last)
    adapters = tuple(
        None if rank is None else bottleneck(channels, rank, seed=10 * place + 7) for place, rank in enumerate(widths)
    )
    sets = [parameters(name, channels, 20, seed) for seed in range(len(branches or (4,)))]
    values = sets[0] if branches is None else [PerImage(each, branches) for each in zip(*sets, strict=True)]
    with torch.set_grad_enabled(graded):
        found = run(name, x, values, Epilogue(adapters, counts))
    ends = list(accumulate(branches or (4,)))
    for image in range(4):
        own = sets[next(place for place, end in enumerate(ends) if image < end)]
        wanted = exact(name, x[image : image + 1], own, [adapters[min(image, 2)]], True)
        torch.testing.assert_close(found[image : image + 1].double(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", BRANCHES)
def test_another_batch_is_refused(name: str) -> None:
    epilogue = Epilogue((bottleneck(18, 8), None), (2, 1))
    for graded in (False, True):
        x, values = random(4, 18, 5, 5, seed=1), parameters(name, 18, 20)
        with torch.set_grad_enabled(graded), pytest.raises(NotPerImageError, match="a batch of 4"):
            run(name, x, values, epilogue)


@needs_library
def test_not_a_number_reaches_its_neighbours_alone() -> None:
    x = random(1, 16, 12, 12, seed=1).contiguous(memory_format=torch.channels_last)
    x[0, 3, 6, 6] = torch.nan
    with torch.no_grad():
        found = run("feed_forward", x, parameters("feed_forward", 16, 20), Epilogue((bottleneck(16, 8),)))
    # The branch looks one pixel far, and so does the adapter.
    nan = found.isnan().any(1)[0].nonzero()
    assert nan.min(0).values.tolist() == [4, 4]
    assert nan.max(0).values.tolist() == [8, 8]
    assert len(nan) == 25


def adapted(types: dict[str, str]) -> AdaptedBackbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_backbone("restormer", dim=16, blocks=(1, 1, 1, 1), heads=(1, 1, 2, 2), refinement=1)
    model = AdaptedBackbone(network, plugins().backbones["restormer"].sites(network))
    for seed, (name, kind) in enumerate(types.items()):
        model.add_adapter(name, kind)
        for place, parameter in enumerate(model.adapter_parameters(name).values()):
            parameter.data += random(*parameter.shape, seed=1000 * seed + place, scale=0.1)
    return model.requires_grad_(False).eval()


@needs_library
def test_a_network_runs_no_operator_for_its_bottlenecks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted({"first": "bottleneck", "second": "bottleneck", "third": "lora"})
    x = random(3, 3, 32, 32, seed=2)
    chosen = ["first", {"second": 0.5}, "third"]
    apart = model(x, chosen)  # with gradients enabled
    alone = [model(image, [own]) for image, own in zip(x.split(1), chosen, strict=True)]
    calls: list[str] = []
    for name in ("add_to", "add_with_skip", "add_to_each", "add_each_with_skip"):
        monkeypatch.setattr(FeatureAdapter, name, lambda *_, name=name: calls.append(name))
    monkeypatch.setattr(Epilogue, "add_to", lambda *_, **__: calls.append("by itself"))
    with torch.no_grad():
        found = model(x, chosen)
        assert not calls
    torch.testing.assert_close(found, apart, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found, torch.cat(alone), rtol=1e-4, atol=1e-5)
    assert (found - model(x, [None] * 3)).abs().max() > 0.01
