"""With frozen parameters no gradient of theirs is computed, and a block keeps little for its backward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from operator_cases import IMAGE_CASES, Case
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from adair_core.bench.case import saved_bytes
from adair_core.ops import low_rank_weight
from adair_core.ops.native import references_only
from adair_plugins.backbones.restormer import RestormerConfig, TransformerBlock

# The parameters of these are an adapter's own, which learn whenever there is a backward pass at all.
LEARNING = {"bottleneck", "bottleneck_batch", "channel_attention"}
CASES = [case for case in IMAGE_CASES if case.name not in LEARNING]


class BackwardResults(TorchDispatchMode):
    """Keeps what the backward operators of adair return."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[Tensor, ...]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function.namespace == "adair" and "_backward" in function.name():
            self.found.append(result)
        return result


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}{case.extra}")
def test_frozen_parameters_get_no_gradient(case: Case) -> None:
    tensors = [None if value is None else value.detach() for value in case.tensors(torch.float32)]
    images = tensors[0].requires_grad_()
    with BackwardResults() as mode:
        case.run(*tensors).sum().backward()
    assert images.grad is not None
    (found,) = mode.found
    assert found[0].numel() == images.numel()
    assert [value.numel() for value in found[1:]] == [0] * (len(found) - 1)


@pytest.mark.parametrize(("depthwise", "most"), [(False, 11), (True, 20)])
@pytest.mark.parametrize("native", [True, False])
def test_a_block_with_low_rank_updates_keeps_few_multiples_of_its_input(
    native: bool, depthwise: bool, most: int
) -> None:
    block = TransformerBlock(48, 1, RestormerConfig()).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    known = list(block.state_dict().values())
    folded = {}
    for name, weight in block.named_parameters():
        if weight.dim() == 4 and (depthwise or weight.shape[2:] == (1, 1)):
            a = torch.randn(8, *weight.shape[1:], generator=generator).requires_grad_()
            b = torch.randn(len(weight), 8, generator=generator).requires_grad_()
            folded[name] = low_rank_weight(weight, a, b, 0.1)
            known += [a, b]
    assert len(folded) == (6 if depthwise else 4)
    x = torch.randn(1, 48, 32, 32, generator=generator).requires_grad_()

    def forward() -> Tensor:
        return torch.func.functional_call(block, folded, (x,))

    if native:
        kept = saved_bytes(forward, known)
    else:
        with references_only():
            kept = saved_bytes(forward, known)
    # x, its sum with the attention, q, k and v, and the two halves before the gate: 10.3, and small matrices.
    assert 10 < kept / (x.numel() * 4) <= most
