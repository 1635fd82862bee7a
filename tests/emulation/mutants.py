"""Kernels and launchers with one fault each: a changed copy of csrc, built like the original."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import emulator
import pytest
import torch


@dataclass(frozen=True)
class Mutation:
    """One fault.

    Attributes:
        file: below csrc.
        old: a text in it.
        new: what stands there instead.
        place: which of the occurrences of `old`, counted from 0.
        compiles: false where it is the compiler that has to see it.
        reached_by: another change, without which only sizes that no test can have would show the fault.
    """

    file: str
    old: str
    new: str
    place: int = 0
    compiles: bool = True
    reached_by: Mutation | None = None

    @property
    def name(self) -> str:
        """For the test's name."""
        return f"{self.file}: {self.old} -> {self.new or 'nothing'}"


def mutant(operator: str, mutation: Mutation, folder: Path, *, only: torch.dtype = torch.float32) -> emulator.Library:
    """The library of an operator with the fault, for one dtype: it compiles in a third of the time."""
    copy = folder / "csrc"
    shutil.copytree(emulator.CSRC, copy)
    for change in (mutation, mutation.reached_by):
        if change is not None:
            _make(change, copy)
    return emulator.library(operator, copy, only=only)


def _make(change: Mutation, csrc: Path) -> None:
    file = csrc / change.file
    before, *after = file.read_text().split(change.old)
    assert len(after) > change.place, f"{change.file} has no {change.old!r} any more: bring this test up to date"
    texts = [change.old] * len(after)
    texts[change.place] = change.new
    file.write_text(before + "".join(text + part for text, part in zip(texts, after, strict=True)))


def require_caught(
    check: Callable[[emulator.Library], None], operator: str, mutation: Mutation, message: str, folder: Path
) -> None:
    """Require that the check fails on an operator with the fault, and says so."""
    if not mutation.compiles:
        with pytest.raises(AssertionError, match=message):
            mutant(operator, mutation, folder)
        return
    built = mutant(operator, mutation, folder)
    with pytest.raises((AssertionError, pytest.fail.Exception, emulator.runner().EmulationError), match=message):
        check(built)
