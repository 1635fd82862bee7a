"""Tensors may begin anywhere, as parts of others do: launches look at where vectors of 16 bytes are aligned."""

from __future__ import annotations

from collections.abc import Callable

import emulator
import pytest
import test_emulated_bottleneck
import test_emulated_channel_attention
import test_emulated_depthwise
import test_emulated_depthwise_gate
import test_emulated_feed_forward
import test_emulated_layer_norm2d
import test_emulated_low_rank_weight
import torch
from checks import shifting
from emulator import Library


def check_norm(built: Library) -> None:
    for last in (True, False):
        test_emulated_layer_norm2d.check(built, (1, 8, 2, 6), torch.float32, last, bias_free=False)


def check_gate(built: Library) -> None:
    for last in (True, False):
        test_emulated_depthwise_gate.check(built, (1, 4, 3, 8), torch.float32, last)


def check_depthwise(built: Library) -> None:
    for last in (True, False):
        test_emulated_depthwise.check(built, (1, 4, 3, 8), torch.float32, last)


def check_bottleneck(built: Library) -> None:
    test_emulated_bottleneck.check(built, (1, 8, 3, 5, 4, 1), torch.float32)


def check_attention(built: Library) -> None:
    test_emulated_channel_attention.check(built, (1, 8, 3, 5, 2), torch.float32)


def check_feed_forward(built: Library) -> None:
    test_emulated_feed_forward.check(built, (1, 8, 3, 3, 5), torch.float32)


def check_low_rank(built: Library) -> None:
    test_emulated_low_rank_weight.check(built, (6, 12, 4), torch.float32)


# Sizes for which all vectors fit, so that alignment alone decides.
CHECKS: dict[str, Callable[[Library], None]] = {
    "layer_norm2d": check_norm,
    "depthwise_gate": check_gate,
    "depthwise": check_depthwise,
    "bottleneck": check_bottleneck,
    "channel_attention": check_attention,
    "feed_forward": check_feed_forward,
    "low_rank_weight": check_low_rank,
}


@pytest.mark.parametrize("operator", CHECKS)
def test_any_tensor_may_begin_anywhere(operator: str) -> None:
    with shifting():
        CHECKS[operator](emulator.library(operator, only=torch.float32))
