from __future__ import annotations

from typing import Annotated

import pytest

from adair_core import Config, Range
from adair_core.degradation import in_bounds
from adair_core.errors import UsageError
from adair_core.validation import parse_config


class Grain(Config):
    amount: Annotated[Range, in_bounds(0, 100)] = (5, 55)
    angle: Range = (0, 180)


@pytest.mark.parametrize(
    ("written", "parsed"),
    [
        ("25", (25, 25)),
        (25, (25, 25)),
        ("9, 10", (9, 10)),
        (["9", "10"], (9, 10)),  # numbers, not texts, of which "10" is the smaller
        ([7], (7, 7)),
        ("0,100", (0, 100)),
    ],
)
def test_ways_to_write_a_range(written, parsed):
    assert parse_config(Grain, {"amount": written}, what="grain").amount == parsed


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("5,3", "low <= high, got '5,3'"),
        ("-1,3", r"values in \[0, 100\], got '-1,3'"),
        ("3,101", r"values in \[0, 100\]"),
        ("many", "two numbers 'low,high', got 'many'"),
        ("1,2,3", "at most 2"),
        ("0,inf", "finite"),
        ("nan", "finite"),
    ],
)
def test_what_is_not_a_range(written, message):
    with pytest.raises(UsageError, match=message):
        parse_config(Grain, {"amount": written}, what="grain")


def test_ranges_without_bounds_are_finite_too():
    with pytest.raises(UsageError, match="finite"):
        parse_config(Grain, {"angle": "0,inf"}, what="grain")
