from __future__ import annotations

import pytest

from adair_core import errors
from adair_core.errors import AdairError, UnknownNameError, expected, listing


def test_all_are_adair_errors_with_an_exit_code():
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)]
    assert len(classes) > 8
    for error in classes:
        assert issubclass(error, AdairError)
        assert error.exit_code in (1, 2, 130)
        assert error.__doc__


@pytest.mark.parametrize(
    ("name", "code"),
    [("UsageError", 2), ("UnknownNameError", 2), ("DataError", 1), ("WeightsError", 1), ("Interrupted", 130)],
)
def test_exit_codes(name, code):
    assert getattr(errors, name).exit_code == code


def test_unknown_name_in_the_designed_form():
    error = UnknownNameError("task", "denois", ["denoise", "derain"], failed_plugins=1)
    assert str(error) == (
        "unknown task 'denois'; did you mean 'denoise'? known: denoise, derain; "
        "1 plugin failed to load, see 'adair plugins'"
    )


def test_unknown_name_without_anything_near():
    assert str(UnknownNameError("task", "xyz", ["denoise"])) == "unknown task 'xyz'; known: denoise"
    assert str(UnknownNameError("task", "xyz", [])) == "unknown task 'xyz'; known: none"


def test_expected_and_listing():
    assert expected("rank", expected="1 or more", got=0) == "rank: expected 1 or more, got 0"
    assert expected("rank", expected="1 or more", got=0, hint="try 8").endswith("got 0; try 8")
    assert listing([]) == ""
    assert listing(["a", "b"]) == "a, b"
    assert listing(list("abcdefg"), limit=3) == "a, b, c and 4 more"
