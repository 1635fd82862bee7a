"""The study's page: its tables have the numbers of the runs, and its statistics are right."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from adaptation import published, study_report
from adaptation.results import Outcomes, Values, difference, mean, over_seeds

from adair_core.errors import UsageError


def outcome(method: str, values: list[float], **labels: Any) -> dict[str, Any]:
    rows = [
        {
            "condition": "c",
            "image": f"{index}",
            "input": {"psnr": 20.0, "ssim": 0.5},
            "restored": {"psnr": v, "ssim": 0.9},
        }
        for index, v in enumerate(values)
    ]
    training = {"steps": 10, "seconds": 5, "parameters": 1234, "bytes": 5000}
    return {
        "run": f"{labels.get('part', 'methods')}/{method}",
        "labels": {"part": "methods", "task": "denoise", "method": method, **labels},
        "plan": {"base": "some-base@1", "recipe": {"settings": {"steps": 1500, "patch_size": 64, "batch_size": 8}}},
        "training": None if method == "frozen base" else training,
        "measurements": {"denoise-CBSD68": {"rows": rows, "protocol": "denoise", "seconds": 1}},
    }


def cost(method: str, round_: int, seconds: float) -> dict[str, Any]:
    training = {"step_seconds": seconds, "step_waiting": 0.1, "peak_bytes": 3e8, "environment": {"threads": 1}}
    labels = {"part": "costs", "method": method, "round": round_}
    run = f"costs/{method}-round{round_}"
    return {"run": run, "labels": labels, "plan": {"base": None}, "training": training, "measurements": {}}


def rate(method: str, value: float, validated: float) -> dict[str, Any]:
    labels = {"part": "rates", "task": "derain", "method": method, "rate": value}
    training = {"steps": 10, "validation": validated}
    run = f"rates/derain/{method}-{value}"
    return {"run": run, "labels": labels, "plan": {"base": None}, "training": training, "measurements": {}}


def test_published_figures_stand_under_their_conditions(tmp_path: Path):
    found = outcome("frozen base", [25.0])
    row = found["measurements"]["denoise-CBSD68"]["rows"][0]
    found["measurements"]["denoise-CBSD68"]["rows"] = [{**row, "condition": f"sigma {s}"} for s in (15, 25, 50)]
    for document in (found, {**found, "run": "methods/full", "labels": {**found["labels"], "method": "full"}}):
        published.write(tmp_path / "study", document)
    study_report.write(tmp_path / "runs", tmp_path / "study.md")
    text = (tmp_path / "study.md").read_text()
    assert "| method | PSNR, dB | sigma 15 | sigma 25 | sigma 50 | SSIM |" in text
    assert "| base alone | 25.00 | 25.00 | 25.00 | 25.00 | 0.9000 |" in text
    assert "| *published: CBM3D* | 30.54 | 33.52 | 30.71 | 27.38 |" in text


def test_what_is_said_of_published_figures_stands_where_they_do(tmp_path: Path):
    """Those for JPEG are on classic5, and the study measures on Kodak24."""
    for task in ("denoise", "dejpeg"):
        for method in ("frozen base", "full"):
            document = outcome(method, [25.0, 26.0], task=task)
            published.write(tmp_path / "study", {**document, "run": f"{task}/{method}"})
    study_report.write(tmp_path / "runs", tmp_path / "study.md")
    text = (tmp_path / "study.md").read_text()
    assert "### JPEG, quality 10-90: Kodak24" in text
    assert "learned for days on GPUs" in text
    assert "classic5" not in text


def test_differences_are_paired():
    first, second = (Values({str(i): start + 5 * i for i in range(9)}) for start in (20.0, 19.5))
    statistic = difference(first, second)
    assert (statistic.mean, statistic.low, statistic.high) == pytest.approx((0.5, 0.5, 0.5))
    assert mean(first).high - mean(first).low > 10  # the images differ far more
    with pytest.raises(ValueError, match="same images"):
        difference(first, Values({"0": 1.0}))


def test_rooms_are_counted_not_pictures_of_them():
    document = outcome("lora-2%", [29.0, 31.0] * 4)
    (measurement,) = document["measurements"].values()
    for index, row in enumerate(measurement["rows"]):
        row["image"] = f"{1430 + index % 2}_{index // 2}.webp"
    of = {
        name: mean(Outcomes([{**document, "measurements": {name: measurement}}]).all[0].images("psnr"))
        for name in ("dehaze-SOTS_indoor", "derain-Rain100L")
    }
    # Two picks of two rooms are of the same one half of the time, eight picks of eight pictures hardly ever.
    rooms, pictures = of["dehaze-SOTS_indoor"], of["derain-Rain100L"]
    assert (rooms.mean, rooms.low, rooms.high) == (30, 29, 31)
    assert (pictures.mean, pictures.low, pictures.high) == (30, 29.25, 30.75)


def test_seeds_are_summarised():
    found = Outcomes([outcome("lora-2%", [value], seed=seed) for seed, value in enumerate((30.0, 31.0, 32.0))])
    values = [mean(each.images("psnr")).mean for each in found.all]
    assert over_seeds(values) == "31.00 (s.d. 1.00 of 3)"
    assert over_seeds([0.5], signed=True) == "+0.50"


def test_the_page_has_the_numbers(tmp_path: Path):
    documents = [
        outcome("frozen base", [25.0, 27.0]),
        outcome("lora-2%", [29.0, 31.0], seed=0),
        outcome("full", [29.5, 31.5], seed=0),
        outcome("lora-4%", [29.25, 31.25], part="sizes"),
        *(
            rate("lora-2%", value, validated)
            for value, validated in ((1e-3, 24.0), (3e-3, 24.91), (1e-2, 25.0), (3e-2, 24.5))
        ),
        *(rate("full", value, validated) for value, validated in ((1e-3, 24.0), (3e-3, 25.0))),
        rate("prompt-2%", 3e-4, 24.0),
        rate("prompt-2%", 1e-3, 25.0),
        {**rate("prompt-2%", 3e-3, 0.0), "training": None, "diverged": True},
        outcome("blend", [25.0, 27.0], part="blends", task="blurred-noisy", blend=[0.5, 1.0]),
        *(cost("lora-2%", round_, seconds) for round_, seconds in enumerate((0.4, 0.5, 0.8))),
    ]
    for document in documents:
        folder = tmp_path / "runs" / document["run"]
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(document))
    page = tmp_path / "docs" / "study.md"
    page.parent.mkdir()
    page.write_text(f"# Study\n\nWords.\n\n{study_report.MARKER}last time")
    study_report.write(tmp_path / "runs", page)
    text = page.read_text()
    assert text.startswith("# Study\n\nWords.")
    assert "last time" not in text
    (row,) = [line for line in text.splitlines() if line.startswith("| LoRA, 2 % | 30")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1].startswith("30.00 [")
    gaps = ["+4.00 [+4.00, +4.00]", "-0.50 [-0.50, -0.50]", "+0.0000 [+0.0000, +0.0000]"]
    assert cells[2:] == ["0.9000", *gaps, "1,234", "5"]
    (row,) = [line for line in text.splitlines() if line.startswith("| LoRA, 2 % | 500 (400-800)")]
    assert [cell.strip() for cell in row.strip("|").split("|")][2:] == ["100", "15.0", "300"]
    (row,) = [line for line in text.splitlines() if line.startswith("| 4%")]
    assert row == "| 4% | -0.25 [-0.25, -0.25] |"
    assert "| 0.5 denoise + 1 gaussian-deblur | 26.00 [" in text
    assert "| deraining | LoRA, 2 % | 10 |  | 24.00 | **24.91** | 25.00 | 24.50 |" in text
    assert "| 10 | 24.00 | **25.00** | diverged |  |  |" in text
    # Of full fine-tuning, what is beside the best was not tried.
    assert "| deraining | full fine-tuning | 10 |  | 24.00 | 25.00 |  |  |" in text
    assert "The base is `some-base@1`. Everything trains for 1,500 steps of 8 patches of 64 x 64, unless" in text
    assert "Not measured yet: kinds of pre-training, few images, one network" in text
    assert "Not measured yet of denoising, sigma 5-55: LoRA, 8 %, bottleneck" in text
    assert "Not measured yet of deraining: anything." in text
    assert "Not all of the 3 seeds are trained yet." in text
    assert published.read(page.parent / "study", "methods/full") == documents[2]
    shutil.rmtree(tmp_path / "runs")
    study_report.write(tmp_path / "runs", page)  # what it had before is kept
    assert page.read_text() == text
    assert (page.parent / "study" / "sizes.png").exists()


def cells_of(text: str, start: str) -> list[str]:
    """The cells of the only row that starts so."""
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def page_of(documents: list[dict[str, Any]], folder: Path) -> str:
    for number, document in enumerate(documents):
        published.write(folder / "study", {**document, "run": f"{number}"})
    study_report.write(folder / "runs", folder / "study.md")
    return (folder / "study.md").read_text()


def test_what_a_base_was_pre_trained_on(tmp_path: Path):
    part = {"part": "pretraining", "pretraining": "one degradation"}
    documents = [outcome("frozen base", [20.0, 22.0], **part), outcome("lora-8%", [25.0, 26.0], **part)]
    text = page_of([*documents, outcome("full", [25.5, 26.5], **part)], tmp_path)
    assert cells_of(text, "pre-trained on")[2:] == ["denoising, sigma 5-55"]
    rows = [line for line in text.splitlines() if line.startswith("| one degradation |")]
    assert [row.split("|")[2].strip() for row in rows] == ["base alone", "LoRA, 8 %", "full fine-tuning"]
    assert [row.split("|")[3].strip() for row in rows] == ["21.00", "25.50, -0.50 [-0.50, -0.50]", "26.00"]


def test_all_weights_on_no_pre_training_are_those_from_scratch(tmp_path: Path):
    part = {"part": "pretraining", "pretraining": "none"}
    documents = [outcome("lora-8%", [25.0, 26.0], **part), outcome("scratch", [26.0, 27.0])]
    documents += [outcome("full", [30.0, 30.0], part="pretraining", pretraining="one degradation")]
    rows = [line for line in page_of(documents, tmp_path).splitlines() if line.startswith("| none |")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells == [
        ["none", "LoRA, 8 %", "25.50, -1.00 [-1.00, -1.00]"],
        ["none", "full fine-tuning", "26.50"],
    ]


def test_seeds_are_compared_with_the_same_seed(tmp_path: Path):
    values = {"full": (30.0, 31.0, 32.0), "lora-8%": (30.5, 31.5, 32.5)}
    documents = [outcome(name, [psnr], seed=seed) for name, own in values.items() for seed, psnr in enumerate(own)]
    text = page_of(documents, tmp_path)
    row = cells_of(text, "denoising, sigma 5-55 | LoRA, 8 % | 31.50 (s.d. 1.00 of 3)")
    assert row[3] == "+0.50 (s.d. 0.00 of 3)"


def test_results_on_several_bases_are_refused(tmp_path: Path):
    published.write(tmp_path / "study", outcome("lora-8%", [30.0]))
    (kept,) = (tmp_path / "study").iterdir()
    before = kept.read_bytes()
    other = {**outcome("lora-8%", [29.0], seed=0), "plan": {"base": "other-base@2"}}
    for run, document in (("methods/lora-8%", other), ("methods/full", outcome("full", [30.0]))):
        folder = tmp_path / "runs" / run
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(document))
    published.write(tmp_path / "study", {**outcome("full", [30.0]), "run": "methods/denoise/full"})
    with pytest.raises(UsageError, match=r"results on one base.*other-base@2.*some-base@1"):
        study_report.write(tmp_path / "runs", tmp_path / "study.md")
    assert kept.read_bytes() == before  # nothing is lost


def test_results_on_bases_of_one_mixture_but_other_bits_are_refused(tmp_path: Path):
    part = {"part": "pretraining", "pretraining": "one degradation"}
    documents = [
        {**outcome(method, [25.0], **part), "base_fingerprint": mark}
        for method, mark in (("frozen base", "a"), ("lora-8%", "b"))
    ]
    with pytest.raises(UsageError, match="'one degradation': expected one base, got two with other weights"):
        page_of(documents, tmp_path)


def test_few_images(tmp_path: Path):
    part = {"part": "amounts", "images": 50}
    documents = [outcome("full", [29.0, 31.0], **part), outcome("lora-8%", [30.0, 32.0], **part)]
    documents += [outcome("full", [28.0], part="amounts", images=10), outcome("lora-8%", [33.0], task="snow")]
    documents += [outcome("frozen base", [20.0], task="snow")]
    text = page_of(documents, tmp_path)
    assert "Snow, which no base has seen: Kodak24, PSNR in dB. The base alone has 20.00 dB." in text
    assert cells_of(text, "images") == ["images", "LoRA, 8 %", "full fine-tuning", "LoRA minus full"]
    assert cells_of(text, "50") == ["50", "31.00", "30.00", "+1.00 [+1.00, +1.00]"]
    assert cells_of(text, "10") == ["10", "", "28.00", ""]
    assert cells_of(text, "all") == ["all", "33.00", "", ""]


def test_one_network_for_all(tmp_path: Path):
    whole = outcome("all in one", [29.0, 31.0], part="union")
    single = outcome("lora-8%", [29.5, 31.5], part="union")
    network = outcome("full", [29.75, 31.75], part="methods", seed=0)
    whole["training"]["bytes"], single["training"]["bytes"] = 5_000_000, 200_000
    text = page_of([whole, single, network], tmp_path)
    row = cells_of(text, "denoise-CBSD68")
    assert [cell.split(" ")[0] for cell in row[1:]] == ["30.50", "30.75", "30.00", "+0.50", "+0.75"]
    assert "the base and ten adapters take 7.0 MB, ten fully fine-tuned networks 50.0 MB" in text


def test_strengths(tmp_path: Path):
    documents = [outcome("", [value], part="strengths", strength=s) for s, value in ((0.0, 20.0), (0.5, 25.0))]
    text = page_of(documents, tmp_path)
    assert cells_of(text, "strength") == ["strength", "c"]
    assert cells_of(text, "0.5") == ["0.5", "25.00"]
    assert (tmp_path / "study" / "strength.png").exists()
