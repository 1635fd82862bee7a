"""A comparison as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from adair_core.evaluation.cells import mean_cell, number
from adair_core.evaluation.comparison import DIFFERENCE_HEADINGS, Comparison, difference_cells
from adair_core.evaluation.embedded import BUDGET, Crops, crops_within
from adair_core.evaluation.examples import Example
from adair_core.evaluation.plots import image_plot, interval_plot
from adair_core.evaluation.report import GROUND_TRUTH_MEAN

FIRST_VIEW = 128
"""Pixels of a picture's width that the page shows at first, around the region of interest."""


def page(comparison: Comparison, examples: Sequence[Example] = (), *, budget: int = BUDGET) -> str:
    """Write the page. All its numbers come from the comparison, which it also holds as JSON.

    Args:
        comparison: the numbers.
        examples: images to look at, of `adair_core.evaluation.examples.chosen_examples`.
        budget: bytes of all pictures; the parts that are shown get smaller until they fit.
    """
    crops = crops_within(examples, budget=budget)
    first = comparison.first
    metric = next(iter(comparison.metrics))
    plots = [(f"{first.metric_title(name)}: mean", interval_plot(comparison, name)) for name in comparison.metrics]
    plots += [
        (f"{first.metric_title(metric)}: every image, {condition}", image_plot(comparison, metric, condition))
        for condition in first.conditions
    ]
    text = (
        _environment()
        .get_template("page.html.jinja")
        .render(
            title=first.title(),
            warning=GROUND_TRUTH_MEAN if first.protocol.ground_truth_mean else "",
            remarks=[remark for remark in comparison.remarks() if remark != GROUND_TRUTH_MEAN],
            candidates=[_candidate(comparison, name) for name in comparison.candidates],
            headings=[first.metric_title(name) for name in comparison.metrics],
            means=_means(comparison),
            difference_headings=DIFFERENCE_HEADINGS[2:],
            differences=_differences(comparison),
            reference=comparison.reference,
            plots=[(caption, Markup(plot)) for caption, plot in plots if plot],  # escaped where it is drawn
            crops=[_shown(comparison, each) for each in crops],
            left_out=len(examples) - len(crops),
            image_headings=_image_headings(comparison),
            images=_images(comparison),
            facts=_facts(comparison),
            note=first.protocol.note,
            # "<" would end the element inside a string; JSON knows another way to write it.
            data=Markup(comparison.to_json().replace("<", "\\u003c")),
        )
    )
    return text + "\n"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("adair_core.evaluation", "page_parts"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["part"] = lambda name: Markup(_source(name))
    return environment


def _source(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _candidate(comparison: Comparison, name: str) -> dict[str, str]:
    restorer = comparison.reports[name].restorer
    if restorer is None or restorer.title == name:
        return {"name": name, "title": ""}
    adapters = f" ({', '.join(restorer.adapters)})" if restorer.adapters else ""
    return {"name": name, "title": restorer.title + adapters}


def _means(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {
            "condition": span,
            "rows": [
                [candidate, *(mean_cell(found, comparison.first.decimals(name)) for name, found in by_metric.items())]
                for candidate, by_metric in of_span.items()
            ],
        }
        for span, of_span in comparison.means().items()
    ]


def _differences(comparison: Comparison) -> list[dict[str, Any]]:
    """Rows by condition and metric: beside the candidates, narrow screens have room for the numbers."""
    groups: dict[str, list[list[str]]] = {}
    for pair in comparison.differences:
        condition, metric, *cells = difference_cells(comparison, pair)
        groups.setdefault(f"{condition}, {metric}", []).append(cells)
    return [{"title": title, "rows": rows} for title, rows in groups.items()]


def _image_headings(comparison: Comparison) -> list[str]:
    measured = [f"{metric}, {name}" for metric in comparison.metrics for name in comparison.candidates]
    return ["condition", "image", *measured]


def _images(comparison: Comparison) -> list[list[dict[str, str]]]:
    """A row for each image: cells with what they show and by what they are sorted."""
    decimals = {metric: comparison.first.decimals(metric) for metric in comparison.metrics}
    table = []
    for rows in zip(*(report.rows for report in comparison.reports.values()), strict=True):
        cells = [{"text": text, "key": text} for text in (rows[0].condition, rows[0].image)]
        for metric, places in decimals.items():
            values = [row.restored[metric] for row in rows]
            cells += [{"text": number(value, places), "key": _sort_key(value)} for value in values]
        table.append(cells)
    return table


def _sort_key(value: float) -> str:
    """A number as JavaScript reads it; empty for what has no place in an order."""
    if math.isnan(value):
        return ""
    return repr(value) if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


def _shown(comparison: Comparison, crops: Crops) -> dict[str, Any]:
    choice = crops.example.choice
    pictures = []
    for picture in crops.pictures:
        values = [
            f"{metric} {number(value, comparison.first.decimals(metric))}"
            for metric, value in picture.values.items()
            if metric in comparison.metrics
        ]
        alt = f"{picture.name}: part of {choice.image}, {choice.condition}" + (
            f"; {', '.join(values)}" if values else ""
        )
        pictures.append({"name": picture.name, "uri": picture.uri, "values": values, "alt": alt})
    left, top, width, height = crops.box
    return {
        "condition": choice.condition,
        "image": choice.image,
        "why": choice.why,
        "pictures": pictures,
        "overview": crops.overview,
        "box": f"left:{left:.2f}%;top:{top:.2f}%;width:{width:.2f}%;height:{height:.2f}%",
        "size": f"{crops.size[0]} / {crops.size[1]}",
        "pixels": f"{crops.size[0]} x {crops.size[1]}",
        "zoom": f"{max(1.0, crops.size[0] / FIRST_VIEW):.3f}",
        "focus": [f"{share:.4f}" for share in crops.focus],
    }


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    protocol = comparison.first.protocol
    facts = [
        ("colour space", "Y of BT.601, as MATLAB's rgb2ycbcr" if protocol.color == "y" else "RGB"),
        ("border left out", f"{protocol.crop} pixels"),
        ("rounded to 8 bits", "yes" if protocol.quantize else "no"),
        ("ground-truth mean", "yes" if protocol.ground_truth_mean else "no"),
        ("seed of the degradation", f"{protocol.seed}, {protocol.generator}"),
    ]
    if protocol.multiple_of > 1:
        facts.append(("cut to a multiple of", f"{protocol.multiple_of} pixels"))
    return facts + sorted(comparison.first.software.items())
