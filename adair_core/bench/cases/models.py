"""The whole network, without adapters."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch

from adair_core.bench.case import (
    Case,
    Precision,
    Size,
    Subject,
    bytes_of,
    compute_dtype,
    dtype_of,
    flops_of,
    text_of,
)
from adair_core.bench.cases.networks import SMOKE, our_network, plain_network
from adair_core.bench.cases.torch_rows import inference, our_rows, torch_rows

# Preset, height and width. Odd sizes are padded to a multiple of 8 inside the network.
SHAPES: dict[Size, tuple[tuple[str, int, int], ...]] = {
    "full": (
        ("paper", 128, 128),
        ("paper", 256, 256),
        ("paper", 131, 97),
        ("paper", 136, 184),
        ("tiny", 128, 128),
        ("tiny", 61, 45),
    ),
    "quick": (("paper", 64, 64), ("tiny", 128, 128)),
    "smoke": (("paper", 17, 13),),
}
PRECISIONS: tuple[Precision, ...] = ("float32", "autocast", "bfloat16")


def cases(size: Size) -> list[Case]:
    """Both presets, in every precision."""
    return list(_cases(size))


def _cases(size: Size) -> Iterator[Case]:
    for preset, height, width in SHAPES[size]:
        for precision in PRECISIONS:
            shape = (1, 3, height, width)
            make = partial(_subject, preset, shape, precision, SMOKE if size == "smoke" else {})
            yield Case("model", preset, text_of(shape), precision, make, stock=precision == "float32")


def _subject(preset: str, shape: tuple[int, ...], precision: Precision, options: Mapping[str, Any]) -> Subject:
    ours = our_network(preset, **options).requires_grad_(False)
    rival = plain_network(ours).requires_grad_(False)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(dtype_of(precision))
    ours.to(dtype_of(precision))
    rival.to(dtype_of(precision))
    timed = inference(precision)
    parameters = sum(value.numel() for value in rival.parameters()) * compute_dtype(precision).itemsize

    def exact() -> torch.Tensor:
        return inference("float32")(copy.deepcopy(rival).double(), [images.double()])()

    return Subject(
        rows={**torch_rows(rival, [images], timed), **our_rows(ours, [images], timed)},
        exact=exact,
        flops=flops_of(timed(copy.deepcopy(rival).to("meta"), [images.to("meta")])),
        bytes=2 * bytes_of([images]) + parameters,
    )
