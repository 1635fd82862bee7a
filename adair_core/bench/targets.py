"""What the project promises about its speed, and whether a run kept it.

Each target is a ratio inside one run with two figures: what must be reached, and what we are after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from adair_core.bench.case import EAGER, OURS, PEFT, STOCK, TORCH, Case
from adair_core.bench.cases import cases
from adair_core.bench.cases.adapters import KINDS, PLAIN, with_adapter
from adair_core.bench.cases.mixed import ONE_FOR_ALL, PEFT_BATCH
from adair_core.bench.cases.training import DEPTHWISE
from adair_core.bench.report import CaseResult, Report

BEST = "best other"
ROWS = (*TORCH, STOCK, PEFT, PEFT_BATCH, OURS, ONE_FOR_ALL, DEPTHWISE, *PLAIN, *(with_adapter(kind) for kind in KINDS))
"""The competitors that the targets name, without the optional ones."""

_LARGE = ("1x48x256x256", "1x96x256x256")
_MIXED_OP = "low_rank_convolution/4x96x128x128/bfloat16"
_MIXED = ("paper", "paper bottleneck", "tiny", "tiny bottleneck")
_IMAGES = ("1x3x128x128", "1x3x256x256", "1x3x131x97")
# Deep levels, tiny images, odd sizes: where a fused kernel has the least to win.
_SMALL = (
    *("block/latent/32x32", "block/latent/9x7", "block/encoder_level3/17x13"),
    *("block/encoder_level1/131x97", "block/encoder_level1/8x8"),
)


@dataclass(frozen=True)
class Verdict:
    """One target in one run.

    Attributes:
        number: of the target.
        what: is compared, and where.
        first: what must be reached.
        second: what we are after, if it is another figure.
        value: what was measured; ``None`` if nothing was.
        at_least: whether more is better.
        note: why there is no value, how sure it is, or where it comes from.
    """

    number: int
    what: str
    first: float
    second: float | None
    value: float | None
    at_least: bool = True
    note: str = ""

    @property
    def outcome(self) -> str:
        """``"second"``, ``"first"``, ``"miss"`` or ``"not measured"``: the better figure that was reached."""
        if self.value is None:
            return "not measured"
        if self.second is not None and self._reaches(self.second):
            return "second"
        return "first" if self._reaches(self.first) else "miss"

    def _reaches(self, figure: float) -> bool:
        assert self.value is not None
        return self.value >= figure if self.at_least else self.value <= figure


HEADINGS = ("target", "what", "first", "second", "measured", "outcome", "note")


def table(verdicts: Iterable[Verdict]) -> list[tuple[str, ...]]:
    """Rows for `HEADINGS`."""
    return [
        (
            str(verdict.number),
            verdict.what,
            _figure(verdict, verdict.first),
            "-" if verdict.second is None else _figure(verdict, verdict.second),
            "-" if verdict.value is None else f"{verdict.value:.2f}",
            verdict.outcome,
            verdict.note,
        )
        for verdict in verdicts
    ]


OUTCOMES = {
    "second": "second figure reached",
    "first": "first reached",
    "miss": "first missed",
    "not measured": "no data",
}


def summary(verdicts: Iterable[Verdict]) -> list[str]:
    """A line for each numbered target: how many of its comparisons reached which figure."""
    counts: dict[int, dict[str, int]] = {}
    for verdict in verdicts:
        of_target = counts.setdefault(verdict.number, dict.fromkeys(OUTCOMES, 0))
        of_target[verdict.outcome] += 1
    return [
        f"target {number}: " + ", ".join(f"{OUTCOMES[key]} {count}" for key, count in found.items() if count)
        for number, found in sorted(counts.items())
    ]


def needed(items: Iterable[int] = range(1, 8)) -> list[Case]:
    """The cases from which targets are judged."""
    prefixes: dict[int, tuple[str, ...]] = {
        1: tuple(
            f"op/{name}{more}/{shape}/"
            for name in ("feed_forward", "attention_branch")
            for more in ("", " forward+backward")
            for shape in _LARGE
        ),
        2: tuple(f"model/paper/{shape}/{precision}" for shape in _IMAGES for precision in ("float32", "autocast")),
        3: ("adapter/paper/1x3x128x128/", "adapter/paper PEFT/1x3x128x128/"),
        4: ("train/paper lora/",),
        5: (*(f"mixed/{network}/" for network in _MIXED), "mixed/paper PEFT/4x3x128x128/", f"op/{_MIXED_OP}"),
        6: tuple(f"{name}/" for name in _SMALL),
        7: ("train/tiny full/16x3x64x64/autocast",),
    }
    wanted = tuple(prefix for item in items for prefix in prefixes[item])
    groups = dict.fromkeys(prefix.partition("/")[0] for prefix in wanted)
    return [case for group in groups for case in cases(group) if case.name.startswith(wanted)]


def judge(report: Report) -> list[Verdict]:
    """Compare a run with the targets."""
    return [
        *_branches(report),
        *_models(report),
        *_adapters(report),
        *_training(report),
        *_mixed(report),
        *_nowhere_slower(report),
        *_throughput(report),
    ]


def speed(report: Report, name: str, other: str, *, number: int, first: float, second: float | None) -> Verdict:
    """How many times as fast adair is as a competitor, or as the best of the others, in a case."""
    what = f"{name}: {other} / {OURS}"
    case = report.case(name)
    if case is None:
        return Verdict(number, what, first, second, None, note="the case was not run")
    chosen = case.best_other() if other == BEST else other
    if chosen is None or not case.has(chosen, OURS):
        missing = OURS if not case.has(OURS) else other
        row = case.rows.get(missing)
        return Verdict(number, what, first, second, None, note=(row and row.failure) or f"no times of {missing}")
    found = case.ratio(chosen, OURS)
    note = f"95 %: {found.low:.2f} - {found.high:.2f}; {case.fraction(OURS):.0%} of the roofline"
    note += f"; the best is {chosen}" if other == BEST else ""
    return Verdict(number, what, first, second, found.value, note=_marked(case, note))


def _branches(report: Report) -> Iterator[Verdict]:
    figures = {
        "feed_forward": {EAGER: (3.0, 4.0), BEST: (2.5, 3.0)},
        "attention_branch": {EAGER: (2.0, 2.5), BEST: (1.5, 2.0)},
    }
    for name, others in figures.items():
        for more in ("", " forward+backward"):
            for shape in _LARGE:
                for precision in ("float32", "bfloat16"):
                    for other, (first, second) in others.items():
                        case = f"op/{name}{more}/{shape}/{precision}"
                        yield speed(report, case, other, number=1, first=first, second=second)


def _models(report: Report) -> Iterator[Verdict]:
    figures = {
        "float32": {EAGER: (1.5, 2.0), BEST: (1.3, 1.5), STOCK: (2.5, 3.0)},
        "autocast": {EAGER: (2.0, 4.0), BEST: (1.5, 2.5)},
    }
    for shape in _IMAGES:
        for precision, others in figures.items():
            for other, (first, second) in others.items():
                yield speed(report, f"model/paper/{shape}/{precision}", other, number=2, first=first, second=second)


def _adapters(report: Report) -> Iterator[Verdict]:
    for precision in ("float32", "autocast"):
        case = report.case(f"adapter/paper/1x3x128x128/{precision}")
        rivals = report.case(f"adapter/paper PEFT/1x3x128x128/{precision}")
        for kind in KINDS:
            row, what = with_adapter(kind), f"not merged, {precision}: {with_adapter(kind)} / {OURS}"
            allowed = 1.05 + (case.shares.get(row, 0.0) if case else 0.0)
            if case is None or not case.has(row, OURS):
                yield Verdict(3, what, allowed, None, None, at_least=False, note="the case was not run")
                continue
            note = f"{case.shares.get(row, 0.0):.1%} more operations"
            if kind == "lora" and rivals is not None and rivals.has(EAGER):
                there = [other for other in (PEFT, *PLAIN) if rivals.has(other)]
                note += "".join(f"; {other} / eager is {rivals.ratio(other, EAGER).value:.2f}" for other in there)
            found = case.ratio(row, OURS)
            note = f"95 %: {found.low:.2f} - {found.high:.2f}; {note}"
            yield Verdict(3, what, allowed, None, found.value, at_least=False, note=_marked(case, note))


def _training(report: Report) -> Iterator[Verdict]:
    for precision in ("float32", "autocast"):
        name = f"train/paper lora/1x3x128x128/{precision}"
        yield speed(report, name, EAGER, number=4, first=1.7, second=2.5)
        yield speed(report, name, BEST, number=4, first=1.3, second=1.7)
        for row, figure in ((OURS, 11.0), (DEPTHWISE, 20.0)):
            yield _kept(report.case(name), name, row, figure)


def _kept(case: CaseResult | None, name: str, row: str, figure: float) -> Verdict:
    """The activations that a training step keeps for its backward pass, a block, in elements of the block's input."""
    found = {
        key: value.saved / case.features
        for key, value in (case.rows if case else {}).items()
        if case is not None and case.features and value.saved is not None
    }
    note = f"eager keeps {found[EAGER]:.1f}" if EAGER in found else "" if case else "the case was not run"
    what = f"{name}: activations kept by {row}, in U a block"
    return Verdict(4, what, figure, None, found.get(row), at_least=False, note=note)


def _mixed(report: Report) -> Iterator[Verdict]:
    for precision, figure in (("float32", 2.0), ("autocast", 3.5)):
        for network in _MIXED:
            for side in (64, 128):
                name = f"mixed/{network}/4x3x{side}x{side}/{precision}"
                case = report.case(name)
                what = f"{name}: four adapters / one for all"
                if case is None or not case.has(OURS, ONE_FOR_ALL):
                    yield Verdict(5, what, 1.1, None, None, at_least=False, note="the case was not run")
                    continue
                found = case.ratio(OURS, ONE_FOR_ALL)
                note = _marked(case, f"95 %: {found.low:.2f} - {found.high:.2f}")
                yield Verdict(5, what, 1.1, None, found.value, at_least=False, note=note)
        for other in (PEFT, PEFT_BATCH):
            yield speed(report, f"mixed/paper PEFT/4x3x128x128/{precision}", other, number=5, first=figure, second=None)
    # Eager is a loop over the adapters, as PEFT has.
    yield speed(report, f"op/{_MIXED_OP}", EAGER, number=5, first=5.0, second=None)


def _nowhere_slower(report: Report) -> Iterator[Verdict]:
    found: list[tuple[float, CaseResult, str]] = []
    for case in report.cases:
        best = case.best_other()
        if case.group in ("block", "model", "op") and best is not None and case.has(OURS):
            found.append((case.ratio(best, OURS).value, case, best))
    slow = sum(value < 0.95 for value, _, _ in found)
    what = f"the worst case: {BEST} / {OURS}"
    if not found:
        yield Verdict(6, what, 0.95, None, None, note="no cases were run")
        return
    value, case, best = min(found, key=lambda entry: entry[0])
    note = _marked(case, f"{case.name} against {best}; below 0.95 in {slow} of {len(found)} cases")
    yield Verdict(6, what, 0.95, None, value, note=note)


def _throughput(report: Report) -> Iterator[Verdict]:
    name = "train/tiny full/16x3x64x64/autocast"
    verdict = speed(report, name, STOCK, number=7, first=2.5, second=4.0)
    case = report.case(name)
    if case is not None and case.has(OURS):
        rate = f"{case.images / case.rows[OURS].median:.1f} patches a second"
        verdict = Verdict(7, verdict.what, 2.5, 4.0, verdict.value, note=f"{rate}; {verdict.note}")
    yield verdict


def _marked(case: CaseResult, note: str) -> str:
    return f"{note}; DISTURBED by other programs".removeprefix("; ") if case.disturbed else note


def _figure(verdict: Verdict, figure: float) -> str:
    return f"{'>=' if verdict.at_least else '<='} {figure:.2f}"
