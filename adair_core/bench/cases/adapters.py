"""What an adapter that is not merged costs in inference: with it against without, for adair and for PEFT."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from adair_core.adapter import FeatureAdapter
from adair_core.bench.case import (
    COMPILED_LAST,
    EAGER,
    OURS,
    PEFT,
    Case,
    Precision,
    Row,
    Size,
    Subject,
    bytes_of,
    flops_of,
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
from adair_core.bench.cases.torch_rows import inference, torch_rows
from adair_core.model.adapted_backbone import AdaptedBackbone

RANK = 8
KINDS: Mapping[str, Mapping[str, Any]] = {"lora": {"rank": RANK}, "bottleneck": {}, "prompt": {}}
SHAPES: dict[Size, tuple[tuple[int, int], ...]] = {
    "full": ((128, 128), (131, 97)),
    "quick": ((64, 64),),
    "smoke": ((17, 13),),
}
PRECISIONS: tuple[Precision, ...] = ("float32", "autocast")
OWN, RIVALS = "", " PEFT"
"""What stands beside adair with an adapter: adair without one, or other programs with theirs.

Each has rounds of its own: the first differ by a few per cent, and take a fraction of the time of the others.
"""


def with_adapter(kind: str, competitor: str = OURS) -> str:
    """The competitor with an adapter of a type."""
    return f"{competitor} + {kind}"


PLAIN = tuple(with_adapter("lora", competitor) for competitor in (EAGER, COMPILED_LAST))
"""PyTorch with LoRA beside the convolutions, without PEFT's bookkeeping."""


def cases(size: Size) -> list[Case]:
    """The published network in two precisions."""
    return list(_cases(size))


def _cases(size: Size) -> Iterator[Case]:
    for height, width in SHAPES[size]:
        for precision in PRECISIONS:
            for beside in (OWN, RIVALS):
                shape = (1, 3, height, width)
                make = partial(_subject, beside, shape, precision, SMOKE if size == "smoke" else {})
                yield Case("adapter", f"paper{beside}", text_of(shape), precision, make)


def _subject(beside: str, shape: tuple[int, ...], precision: Precision, options: Mapping[str, Any]) -> Subject:
    network = our_network("paper", **options)
    rival = plain_network(network).requires_grad_(False)
    model = adapted(network, [(kind, kind, choice) for kind, choice in KINDS.items()])
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    timed = inference(precision)

    def ours(names: list[str]) -> Row:
        def chosen(x: Tensor) -> Tensor:
            model.set_adapters(names)
            result: Tensor = model(x)
            return result

        return lambda: timed(chosen, [images])

    def by_peft() -> Callable[[], Tensor]:
        return timed(peft_lora(plain_network(network), {"lora": lora_factors(model, "lora")}, RANK), [images])

    rows: dict[str, Row] = {OURS: ours([]), **{with_adapter(kind): ours([kind]) for kind in KINDS}}
    if beside == RIVALS:
        lora = plain_lora(plain_network(network), lora_factors(model, "lora"), RANK)
        in_pytorch = torch_rows(lora, [images], timed)
        rows = {name: rows[name] for name in (OURS, with_adapter("lora"))}
        rows[EAGER] = lambda: timed(rival, [images])
        rows |= {with_adapter("lora", competitor): in_pytorch[competitor] for competitor in (EAGER, COMPILED_LAST)}
        if peft_available():
            rows[PEFT] = by_peft
    flops = flops_of(timed(rival, [images]))
    return Subject(
        rows=rows,
        exact=None,  # the rows compute different things
        flops=flops,
        bytes=2 * bytes_of([images]) + bytes_of(list(rival.parameters())),
        shares={name: share(model, kind, images, flops) for kind in KINDS if (name := with_adapter(kind)) in rows},
    )


def share(model: AdaptedBackbone, kind: str, images: Tensor, flops: int) -> float:
    """How many more operations a network does with an adapter, as a fraction; weights change at no cost."""
    counted = 0

    def count(module: FeatureAdapter, _site: Any, _inputs: Any, features: Tensor) -> None:
        nonlocal counted
        # The adapter alone again, on features of the same shape.
        counted += flops_of(partial(module, features))

    handles = [
        model.backbone.get_submodule(site.path).register_forward_hook(partial(count, part))
        for site, part in model.adapter(kind).feature_parts
    ]
    model.set_adapters([kind])
    try:
        inference("float32")(model, [images])()
    finally:
        for handle in handles:
            handle.remove()
    return counted / flops
