"""What is measured: a file for each group of cases."""

from __future__ import annotations

from adair_core.bench.case import Case, Size
from adair_core.bench.cases import adapters, blocks, mixed, models, operators, training
from adair_core.errors import UnknownNameError

GROUPS = {
    "op": operators.cases,
    "block": blocks.cases,
    "model": models.cases,
    "adapter": adapters.cases,
    "train": training.cases,
    "mixed": mixed.cases,
}


def cases(group: str, size: Size = "full") -> list[Case]:
    """List the cases of a group.

    Args:
        group: a name in `GROUPS`.
        size: how large the images are.

    Raises:
        UnknownNameError: there is no such group.
    """
    if group not in GROUPS:
        raise UnknownNameError("benchmark group", group, GROUPS)
    return GROUPS[group](size)


def case_named(name: str, size: Size) -> Case:
    """Find a case by `Case.name`.

    Raises:
        UnknownNameError: there is none of that name.
    """
    found = {case.name: case for case in cases(name.partition("/")[0], size)}
    if name not in found:
        raise UnknownNameError("benchmark case", name, found)
    return found[name]
