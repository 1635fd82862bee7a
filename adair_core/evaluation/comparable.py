"""Whether reports may be compared at all."""

from __future__ import annotations

from collections.abc import Mapping

from adair_core.errors import UsageError, expected, listing
from adair_core.evaluation.report import Report

DECIDING = ("conditions", "color", "crop", "quantize", "multiple_of", "seed", "generator", "ground_truth_mean")
"""The fields of a protocol that change numbers."""


def require_comparable(reports: Mapping[str, Report]) -> None:
    """Refuse reports whose numbers differ for other reasons than the restoration.

    Raises:
        UsageError: there are less than two; protocols, images or their pixels differ; they share no metric.
    """
    if len(reports) < 2:
        raise UsageError(expected("comparison", expected="at least two candidates", got=len(reports)))
    (first_name, first), *others = reports.items()
    for name, report in others:
        both = f"{first_name} and {name} cannot be compared"
        _require_same_protocol(both, first, report)
        _require_same_images(both, first, report)
    if not set.intersection(*(set(report.metrics) for report in reports.values())):
        found = "; ".join(f"{name}: {', '.join(report.metrics)}" for name, report in reports.items())
        raise UsageError(f"the candidates share no metric ({found}); evaluate them with the same --metric")


def _require_same_protocol(both: str, first: Report, other: Report) -> None:
    differing = [
        f"{field} is {_shown(first, field)} and {_shown(other, field)}"
        for field in DECIDING
        if getattr(first.protocol, field) != getattr(other.protocol, field)
    ]
    if differing:
        raise UsageError(f"{both}: their protocols differ: {'; '.join(differing)}; evaluate both by one protocol")


def _shown(report: Report, field: str) -> object:
    if field != "conditions":
        return getattr(report.protocol, field)
    return listing([f"{each.label} {each.degradation or ''}".strip() for each in report.protocol.conditions])


def _require_same_images(both: str, first: Report, other: Report) -> None:
    if not first.images or not other.images:
        raise UsageError(
            f"{both}: checksums of the images are missing, as in results of earlier versions; evaluate them again"
        )
    advice = "evaluate both on the same images"
    mine, theirs = ([image.name for image in report.images] for report in (first, other))
    if mine != theirs:
        alone = [name for name in mine if name not in theirs] + [name for name in theirs if name not in mine]
        what = f"only one of them has {listing(alone)}" if alone else "the order differs, and with it the noise"
        raise UsageError(f"{both}: they are of {len(mine)} and {len(theirs)} images; {what}; {advice}")
    if first.scene != other.scene:
        counted = " and ".join("images" if each.scene is None else f"--scene {each.scene}" for each in (first, other))
        raise UsageError(f"{both}: their intervals count {counted}; give --scene for both")
    changed = [one.name for one, two in zip(first.images, other.images, strict=True) if one != two]
    if changed:
        raise UsageError(f"{both}: the pixels of {listing(changed)} differ (checksums); {advice}")
    if [(row.condition, row.image) for row in first.rows] != [(row.condition, row.image) for row in other.rows]:
        raise UsageError(f"{both}: their rows differ; {advice}")
