"""`adair evaluate`: comparing, reports, protocols of one's own."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from adair_core.cli.candidates import Candidate, parse_candidates
from adair_core.errors import UsageError
from adair_core.model import AdapterCard, load
from adair_core.testing import run_program


def trained(base: Path, folder: Path, value: float) -> Path:
    """An adapter's folder, of an adapter that does something."""
    model = load(base)
    model.add_adapter("denoise", "lora", {"rank": 2})
    for name, parameter in model.adapter_parameters("denoise").items():
        if "lora_B" in name:
            parameter.data.fill_(value)
    model.save_adapter("denoise", folder, card=AdapterCard(task="denoise"))
    return folder


@pytest.fixture(scope="module")
def adapters(base, tmp_path_factory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return trained(base, root / "weak" / "denoise", 0.01), trained(base, root / "strong" / "denoise", 0.05)


@pytest.fixture
def denoising(photos) -> list[object]:
    return ["evaluate", "--task", "denoise", "--task.sigma", "25", "--data", photos, "--metric", "psnr"]


def test_compare(adapters, denoising):
    outcome = run_program(*denoising, "--compare", "input", "frozen", *adapters, f"half={adapters[1]}:0.5", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    document = outcome.json
    assert document["reference"] == "input"
    assert list(document["reports"]) == ["input", "frozen", "weak/denoise", "strong/denoise", "half"]
    rows = {name: report["rows"] for name, report in document["reports"].items()}
    assert all(row["restored"] == row["input"] for row in rows["input"])
    values = {name: [row["restored"]["psnr"] for row in of_name] for name, of_name in rows.items()}
    assert len({tuple(of_name) for of_name in values.values()}) == 5
    [half] = [pair for pair in document["differences"] if pair["candidate"] == "half"]
    mean = sum(b - a for a, b in zip(values["input"], values["half"], strict=True)) / 3
    assert half["found"]["statistic"]["mean"] == pytest.approx(mean)
    assert document["reports"]["half"]["restorer"]["strength"] == 0.5
    assert document["reports"]["half"]["restorer"]["fingerprint"]
    assert document["reports"]["frozen"]["restorer"]["adapters"] == {}


def test_a_candidate_is_measured_as_it_is_alone(adapters, denoising):
    alone = run_program(*denoising, "--adapter", adapters[1], "--json")
    together = run_program(*denoising, "--compare", "frozen", f"mine={adapters[1]}", "--json")
    assert together.json["reports"]["mine"] == alone.json["report"]


def test_a_report_that_cannot_be_written_does_not_take_the_numbers_along(photos):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        arguments = ["--pairs", photos, photos, "--compare", "input", "frozen", "--metric", "psnr", "--limit", 2]
        outcome = run_program("evaluate", *arguments, "--json", "-o", "full.json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert outcome.exit_code == 1
    assert "error: full.json: File too large" in outcome.stderr
    assert list(outcome.json["reports"]) == ["input", "frozen"]


def test_images_that_something_else_restored_are_a_candidate(adapters, photos, denoising):
    restored = run_program("restore", photos, "-o", "theirs", "--adapter", adapters[1], "--suffix", ".webp")
    assert restored.exit_code == 0, restored.stderr
    pairs = ["evaluate", "--pairs", photos, photos, "--metric", "psnr", "--compare", f"ours={adapters[1]}"]
    outcome = run_program(*pairs, "theirs", "--json", "--report", "page.html")
    assert outcome.exit_code == 0, outcome.stderr
    # The restored files are the results, rounded to 8 bits as the protocol does.
    ours, theirs = ([row["restored"] for row in outcome.json["reports"][name]["rows"]] for name in ("ours", "theirs"))
    assert ours == theirs
    assert outcome.json["reports"]["theirs"]["restorer"]["title"] == "images in theirs"
    next(Path("theirs").iterdir()).unlink()
    outcome = run_program(*pairs, "theirs")
    assert outcome.exit_code == 1
    assert "theirs: expected a restored image photo" in outcome.stderr


def test_table_of_a_comparison(adapters, denoising):
    outcome = run_program(*denoising, "--compare", "frozen", *adapters)
    assert outcome.exit_code == 0, outcome.stderr
    assert "differences from frozen" in outcome.stdout
    assert "too few images for the Wilcoxon test" in outcome.stdout
    assert "┃" not in outcome.stdout


def test_saved_results_give_the_same_comparison(adapters, denoising):
    for name, adapter in zip(("one", "two"), adapters, strict=True):
        assert run_program(*denoising, "--adapter", adapter, "--report", f"{name}.json").exit_code == 0
    saved = run_program("evaluate", "--compare", "one.json", "two.json", "--json")
    assert saved.exit_code == 0, saved.stderr
    live = run_program(*denoising, "--compare", f"one={adapters[0]}", f"two={adapters[1]}", "--json")
    assert saved.json == live.json
    assert run_program(*denoising, "--compare", *adapters, "--report", "both.json").exit_code == 0
    alone = run_program("evaluate", "--compare", "both.json", "--json")
    assert alone.exit_code == 0, alone.stderr
    assert set(alone.json["reports"]) == set(run_program(*denoising, "--compare", *adapters, "--json").json["reports"])
    assert "expected at least two candidates, got 1" in run_program("evaluate", "--compare", "one.json").stderr


def test_saved_results_of_other_images_are_refused(adapters, denoising):
    run = [*denoising, "--adapter", adapters[0]]
    assert run_program(*run, "--report", "all.json").exit_code == 0
    assert run_program(*run, "--limit", 2, "--report", "two.json").exit_code == 0
    outcome = run_program("evaluate", "--compare", "all.json", "two.json")
    assert outcome.exit_code == 2
    assert (
        "all and two cannot be compared: they are of 3 and 2 images; only one of them has photo2.png" in outcome.stderr
    )


def test_reports(adapters, denoising):
    outcome = run_program(*denoising, "--compare", "frozen", *adapters, "--report", "out", "--out", "alone.html")
    assert outcome.exit_code == 0, outcome.stderr
    assert {path.name for path in Path("out").iterdir()} == {
        "report.json",
        "images.csv",
        "differences.csv",
        "report.md",
        "report.html",
    }
    html = Path("alone.html").read_text()
    assert html == Path("out/report.html").read_text()
    assert html.count('<article class="example"') == 3
    assert html.count('src="data:image/webp;base64,') == 3 * 6  # overview, input, three candidates, target


def test_a_single_evaluation_has_a_page_too(adapters, denoising):
    outcome = run_program(*denoising, "--adapter", adapters[1], "-o", "page.html")
    assert outcome.exit_code == 0, outcome.stderr
    html = Path("page.html").read_text()
    assert "Differences from input" in html
    assert html.count('src="data:image/webp;base64,') == 3 * 4  # overview, input, restored, target


def test_a_protocol_of_ones_own(adapters, photos, denoising):
    shown = run_program("evaluate", "--task", "denoise", "--task.sigma", "25", "--show-protocol")
    assert shown.exit_code == 0, shown.stderr
    protocol = shown.json
    assert protocol["conditions"][0]["label"] == "sigma 25"
    protocol |= {"name": "mine", "color": "y", "crop": 4, "ground_truth_mean": True}
    Path("mine.json").write_text(json.dumps(protocol))
    run = ["evaluate", "--protocol", "mine.json", "--data", photos, "--adapter", adapters[1], "--metric", "psnr"]
    outcome = run_program(*run, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.json["report"]["protocol"] == protocol
    usual = run_program(*denoising, "--adapter", adapters[1], "--json").json
    assert outcome.json["report"]["rows"] != usual["report"]["rows"]
    assert "ground-truth mean" in run_program(*run).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frozen"], "frozen: to compare candidates, give --compare"),
        (["--compare", "frozen"], "--compare: expected two or more of: input, frozen"),
        (["--compare", "frozen", "frozen"], "expected different candidates, got 'frozen' twice"),
        (["--compare", "frozen", "x.json"], "saved results only, or none, got x.json and frozen"),
        (["--compare", "a.json", "b.json", "--task", "denoise"], "--task: saved results bring their protocol"),
        (["--compare", "input", "frozen", "--task", "denoise", "--adapter", "x"], "leave --adapter and --blend out"),
        (["--compare", "input", "lora", "--task", "denoise"], "got the adapter type 'lora'"),
        (["--task", "denoise", "--report", "x.pdf"], "--report: expected a folder, or a file name in"),
        (["--protocol", "none.json"], "none.json: there is no such file"),
        (["--compare", "a.json", "b.json"], "a.json: there is no such file"),
        (["--compare", "a.json"], "a.json: there is no such file"),
        (["--compare", "a.json", "b.json", "--self-ensemble"], "--self-ensemble: saved results bring their protocol"),
        (["--compare", "a.json", "b.json", "--show-protocol"], "--show-protocol: saved results bring their protocol"),
        (["--compare", "a.json:0.5", "b.json"], "a strength for what restores here, got 0.5 for a.json"),
        (["--compare", "input", ".:0.5", "--task", "denoise"], "a strength for what restores here, got 0.5 for ."),
    ],
)
def test_wrong_requests(arguments, message):
    outcome = run_program("evaluate", *arguments)
    assert outcome.exit_code in (1, 2)
    assert message in outcome.stderr


def test_frozen_is_the_base_of_the_adapters(adapters, denoising, base):
    document = run_program(*denoising, "--compare", "frozen", adapters[0], "--json").json
    assert document["reports"]["frozen"]["restorer"]["base"] == str(base)


def test_names_of_candidates(tmp_path):
    def names(*texts: str) -> list[str]:
        return [candidate.name for candidate in parse_candidates(texts)]

    assert names("input", "runs/a/denoise") == ["input", "denoise"]
    assert names("runs/a/denoise", "runs/b/denoise") == ["a/denoise", "b/denoise"]
    assert names("x/report.json", "y/report.json") == ["x/report", "y/report"]
    assert names("denoise", "denoise:0.5") == ["denoise", "denoise:0.5"]
    assert parse_candidates(["my name=a/b:.5", "c=d"]) == [Candidate("my name", "a/b", 0.5), Candidate("c", "d")]
    odd = tmp_path / "rank=8:2"
    odd.mkdir()
    assert parse_candidates([str(odd), "input"])[0] == Candidate("rank=8:2", str(odd))
    with pytest.raises(UsageError, match="got 'x' twice"):
        parse_candidates(["x=a", "x=b"])
