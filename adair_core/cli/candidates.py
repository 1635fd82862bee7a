"""What ``adair evaluate --compare`` takes: candidates by name, adapter, strength, or saved results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adair_core.cli.choices import weights_spec
from adair_core.cli.models import base_of_adapter
from adair_core.errors import UsageError, expected, listing

INPUT, FROZEN = "input", "frozen"
_NAMED = re.compile(r"([\w.+ -]+)=(.+)", re.DOTALL)
_STRENGTH = re.compile(r"(.+):(\d+\.?\d*|\.\d+)", re.DOTALL)


@dataclass(frozen=True)
class Candidate:
    """Something that restores.

    Attributes:
        name: in the reports.
        what: ``input``, ``frozen``, a base, an adapter or a folder of restored images; or the file of a saved result.
        strength: out = in + strength * (restored - in).
    """

    name: str
    what: str
    strength: float = 1.0

    @property
    def is_saved(self) -> bool:
        """Whether it is a result of an earlier run."""
        return _is_saved(self.what)

    @property
    def is_base(self) -> bool:
        """Whether it is a base that restores alone."""
        spec = weights_spec(self.what)
        return spec.kind == "base" if spec is not None else self.what.endswith(".safetensors")

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of images that something else restored."""
        folder = Path(self.what)
        own = any((folder / name).exists() for name in ("adapter_config.json", "recipe.json"))
        return weights_spec(self.what) is None and folder.is_dir() and not own


def parse_candidates(texts: Sequence[str]) -> list[Candidate]:
    """Read ``[NAME=]WHAT[:STRENGTH]``.

    Without a name, a candidate is called by the end of its path, as much of it as tells it from the others.

    Raises:
        UsageError: there are less than two (but for a saved comparison), two of them are the same, or there is a
            strength for results that are made already.
    """
    parts = [_parts(text) for text in texts]
    if len(parts) < 2 and not all(_is_saved(what) for _, what, _ in parts):
        kinds = "an adapter, a base, a folder of restored images, or saved results (.json)"
        wanted = f"two or more of: {INPUT}, {FROZEN}, {kinds}"
        raise UsageError(expected("--compare", expected=wanted, got=listing(texts) or "none"))
    short = _short_names([what for name, what, _ in parts if not name])
    candidates = []
    for name, what, strength in parts:
        own = name or (short[what] if strength == 1 else f"{short[what]}:{strength:g}")
        candidate = Candidate(own, what, strength)
        if strength != 1 and (candidate.is_saved or candidate.is_folder):
            got = f"{strength:g} for {what}, whose results are made already"
            raise UsageError(expected("--compare", expected="a strength for what restores here", got=got))
        candidates.append(candidate)
    names = [candidate.name for candidate in candidates]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            expected(
                "--compare", expected="different candidates", got=f"{twice[0]!r} twice", hint="name them: NAME=WHAT"
            )
        )
    return candidates


def saved_files(candidates: Sequence[Candidate], given: Mapping[str, Any]) -> dict[str, Path]:
    """The files, if the candidates are saved results.

    Args:
        candidates: what was typed.
        given: options that were given -> their values; saved results take none of them.

    Returns:
        Name -> file; empty if no candidate is a saved result.

    Raises:
        UsageError: some are and some are not, or there are options that do not apply.
    """
    saved = [candidate for candidate in candidates if candidate.is_saved]
    if not saved:
        return {}
    if len(saved) < len(candidates):
        other = next(candidate.what for candidate in candidates if not candidate.is_saved)
        raise UsageError(
            expected("--compare", expected="saved results only, or none", got=f"{saved[0].what} and {other}")
            + f"; measure {other} with --report FILE.json first"
        )
    if given:
        raise UsageError(f"{next(iter(given))}: saved results bring their protocol and images with them; leave it out")
    return {candidate.name: Path(candidate.what) for candidate in candidates}


def frozen_base(candidates: Sequence[Candidate], given: str | None) -> str | None:
    """The base that ``frozen`` means: that of ``--base``, or of the adapters beside it.

    Returns:
        ``None`` if nothing says which: the default base.

    Raises:
        UsageError: the adapters were trained on different bases.
    """
    if given is not None:
        return given
    adapters = [each for each in candidates if not (each.what in (INPUT, FROZEN) or each.is_base or each.is_folder)]
    bases = {base_of_adapter(each.what): each.what for each in adapters}
    bases.pop(None, None)
    if len(bases) > 1:
        found = " and ".join(f"{base} ({adapter})" for base, adapter in bases.items())
        raise UsageError(expected(FROZEN, expected="adapters of one base", got=found, hint="name the base instead"))
    return next(iter(bases), None)


def _is_saved(what: str) -> bool:
    return what.lower().endswith(".json")


def _parts(text: str) -> tuple[str, str, float]:
    named = None if Path(text).exists() else _NAMED.fullmatch(text)
    name, what = (named[1].strip(), named[2]) if named else ("", text)
    strong = None if Path(what).exists() else _STRENGTH.fullmatch(what)
    return (name, strong[1], float(strong[2])) if strong else (name, what, 1.0)


def _short_names(whats: Sequence[str]) -> dict[str, str]:
    """The last parts of each path, as many as make all of them different."""
    different = list(dict.fromkeys(whats))
    split = {
        what: Path(what).with_suffix("").parts if what.endswith(".json") else Path(what).parts for what in different
    }
    longest = max((len(parts) for parts in split.values()), default=0)
    for count in range(1, longest + 1):
        names = {what: "/".join(parts[-count:]) or what for what, parts in split.items()}
        if len(set(names.values())) == len(different):
            return names
    return {what: what for what in different}
