"""A batch in which each image has its own adapter."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

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

RANK = 8
IMAGES = 4
ONE_FOR_ALL = f"{OURS}, one adapter for all"
PEFT_BATCH = "PEFT, adapter_names"
"""PEFT's own way: the base's convolutions for the whole batch, the adapters' for the images of each. `PEFT` is the
network once for each image with its adapter."""

SHAPES: dict[Size, tuple[tuple[str, int, int], ...]] = {
    "full": (("paper", 128, 128), ("tiny", 128, 128)),
    "quick": (("tiny", 128, 128),),
    "smoke": (("paper", 17, 13),),
}
PRECISIONS: tuple[Precision, ...] = ("float32", "autocast")


def cases(size: Size) -> list[Case]:
    """Four images with four LoRA adapters."""
    return list(_cases(size))


def _cases(size: Size) -> Iterator[Case]:
    for preset, height, width in SHAPES[size]:
        for precision in PRECISIONS:
            shape = (IMAGES, 3, height, width)
            make = partial(_subject, preset, shape, precision, SMOKE if size == "smoke" else {})
            yield Case("mixed", preset, text_of(shape), precision, make)


def _subject(preset: str, shape: tuple[int, ...], precision: Precision, options: Mapping[str, Any]) -> Subject:
    names = [f"task{number}" for number in range(IMAGES)]
    network = our_network(preset, **options)
    model = adapted(network, [(name, "lora", {"rank": RANK}) for name in names])
    factors = {name: lora_factors(model, name) for name in names}
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    timed = inference(precision)

    def by_peft() -> Run:
        wrapped = peft_lora(plain_network(network), factors, RANK)

        def one_by_one(x: Tensor) -> Tensor:
            results = []
            for name, image in zip(names, torch.split(x, 1), strict=True):
                wrapped.set_adapter(name)
                results.append(wrapped(image))
            return torch.cat(results)

        return timed(one_by_one, [images])

    def by_peft_at_once() -> Run:
        wrapped = peft_lora(plain_network(network), factors, RANK)
        return timed(lambda x: wrapped(x, adapter_names=names), [images])

    def exact() -> Tensor:
        results = []
        for name, image in zip(names, torch.split(images.double(), 1), strict=True):
            twin = copy.deepcopy(plain_lora(plain_network(network), factors[name], RANK)).double()
            results.append(inference("float32")(twin, [image])())
        return torch.cat(results)

    rows: dict[str, Row] = {
        OURS: lambda: timed(lambda x: model(x, names), [images]),
        ONE_FOR_ALL: lambda: timed(lambda x: model(x, [names[0]] * IMAGES), [images]),
    }
    if peft_available():
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
