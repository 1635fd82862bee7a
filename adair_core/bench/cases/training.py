"""A training step: forward, loss, backward, clipping, optimiser."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adair_core.bench import plain
from adair_core.bench.case import (
    EAGER,
    OURS,
    PEFT,
    Case,
    Precision,
    Row,
    Run,
    Size,
    Subject,
    arithmetic,
    bytes_of,
    channels_last,
    compute_dtype,
    flops_of,
    saved_bytes,
    text_of,
)
from adair_core.bench.cases.networks import (
    SMOKE,
    adapted,
    lora_factors,
    our_network,
    peft_available,
    peft_lora,
    plain_lora,
    plain_network,
)
from adair_core.bench.cases.torch_rows import Function, our_rows, torch_rows

RANK = 8
DEPTHWISE = f"{OURS}, depthwise LoRA too"
"""The competitor that is adair with LoRA on depthwise convolutions too, whose gradients need what goes into them."""

Trained = Literal["lora", "full"]

# Preset, what trains, batch and patch.
SHAPES: dict[Size, tuple[tuple[str, Trained, int, int], ...]] = {
    "full": (
        ("paper", "lora", 1, 128),
        ("paper", "full", 1, 128),
        ("tiny", "lora", 8, 64),
        ("tiny", "full", 16, 64),
    ),
    "quick": (("tiny", "lora", 4, 64), ("tiny", "full", 4, 64)),
    "smoke": (("paper", "lora", 1, 16), ("paper", "full", 1, 16)),
}
PRECISIONS: tuple[Precision, ...] = ("float32", "autocast")


def cases(size: Size) -> list[Case]:
    """An adapter on a frozen base, and the whole network."""
    return list(_cases(size))


def _cases(size: Size) -> Iterator[Case]:
    for preset, trained, batch, patch in SHAPES[size]:
        for precision in PRECISIONS:
            shape = (batch, 3, patch, patch)
            make = partial(_subject, preset, trained, shape, precision, SMOKE if size == "smoke" else {})
            stock = preset == "tiny" and trained == "full"
            yield Case("train", f"{preset} {trained}", text_of(shape), precision, make, stock=stock)


def training_step(
    network: Function,
    trained: Sequence[nn.Parameter],
    judged: Sequence[nn.Parameter],
    batch: Sequence[Tensor],
    precision: Precision,
) -> Run:
    """Make a training step that does all of the work and changes nothing: its learning rate is 0.

    Args:
        network: images -> images.
        trained: what the optimiser gets.
        judged: parameters whose gradients are compared.
        batch: images and targets.
        precision: of the network; the loss is float32.
    """
    images, target = batch
    optimizer = torch.optim.AdamW(trained, lr=0.0, weight_decay=0.0)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with arithmetic(precision, images.device.type):
            restored = network(images)
        functional.mse_loss(restored.to(target.dtype), target).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, 1e6)
        optimizer.step()
        return torch.cat([parameter.grad.flatten() for parameter in judged if parameter.grad is not None])

    return step


def _subject(
    preset: str, trained: Trained, shape: tuple[int, ...], precision: Precision, options_of_network: Mapping[str, Any]
) -> Subject:
    network = our_network(preset, **options_of_network)
    base = plain_network(network)
    first = "encoder_level1.0.attn.qkv"  # the gradient that comes the longest way
    generator = torch.Generator().manual_seed(0)
    batch = [torch.rand(shape, generator=generator) for _ in range(2)]
    ours: nn.Module = network.train()
    if trained == "lora":
        model = adapted(network, [("lora", "lora", {"rank": RANK})])
        factors = lora_factors(model, "lora")
        ours = model.train()
        plain_lora(base, factors, RANK)
        our_trained = list(model.adapter_parameters("lora").values())
        our_judged = [model.adapter_parameters("lora")[f"{first}.lora_{factor}.weight"] for factor in "AB"]
    else:
        our_trained = list(network.parameters())
        our_judged = [network.get_parameter(f"{first}.weight")]

    def timed(function: Function, given: Sequence[Tensor]) -> Run:
        module: Any = getattr(function, "_orig_mod", function)
        if function is ours:
            return training_step(ours, our_trained, our_judged, given, precision)
        lora = trained == "lora"
        judged = [f"{first}.{name}.weight" for name in "ab"] if lora else [f"{first}.weight"]
        parameters = [value for value in module.parameters() if value.requires_grad]
        return training_step(function, parameters, [module.get_parameter(name) for name in judged], given, precision)

    def by_peft() -> Run:
        wrapped = peft_lora(plain_network(network), {"lora": factors}, RANK)
        layer = wrapped.base_model.model.get_submodule(first)
        judged = [layer.lora_A["lora"].weight, layer.lora_B["lora"].weight]
        parameters = [value for value in wrapped.parameters() if value.requires_grad]
        return training_step(wrapped, parameters, judged, batch, precision)

    def exact() -> Tensor:
        twin = copy.deepcopy(base).double()
        judged = [f"{first}.{name}.weight" for name in "ab"] if trained == "lora" else [f"{first}.weight"]
        parameters = [value for value in twin.parameters() if value.requires_grad]
        double = [value.double() for value in batch]
        return training_step(twin, parameters, [twin.get_parameter(name) for name in judged], double, "float32")()

    # Where nothing is computed: operations are counted by shapes.
    shapes, nothing = copy.deepcopy(base).to("meta"), [value.to("meta") for value in batch]
    rows: dict[str, Row] = {**torch_rows(base, batch, timed), **our_rows(ours, batch, timed)}
    saved = {EAGER: _saved(base, batch, precision), OURS: _saved(ours, batch, precision)}
    if trained == "lora":
        options = {"rank": RANK, "kinds": ("conv1x1", "dwconv")}
        deep = adapted(our_network(preset, **options_of_network), [("lora", "lora", options)]).train()
        deep_trained = list(deep.adapter_parameters("lora").values())
        given = [channels_last(batch[0]), batch[1]]
        rows[DEPTHWISE] = lambda: training_step(deep, deep_trained, deep_trained[:1], given, precision)
        saved[DEPTHWISE] = _saved(deep, batch, precision)
    if trained == "lora" and peft_available():
        rows[PEFT] = by_peft
    return Subject(
        rows=rows,
        exact=exact,
        flops=flops_of(timed(shapes, nothing)),
        bytes=bytes_of([*batch, *base.parameters()]),
        images=shape[0],
        saved=saved,
        features=_features(shapes, nothing[0]) * compute_dtype(precision).itemsize,
        unjudged=frozenset({DEPTHWISE}),
    )


def _saved(network: nn.Module, batch: Sequence[Tensor], precision: Precision) -> Callable[[], int]:
    def forward() -> Tensor:
        with arithmetic(precision):
            result: Tensor = network(batch[0])
        return result

    return lambda: saved_bytes(forward, [*network.parameters(), *batch])


def _features(network: nn.Module, images: Tensor) -> int:
    """The elements of all blocks' inputs together."""
    counts: list[int] = []
    blocks = [module for module in network.modules() if isinstance(module, plain.TransformerBlock)]
    handles = [block.register_forward_pre_hook(lambda _, inputs: counts.append(inputs[0].numel())) for block in blocks]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    return sum(counts)
