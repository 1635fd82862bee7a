"""Kernels and launchers with one fault each: a changed copy of csrc, built like the original."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import emulator
import pytest


@dataclass(frozen=True)
class Mutation:
    """One fault.

    Attributes:
        file: below csrc.
        old: a text in it.
        new: what stands there instead.
        place: which of the occurrences of `old`, counted from 0.
        compiles: false where it is the compiler that has to see it.
    """

    file: str
    old: str
    new: str
    place: int = 0
    compiles: bool = True

    @property
    def name(self) -> str:
        """For the test's name."""
        return f"{self.file}: {self.old} -> {self.new or 'nothing'}"


def mutant(operator: str, mutation: Mutation, folder: Path, *, float_only: bool = True) -> emulator.Library:
    """The library of an operator with the fault; only float32 compiles in a third of the time."""
    copy = folder / "csrc"
    shutil.copytree(emulator.CSRC, copy)
    changed = copy / mutation.file
    before, *after = changed.read_text().split(mutation.old)
    assert len(after) > mutation.place, f"{mutation.file} has no {mutation.old!r} any more: bring this test up to date"
    texts = [mutation.old] * len(after)
    texts[mutation.place] = mutation.new
    changed.write_text(before + "".join(text + part for text, part in zip(texts, after, strict=True)))
    return emulator.library(operator, copy, float_only=float_only)


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
