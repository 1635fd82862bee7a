"""The CUDA kernels of the attention across channels against the reference in float64."""

from __future__ import annotations

from collections.abc import Collection

import emulator
import pytest
import torch
from checks import TOLERANCES, choices, double, each_dtype, normal, require_close, run
from emulator import Library
from torch import Tensor
from torch.nn import functional

from adair_core.ops.channel_attention import reference

# Batch, channels, height, width, heads: vectors and single values, more than a tile of rows, of pixels, of columns;
# several images and heads of more pixels than a part has.
SIZES = [(2, 6, 5, 7, 3), (1, 48, 9, 17, 1), (2, 16, 3, 46, 2), (1, 70, 1, 3, 1), (1, 1, 1, 1, 1), (2, 4, 17, 18, 2)]


def pixels(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous()


OPTIONAL = ("out_weight", "out_bias", "base")  # of the attention branch


def check(built: Library, size: tuple[int, ...], dtype: torch.dtype, without: Collection[str] = ()) -> None:
    """Forward and backward; what is left out is of `OPTIONAL`, or a gradient."""
    batch, channels, height, width, heads = size
    shape, tolerance = (batch, channels, height, width), TOLERANCES[dtype]
    qkv = normal(batch, 3 * channels, height, width, dtype=dtype)
    temperature = normal(heads, 1, 1, seed=1) + 2
    out_weight = normal(channels, channels, seed=2, scale=channels**-0.5).to(dtype).float()
    out_bias, base = normal(channels, seed=3).to(dtype).float(), normal(*shape, dtype=dtype, seed=4)
    given = {"out_weight": out_weight, "out_bias": out_bias, "base": base}
    out_weight, out_bias, base = (None if name in without else value for name, value in given.items())
    per_head = channels // heads
    y, cosines = torch.empty_like(pixels(qkv[:, :channels])), torch.empty(batch, heads, per_head, per_head)
    lengths = torch.empty(2, batch, heads, per_head)
    inputs = {"qkv": pixels(qkv), "temperature": temperature, "out_weight": out_weight}
    added = {"out_bias": out_bias, "base": None if base is None else pixels(base)}
    run(built, "channel_attention", **inputs, **added, y=y, cosines=cosines, lengths=lengths)

    truth, wide_cosines, wide_lengths = reference.channel_attention(qkv.double(), temperature.double(), heads)
    if out_weight is not None:
        truth = functional.conv2d(truth, double(out_weight)[..., None, None])
    for value in (None if out_bias is None else out_bias[:, None, None], base):
        truth = truth if value is None else truth + value.double()
    # The attention, or its product with the projection, is rounded before it is used, and averages values that cancel.
    require_close(y.permute(0, 3, 1, 2), truth, 2.5 * tolerance, "y")
    require_close(lengths, wide_lengths, 2e-6, "lengths")
    # Sums of products that cancel: their error is that of the products.
    require_close(cosines, wide_cosines, 1e-5, "cosines")

    gradient = normal(*shape, dtype=dtype, seed=5)
    inputs |= {"gradient": pixels(gradient), "cosines": cosines, "lengths": lengths}
    outputs = {"to_qkv": torch.empty_like(pixels(qkv)), "to_temperature": torch.empty_like(temperature)}
    outputs["to_out_weight"] = None if out_weight is None else torch.empty_like(out_weight)
    outputs = {name: None if name in without else value for name, value in outputs.items()}
    run(built, "channel_attention_backward", **inputs, **outputs)
    wide = gradient.double()
    if out_weight is not None:
        attended = reference.channel_attention(qkv.double(), temperature.double(), heads)[0]
        to_out = torch.einsum("bohw,bihw->oi", wide, attended)
        wide = torch.einsum("oi,bohw->bihw", out_weight.double(), wide)
        if outputs["to_out_weight"] is not None:
            require_close(outputs["to_out_weight"], to_out, 2e-5, "to_out_weight")
    expected = reference.channel_attention_backward(
        wide, qkv.double(), temperature.double(), wide_cosines, wide_lengths
    )
    # The matrices of the gradients are rounded; those of q and k are differences.
    if outputs["to_qkv"] is not None:
        require_close(outputs["to_qkv"].permute(0, 3, 1, 2), expected[0], 2.5 * tolerance, "to_qkv")
    if outputs["to_temperature"] is not None:
        require_close(outputs["to_temperature"], expected[1], 2e-5, "to_temperature")


@each_dtype
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("without", [OPTIONAL, ()], ids=["plain", "projected"])
def test_channel_attention_equals_the_reference(size, dtype: torch.dtype, without: Collection[str]) -> None:
    check(emulator.library("channel_attention"), size, dtype, without)


def check_wide_heads(built: Library, dtype: torch.dtype) -> None:
    """Several heads, each of more channels than a tile has."""
    check(built, (1, 132, 1, 3, 2), dtype, OPTIONAL)


@each_dtype
def test_wide_heads(dtype: torch.dtype) -> None:
    check_wide_heads(emulator.library("channel_attention"), dtype)


def check_choices(built: Library) -> None:
    for without in choices(OPTIONAL, "to_qkv", "to_temperature", "to_out_weight"):
        check(built, (2, 6, 3, 4, 2), torch.float32, without)


def test_any_choice_of_tensors() -> None:
    check_choices(emulator.library("channel_attention", only=torch.float32))


def test_a_row_of_zeros_has_the_shortest_length() -> None:
    built = emulator.library("channel_attention")
    qkv, temperature, gradient = normal(1, 12, 3, 5), torch.ones(1, 1, 1), normal(1, 4, 3, 5, seed=1)
    qkv[:, [0, 6]] = 0  # a query and a key
    y, cosines, lengths = torch.empty(1, 3, 5, 4), torch.empty(1, 1, 4, 4), torch.empty(2, 1, 1, 4)
    inputs = {"qkv": pixels(qkv), "temperature": temperature, "out_weight": None}
    statistics = {"cosines": cosines, "lengths": lengths}
    run(built, "channel_attention", **inputs, out_bias=None, base=None, y=y, **statistics)
    truth = reference.channel_attention(qkv.double(), temperature.double(), 1)
    require_close(y.permute(0, 3, 1, 2), truth[0], 1e-5, "y")
    require_close(lengths, truth[2], 2e-6, "lengths")
    outputs = {"to_qkv": (to_qkv := torch.empty(1, 3, 5, 12)), "to_temperature": None, "to_out_weight": None}
    run(built, "channel_attention_backward", gradient=pixels(gradient), **inputs, **statistics, **outputs)
    arguments = (gradient.double(), qkv.double(), temperature.double(), *truth[1:])
    expected = reference.channel_attention_backward(*arguments)[0]
    # Their own gradients are larger than the others by the ratio of the lengths.
    short = torch.zeros(12, dtype=torch.bool).index_fill(0, torch.tensor([0, 6]), True)
    for chosen in (short, ~short):
        require_close(to_qkv.permute(0, 3, 1, 2)[:, chosen], expected[:, chosen], 1e-5, "to_qkv")


def queries_and_keys(
    built: Library, qkv: Tensor, gradient: Tensor, dtype: torch.dtype, truth: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """The gradients of q and k of one head, and what they should be, given the reference's result in float64."""
    inputs = {"qkv": pixels(qkv), "gradient": pixels(gradient), "temperature": torch.ones(1, 1, 1), "out_weight": None}
    statistics = {"cosines": truth[1].float(), "lengths": truth[2].float()}
    outputs = {"to_qkv": (to_qkv := torch.empty_like(pixels(qkv))), "to_temperature": None, "to_out_weight": None}
    run(built, "channel_attention_backward", **inputs, **statistics, **outputs)
    assert to_qkv.dtype == dtype
    arguments = (gradient.double(), qkv.double(), torch.ones(1, 1, 1).double(), *truth[1:])
    expected = reference.channel_attention_backward(*arguments)[0]
    both = qkv.shape[1] // 3 * 2
    return to_qkv.permute(0, 3, 1, 2)[:, :both], expected[:, :both]


def check_long_rows(built: Library) -> None:
    """Rows as long as those of many pixels: dS / (|q| |k|) has a few bits in float16, but nothing else has."""
    dtype = torch.float16
    qkv, gradient = normal(1, 48, 9, 17, dtype=dtype), normal(1, 16, 9, 17, seed=1, scale=0.05, dtype=dtype)
    qkv[:, :32] *= 40
    truth = reference.channel_attention(qkv.double(), torch.ones(1, 1, 1).double(), 1)
    assert truth[2].min() > 300
    found, expected = queries_and_keys(built, qkv, gradient, dtype, truth)
    # The results themselves may be below 2**-14, under which float16 has steps of 2**-24.
    assert (found - expected).norm() <= 2.5 * 2**-11 * expected.norm() + 2**-25 * expected.numel() ** 0.5


def test_long_rows() -> None:
    check_long_rows(emulator.library("channel_attention", only=torch.float16))


def check_zeros_in_float16(built: Library) -> None:
    """The gradients of a row of zeros are more than float16 holds: they are 0, and all others what they are."""
    dtype = torch.float16
    qkv, gradient = normal(1, 12, 3, 5, dtype=dtype), normal(1, 4, 3, 5, seed=1, dtype=dtype)
    qkv[:, [0, 6]] = 0  # a query and a key
    truth = reference.channel_attention(qkv.double(), torch.ones(1, 1, 1).double(), 1)
    found, expected = queries_and_keys(built, qkv, gradient, dtype, truth)
    assert not found[:, [0, 6]].any()
    rest = [1, 2, 3, 4, 5, 7]
    require_close(found[:, rest], expected[:, rest], 2.5 * TOLERANCES[dtype], "to_qkv")


def test_zeros_in_float16() -> None:
    check_zeros_in_float16(emulator.library("channel_attention", only=torch.float16))


def check_high_temperature(built: Library) -> None:
    """Powers that float32 does not have: a softmax has to subtract its largest exponent."""
    batch, channels, heads = 2, 70, 1  # more columns than lanes
    q, v = normal(batch, channels, 3, 5), normal(batch, channels, 3, 5, seed=1)
    qkv = torch.cat([q, q + normal(batch, channels, 3, 5, seed=2, scale=0.3), v], 1)
    for temperature in (torch.full((1, 1, 1), 200.0), torch.full((1, 1, 1), -200.0)):
        y, cosines = torch.empty(batch, 3, 5, channels), torch.empty(batch, 1, channels, channels)
        lengths = torch.empty(2, batch, 1, channels)
        inputs = {"qkv": pixels(qkv), "temperature": temperature, "out_weight": None, "out_bias": None, "base": None}
        run(built, "channel_attention", **inputs, y=y, cosines=cosines, lengths=lengths)
        truth, wide, _ = reference.channel_attention(qkv.double(), temperature.double(), heads)
        assert float((wide * temperature).max()) > 100  # exp(89) is more than float32 has
        # An exponent has the error of a cosine, 200 times.
        require_close(y.permute(0, 3, 1, 2), truth, 200 * 1e-6, "y")


def test_a_high_temperature() -> None:
    check_high_temperature(emulator.library("channel_attention"))


def check_no_drift(built: Library) -> None:
    """Sums over many pixels of one sign, which tensor cores would cut off at each step, are those of float32."""
    qkv = normal(1, 12, 32, 32).abs() + 0.5
    y, cosines, lengths = torch.empty(1, 32, 32, 4), torch.empty(1, 1, 4, 4), torch.empty(2, 1, 1, 4)
    inputs = {"qkv": pixels(qkv), "temperature": torch.ones(1, 1, 1), "out_weight": None, "out_bias": None}
    run(built, "channel_attention", **inputs, base=None, y=y, cosines=cosines, lengths=lengths)
    truth = reference.channel_attention(qkv.double(), torch.ones(1, 1, 1).double(), 1)
    require_close(cosines, truth[1], 5e-7, "drift of cosines")


def test_no_drift() -> None:
    check_no_drift(emulator.library("channel_attention"))


def check_nan_stays(built: Library) -> None:
    """A query that is not finite is so in all that comes of it, and in nothing else."""
    qkv, temperature = normal(1, 12, 3, 5), torch.ones(1, 1, 1)
    qkv[0, 1, 2, 3] = torch.nan
    y, cosines, lengths = torch.empty(1, 3, 5, 4), torch.empty(1, 1, 4, 4), torch.empty(2, 1, 1, 4)
    inputs = {"qkv": pixels(qkv), "temperature": temperature, "out_weight": None, "out_bias": None, "base": None}
    run(built, "channel_attention", **inputs, y=y, cosines=cosines, lengths=lengths)
    truth = reference.channel_attention(qkv.double(), temperature.double(), 1)
    for found, expected in zip((y.permute(0, 3, 1, 2), cosines, lengths), truth, strict=True):
        assert expected.isnan().any(), "the reference has lost it"
        assert torch.equal(found.isnan(), expected.isnan()), "NaN is elsewhere"


def test_nan_stays() -> None:
    check_nan_stays(emulator.library("channel_attention", only=torch.float32))
