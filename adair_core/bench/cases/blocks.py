"""One transformer block of Restormer, at each level of the network."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial

import torch
from torch import nn

from adair_core.bench import plain
from adair_core.bench.case import Case, Precision, Size, Subject, bytes_of, dtype_of, flops_of
from adair_core.bench.cases.networks import SMOKE, our_network
from adair_core.bench.cases.torch_rows import forward_and_backward, inference, our_rows, torch_rows

# Part of the network that the block is of, height and width of its features.
SHAPES: dict[Size, tuple[tuple[str, int, int], ...]] = {
    "full": (
        ("encoder_level1", 256, 256),
        ("refinement", 256, 256),
        ("encoder_level2", 128, 128),
        ("encoder_level3", 64, 64),
        ("latent", 32, 32),
        ("encoder_level1", 131, 97),
        ("refinement", 61, 45),
        ("encoder_level3", 17, 13),
        ("latent", 9, 7),
        ("encoder_level1", 8, 8),
    ),
    "quick": (("encoder_level1", 128, 128), ("refinement", 128, 128), ("latent", 16, 16), ("encoder_level1", 67, 49)),
    "smoke": (("latent", 5, 3),),
}
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def cases(size: Size) -> list[Case]:
    """Blocks, forward, and forward and backward with frozen weights."""
    return list(_cases(size))


def _cases(size: Size) -> Iterator[Case]:
    for part, height, width in SHAPES[size]:
        for precision in PRECISIONS:
            for trains in (False, True):
                what = f"{part} forward+backward" if trains else part
                make = partial(_subject, part, height, width, precision, trains, size)
                yield Case("block", what, f"{height}x{width}", precision, make)


def _subject(part: str, height: int, width: int, precision: Precision, trains: bool, size: Size) -> Subject:
    options = SMOKE if size == "smoke" else {"blocks": (1, 1, 1, 1), "refinement": 1}
    ours = our_network("paper", **options).get_submodule(f"{part}.0").requires_grad_(False)
    channels = ours.get_parameter("attn.project_out.weight").shape[0]
    heads = ours.get_parameter("attn.temperature").shape[0]
    rival = plain.TransformerBlock(channels, heads).requires_grad_(False)
    rival.load_state_dict(ours.state_dict())
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, channels, height, width, generator=generator).to(dtype_of(precision))
    for network in (ours, rival):
        network.to(dtype_of(precision))
    timed = forward_and_backward(precision) if trains else inference(precision)
    moved = 2 * bytes_of([x]) + bytes_of(list(rival.parameters()))
    return Subject(
        rows={**torch_rows(rival, [x], timed), **our_rows(_last(ours), [x], timed)},
        exact=timed(_double(rival), [x.double()]),
        flops=flops_of(timed(rival, [x])),
        bytes=2 * moved if trains else moved,
    )


def _double(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).double()


def _last(network: nn.Module) -> nn.Module:
    return network.to(memory_format=torch.channels_last)
