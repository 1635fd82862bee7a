"""The HTML page: complete in itself, escaped, with the numbers of the comparison."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_up_reports import comparison, report
from PIL import Image

from adair_core.errors import UsageError
from adair_core.evaluation import Comparison, write
from adair_core.evaluation.embedded import SIDES, crop, crops_within
from adair_core.evaluation.examples import Choice, Example, Panel
from adair_core.evaluation.markdown import markdown
from adair_core.evaluation.page import page
from adair_core.evaluation.plots import image_plot, interval_plot

VOID = {"meta", "img", "br", "link", "input", "hr"}
HOSTILE = '<script>alert("1")</script>&\'x.png'


class Page(HTMLParser):
    """A page's elements and texts; refuses elements that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text[self.open[-1] if self.open else ""] = self.text.get(self.open[-1] if self.open else "", "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def example(height: int = 90, width: int = 120, *, image: str = "0.png", centre: tuple[int, int] = (45, 60)) -> Example:
    generator = np.random.default_rng(0)
    panels = [
        Panel(name, generator.integers(0, 256, (height, width, 3), dtype=np.uint8), values)
        for name, values in (("input", {"psnr": 20.0}), ("a", {"psnr": 30.0}), ("b", {"psnr": 31.0}), ("target", {}))
    ]
    return Example(Choice("only", image, 0, "the median image"), tuple(panels), centre)


def decoded(uri: str) -> np.ndarray:
    kind, _, data = uri.partition(";base64,")
    assert kind == "data:image/webp"
    with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
        return np.asarray(image)


@pytest.fixture
def found() -> Comparison:
    return comparison([30, 20, 25, 28.5], [31, 20.5, 24, 28.25])


def test_nothing_comes_from_elsewhere(found: Comparison) -> None:
    read = Page(page(found, [example()]))
    assert not read.all("link")
    for _, attributes in read.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster", "background"):
            assert attributes.get(name) is None or attributes[name].startswith("data:image/")
        assert not any(name.startswith("on") for name in attributes)
    [policy] = [each["content"] for each in read.all("meta") if "http-equiv" in each]
    assert policy.startswith("default-src 'none'; img-src data:;")
    for text in (read.text["style"], read.text["script"]):
        assert not re.search(r"https?:|//[a-z]|url\(|@import|fetch|XMLHttp|import\(", text.replace("// ", ""))


def test_pictures_decode_to_the_pixels_that_were_measured(found: Comparison) -> None:
    shown = example()
    read = Page(page(found, [shown]))
    images = read.all("img")
    assert len(images) == 5
    assert all(image["alt"] for image in images)
    for image, panel in zip(images[1:], shown.panels, strict=True):
        np.testing.assert_array_equal(decoded(image["src"]), panel.pixels)
        assert image["alt"].startswith(f"{panel.name}: part of 0.png, only")


def test_names_are_escaped_everywhere() -> None:
    reports = {
        name: report([30, 20], names=[HOSTILE, "b.png"], note=HOSTILE) for name in ("a", "<b onclick=x>", "c\" d='")
    }
    hostile = Comparison(reports=reports)
    read = Page(page(hostile, [example(image=HOSTILE)]))
    assert len(read.all("script")) == 2
    assert not [attributes for attributes in read.all("b") if attributes]
    assert HOSTILE in read.text["td"]
    assert HOSTILE in read.text["h3"]
    assert json.loads(read.text["script"].partition('"use strict"')[0])["reports"]["a"]["rows"][0]["image"] == HOSTILE


def test_numbers_are_those_of_the_json(found: Comparison) -> None:
    read = Page(page(found))
    document = json.loads(read.text["script"].partition('"use strict"')[0])
    assert document == json.loads(found.to_json())
    mean = document["differences"][0]["found"]["statistic"]["mean"]
    assert f"{mean:+.2f}" in read.text["td"]
    keys = [cell["data-key"] for cell in read.all("td") if "data-key" in cell]
    rows = document["reports"]["b"]["rows"]
    assert [float(key) for key in keys[3::4]] == [row["restored"]["psnr"] for row in rows]


def test_what_is_not_finite_is_shown_and_sorted_last() -> None:
    odd = comparison([30, math.inf, math.nan], [31, math.inf, 20])
    read = Page(page(odd))
    keys = [cell["data-key"] for cell in read.all("td") if "data-key" in cell]
    assert keys[2::4] == ["30.0", "Infinity", ""]
    assert "NaN" not in "".join(keys)


def test_ground_truth_mean_is_a_warning_on_the_page_and_in_markdown() -> None:
    marked = Comparison(reports={name: report([30, 20], ground_truth_mean=True) for name in "ab"})
    assert "Not comparable" in Page(page(marked)).text["strong"]
    assert "with ground-truth mean: each result was scaled" in markdown(marked)
    assert "Not comparable" not in page(comparison([30], [31]))


def test_plots_have_a_dot_for_every_image_and_an_interval_for_every_pair(found: Comparison) -> None:
    dots = Page(image_plot(found, "psnr", "only"))
    assert len(dots.all("circle")) == 4 + 1  # and one in the legend
    assert "1.png, b: +0.50" in dots.text["title"]
    heights = [float(each["cy"]) for each in dots.all("circle")[:4]]
    assert heights == sorted(heights, reverse=True)
    intervals = Page(interval_plot(found, "psnr"))
    assert len(intervals.all("circle")) == 1
    assert intervals.all("svg")[0]["role"] == "img"
    assert intervals.all("svg")[0]["aria-label"]


@pytest.mark.parametrize(
    "values", [([30, 20], [30, 20]), ([math.inf], [math.inf]), ([math.nan], [1]), ([1e-9], [2e-9]), ([1e9], [3e9])]
)
def test_plots_of_nothing_and_of_extremes(values: tuple[list[float], list[float]]) -> None:
    odd = comparison(*values)
    for plot in (interval_plot(odd, "psnr"), image_plot(odd, "psnr", "only")):
        assert "nan" not in plot
        assert "inf" not in plot


def test_crops_stay_inside_and_show_where_they_are() -> None:
    cut = crop(example(centre=(2, 118)), 64)
    left, top, width, height = cut.box
    assert (left, top) == (100 * 56 / 120, 0)
    assert cut.focus == (62 / 64, 2 / 64)
    assert (width, height) == (100 * 64 / 120, 100 * 64 / 90)
    np.testing.assert_array_equal(decoded(cut.pictures[0].uri), cut.example.panels[0].pixels[:64, 56:])
    assert crop(example(), 384).size == (120, 90)


def test_pictures_fit_into_the_budget() -> None:
    many = [example(200, 200, image=f"{index}.png", centre=(100, 100)) for index in range(2)]
    whole = crops_within(many, budget=10**9)
    assert whole[0].size == (200, 200)
    fitting = crops_within(many, budget=500_000)
    assert len(fitting) == 2
    assert sum(len(picture.uri) for each in fitting for picture in each.pictures) <= 500_000
    assert fitting[0].size[0] < 200
    assert fitting[0].size[0] in SIDES
    few = crops_within(many, budget=120_000)
    assert len(few) == 1
    assert "1 more did not fit" in page(comparison([30, 20], [31, 21]), many, budget=120_000)
    assert crops_within([]) == []


def test_markdown_escapes_what_would_be_markup(found: Comparison) -> None:
    text = markdown(Comparison(reports={"a|b": found.reports["a"], "*c*": found.reports["b"]}))
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in tables[:4]} == {4}
    assert r"\*c\*" in text
    assert "\\[" not in text  # an interval, which some readers would take for a formula
    assert r"[x]\(y)" in markdown(Comparison(reports={"a": found.reports["a"], "[x](y)": found.reports["b"]}))
    assert '"crop": 0' in text


def test_a_folder_gets_every_kind(tmp_path: Path, found: Comparison) -> None:
    files = write(found, tmp_path / "results", [example()])
    assert {file.name for file in files} == {"report.json", "images.csv", "differences.csv", "report.md", "report.html"}
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == sorted(file.name for file in files)
    assert Comparison.from_json((tmp_path / "results" / "report.json").read_text()) == found
    single = write(report([30, 20]), tmp_path / "one")
    assert {file.name for file in single} == {"report.json", "images.csv", "report.md", "report.html"}
    assert "Differences from input" in (tmp_path / "one" / "report.html").read_text()


@pytest.mark.parametrize(
    ("name", "start"),
    [("x.html", "<!doctype html>"), ("x.md", "# made-up"), ("x.csv", "condition,"), ("x.JSON", "{\n")],
)
def test_a_files_ending_says_its_kind(tmp_path: Path, found: Comparison, name: str, start: str) -> None:
    assert write(found, tmp_path / name) == [tmp_path / name]
    assert (tmp_path / name).read_text().startswith(start)


def test_other_endings(tmp_path: Path, found: Comparison) -> None:
    with pytest.raises(UsageError, match=r"a folder, or a file name in \.html, \.md, \.csv, \.json, got .*x\.pdf"):
        write(found, tmp_path / "x.pdf")
    assert (tmp_path / "strength-0.5" / "report.md") in write(found, tmp_path / "strength-0.5")
