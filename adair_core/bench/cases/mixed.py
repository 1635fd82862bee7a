"""A batch in which each image has its own adapter."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from adair_core.bench.case import OURS, PEFT, Case, Precision, Row, Run, Size, Subject, bytes_of, flops_of, text_of
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
from adair_core.bench.cases.torch_rows import inference
from adair_core.model.adapted_backbone import AdaptedBackbone

RANK = 8
IMAGES = 4
ONE_FOR_ALL = f"{OURS}, one adapter for all"
PEFT_BATCH = "PEFT, adapter_names"
"""PEFT's own way: the base's convolutions for the whole batch, the adapters' for the images of each. `PEFT` is the
network once for each image with its adapter."""
ONE_BY_ONE = f"{OURS}, image by image"
LORA, BOTTLENECK, TYPES, RIVALS = "", " bottleneck", " types", " PEFT"
"""What is mixed: four adapters of a type, or one of each type and none.

Or four LoRA beside PEFT, in rounds of their own, which take many times as long.
"""
SHAPES: dict[Size, tuple[tuple[str, str, int], ...]] = {
    "full": tuple(
        (preset, kind, side)
        for preset in ("paper", "tiny")
        for kind in (LORA, BOTTLENECK, TYPES, RIVALS)
        for side in (64, 128)
    ),
    "quick": (("tiny", LORA, 128), ("tiny", TYPES, 64), ("tiny", RIVALS, 64)),
    "smoke": (("paper", LORA, 17), ("paper", BOTTLENECK, 17), ("paper", TYPES, 17), ("paper", RIVALS, 17)),
}
PRECISIONS: tuple[Precision, ...] = ("float32", "autocast")


def cases(size: Size) -> list[Case]:
    """Four images with four adapters."""
    return list(_cases(size))


def _cases(size: Size) -> Iterator[Case]:
    for preset, kind, side in SHAPES[size]:
        for precision in PRECISIONS:
            shape = (IMAGES, 3, side, side)
            make = partial(_subject, preset, kind, shape, precision, SMOKE if size == "smoke" else {})
            yield Case("mixed", f"{preset}{kind}", text_of(shape), precision, make)


def _subject(
    preset: str, kind: str, shape: tuple[int, ...], precision: Precision, options: Mapping[str, Any]
) -> Subject:
    network = our_network(preset, **options)
    types = {BOTTLENECK: ["bottleneck"] * IMAGES, TYPES: ["lora", "bottleneck", "prompt"]}.get(kind, ["lora"] * IMAGES)
    names = [f"task{number}" for number in range(len(types))]
    settings = [(name, own, {"rank": RANK} if own == "lora" else {}) for name, own in zip(names, types, strict=True)]
    model = adapted(network, settings)
    chosen: list[str | None] = [*names, *[None] * (IMAGES - len(names))]
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    timed = inference(precision)

    def one_by_one(choose: Callable[[str | None], Callable[[Tensor], Tensor]]) -> Callable[[Tensor], Tensor]:
        pairs = list(zip(chosen, range(IMAGES), strict=True))
        return lambda x: torch.cat([choose(name)(x[place : place + 1]) for name, place in pairs])

    def of_peft() -> Any:
        return peft_lora(plain_network(network), {name: lora_factors(model, name) for name in names}, RANK)

    def by_peft() -> Run:
        wrapped = of_peft()

        def choose(name: str | None) -> Callable[[Tensor], Tensor]:
            wrapped.set_adapter(name)
            return cast(Callable[[Tensor], Tensor], wrapped)

        return timed(one_by_one(choose), [images])

    def ours(of: AdaptedBackbone) -> Callable[[str | None], Callable[[Tensor], Tensor]]:
        def choose(name: str | None) -> Callable[[Tensor], Tensor]:
            of.set_adapters([] if name is None else [name])
            return of

        return choose

    def by_peft_at_once() -> Run:
        wrapped = of_peft()
        return timed(lambda x: wrapped(x, adapter_names=names), [images])

    def exact() -> Tensor:
        if kind not in (LORA, RIVALS):
            return inference("float32")(one_by_one(ours(copy.deepcopy(model).double())), [images.double()])()

        def choose(name: str | None) -> Callable[[Tensor], Tensor]:
            assert name is not None
            return copy.deepcopy(plain_lora(plain_network(network), lora_factors(model, name), RANK)).double()

        return inference("float32")(one_by_one(choose), [images.double()])()

    rows: dict[str, Row] = {
        OURS: lambda: timed(lambda x: model(x, chosen), [images]),
        ONE_BY_ONE: lambda: timed(one_by_one(ours(model)), [images]),
    }
    if kind in (LORA, BOTTLENECK):
        rows[ONE_FOR_ALL] = lambda: timed(lambda x: model(x, [names[0]] * IMAGES), [images])
    if kind == RIVALS and peft_available():
        rows |= {PEFT: by_peft, PEFT_BATCH: by_peft_at_once}
    rival = plain_network(network).requires_grad_(False)
    return Subject(
        rows=rows,
        exact=exact,
        flops=flops_of(timed(rival, [images])),
        bytes=2 * bytes_of([images]) + bytes_of(list(rival.parameters())),
        images=IMAGES,
        unjudged=frozenset({ONE_FOR_ALL}),
    )
