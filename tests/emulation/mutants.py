"""Kernels with one fault each: a changed copy of csrc, built like the original."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import emulator


@dataclass(frozen=True)
class Mutation:
    """One fault.

    Attributes:
        file: below csrc.
        old: a text in it.
        new: what stands there instead.
        place: which of the occurrences of `old`, counted from 0.
    """

    file: str
    old: str
    new: str
    place: int = 0

    @property
    def name(self) -> str:
        """For the test's name."""
        return f"{self.file}: {self.old} -> {self.new or 'nothing'}"


def mutant(operator: str, mutation: Mutation, folder: Path, *, float_only: bool = True) -> Path:
    """The library of an operator with the fault; only float32 compiles in a third of the time."""
    copy = folder / "csrc"
    shutil.copytree(emulator.CSRC, copy, ignore=shutil.ignore_patterns("*.cpp", "*.cu"))
    changed = copy / mutation.file
    before, *after = changed.read_text().split(mutation.old)
    assert len(after) > mutation.place, f"{mutation.file} has no {mutation.old!r} any more: bring this test up to date"
    texts = [mutation.old] * len(after)
    texts[mutation.place] = mutation.new
    changed.write_text(before + "".join(text + part for text, part in zip(texts, after, strict=True)))
    return emulator.library(operator, copy, float_only=float_only)
