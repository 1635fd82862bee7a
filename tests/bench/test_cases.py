"""The competitors compute the same thing, and what is counted about them is right. The smallest sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adair_core.bench.case import EAGER, EAGER_LAST, OURS, PEFT, REFERENCES, Subject, relative_error, saved_bytes
from adair_core.bench.cases import GROUPS, case_named, cases
from adair_core.bench.cases.adapters import with_adapter
from adair_core.bench.cases.mixed import ONE_BY_ONE, PEFT_BATCH
from adair_core.bench.cases.networks import SMOKE, our_network, plain_network
from adair_core.bench.cases.operators import OPERATORS
from adair_core.bench.cases.training import DEPTHWISE
from adair_core.errors import UnknownNameError

TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2, "autocast": 3e-2}
# Compiling takes most of a minute; that it runs is seen where it is used.
UNCOMPILED = (EAGER, EAGER_LAST, PEFT, PEFT_BATCH, OURS, ONE_BY_ONE, REFERENCES)
SMOKE_CASES = [case for group in GROUPS for case in cases(group, "smoke") if case.precision != "bfloat16"]


@pytest.mark.parametrize("case", SMOKE_CASES, ids=lambda case: case.name)
def test_all_competitors_agree_with_float64(case):
    subject = case.make()
    assert isinstance(subject, Subject)
    assert subject.flops > 0 or case.what.startswith("layer_norm2d")
    assert subject.bytes > 0
    if subject.exact is None:
        return
    exact = subject.exact()
    assert exact.dtype == torch.float64
    compared = 0
    for name in set(UNCOMPILED) & set(subject.rows):
        assert relative_error(subject.rows[name]()().detach(), exact) < TOLERANCE[case.precision], name
        compared += 1
    assert compared >= 2


def test_a_step_changes_nothing():
    """Every round does the same: the second step's gradients are the first's."""
    subject = case_named("train/paper lora/1x3x16x16/float32", "smoke").make()
    step = subject.rows[OURS]()
    assert torch.equal(step(), step())


def test_depthwise_lora_keeps_no_more_than_lora():
    """The branches compute the input of their depthwise convolution again."""
    saved = case_named("train/paper lora/1x3x16x16/float32", "smoke").make().saved
    kept = {name: count() for name, count in saved.items()}
    assert kept[OURS] == kept[DEPTHWISE] < kept[EAGER]


def test_lora_beside_is_lora_folded():
    subject = case_named("adapter/paper PEFT/1x3x17x13/float32", "smoke").make()
    folded, beside = (subject.rows[with_adapter("lora", row)]()() for row in (OURS, EAGER))
    torch.testing.assert_close(folded, beside, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(beside, subject.rows[EAGER]()())


def test_names_are_unique():
    for size in ("full", "quick", "smoke"):
        names = [case.name for group in GROUPS for case in cases(group, size)]
        assert len(set(names)) == len(names)


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="unknown benchmark group 'blok'; did you mean 'block'"):
        cases("blok")
    with pytest.raises(UnknownNameError, match="unknown benchmark case"):
        case_named("op/nothing/1/float32", "smoke")


def test_flops_of_the_feed_forward_branch_by_hand():
    case = next(c for c in cases("op", "smoke") if c.what == "feed_forward" and c.precision == "float32")
    channels, hidden, pixels = 8, 21, 11 * 9
    by_hand = 2 * pixels * (channels * 2 * hidden + 9 * 2 * hidden + hidden * channels)
    assert case.make().flops == by_hand


def test_flops_of_a_published_block_are_those_of_its_arithmetic():
    """C = 48 at 256 x 256: 4.68 GF in all (.906 + .170 + .302 + .604 + 1.598 + .300 + .799)."""
    case = next(c for c in cases("block") if c.name == "block/encoder_level1/256x256/float32")
    assert case.make().flops == pytest.approx(4.68e9, rel=0.01)


def test_bytes_of_a_layer_norm_by_hand():
    case = next(c for c in cases("op", "smoke") if c.what == "layer_norm2d" and c.precision == "float32")
    assert case.make().bytes == 4 * (2 * 8 * 11 * 9 + 2 * 8)


@pytest.mark.parametrize("kind", ["bottleneck", "prompt", "lora"])
def test_shares_of_adapters(kind):
    shares = case_named("adapter/paper/1x3x17x13/float32", "smoke").make().shares
    assert (shares[f"adair + {kind}"] > 0) == (kind != "lora")


def test_share_of_a_bottleneck_by_hand():
    """Beside the two branches of each block of a level, 8 channels inside: 2 P (2 C 8 + 9 * 8) each."""
    subject = case_named("adapter/paper/1x3x17x13/float32", "smoke").make()
    blocks = {(8, 24 * 16): 1, (16, 12 * 8): 2, (32, 6 * 4): 2, (64, 3 * 2): 1, (16, 24 * 16): 2}
    expected = sum(count * 2 * 2 * pixels * (2 * channels * 8 + 9 * 8) for (channels, pixels), count in blocks.items())
    assert subject.shares["adair + bottleneck"] * subject.flops == pytest.approx(expected)


def test_saved_bytes_count_storages_once_and_leave_parameters_out():
    layer = nn.Linear(4, 3)
    x = torch.randn(5, 4, requires_grad=True)

    def forward():
        hidden = layer(x).relu()
        return hidden * hidden + hidden[:1]

    # relu keeps its result, and the product keeps the same storage twice; the layer keeps x and its weight.
    assert saved_bytes(forward, [*layer.parameters(), x]) == 4 * 5 * 3
    assert saved_bytes(forward, [*layer.parameters()]) == 4 * (5 * 3 + 5 * 4)


def test_the_plain_network_is_ours():
    ours = our_network("paper", **SMOKE)
    images = torch.rand(2, 3, 17, 13)
    with torch.no_grad():
        torch.testing.assert_close(plain_network(ours)(images), ours(images), rtol=1e-4, atol=1e-5)


def test_the_bias_free_plain_network_is_ours():
    ours = our_network("tiny", **SMOKE)
    images = torch.rand(1, 3, 9, 16)
    with torch.no_grad():
        torch.testing.assert_close(plain_network(ours)(images), ours(images), rtol=1e-4, atol=1e-5)


def test_every_operator_has_a_benchmark():
    from adair_core import ops

    assert set(ops.__all__) <= set(OPERATORS)
