"""Running a protocol, with a degradation and metrics of the test's own."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from adair_core import Choice, Condition, Config, ConfiguredDegradation, DegradationSpec, MetricSpec, Protocol
from adair_core.errors import AdairError, DataError, UnknownNameError, UsageError
from adair_core.evaluation import EvaluationImage, Report, evaluate
from adair_core.plugins import Plugins
from adair_core.registry import Provenance

HERE = Provenance("test", "0", "test", "test", __file__)


class AddConfig(Config):
    sigma: float = 0.1


class Add(ConfiguredDegradation):
    """Uniform noise, so that the numbers can be computed by hand."""

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> dict[str, Tensor]:
        return {"noise": self.config.sigma * torch.rand(shape, generator=generator)}

    def degrade(self, images: Tensor, draws: object) -> Tensor:
        return images + torch.stack([draw["noise"] for draw in draws])  # type: ignore[attr-defined]


def mean_error(restored: Tensor, target: Tensor) -> float:
    return (restored - target).abs().mean().item()


def size(restored: Tensor, target: Tensor) -> float:
    return float(restored.numel())


@pytest.fixture(autouse=True)
def only_test_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Plugins()
    found.degradations.add([DegradationSpec(name="add", summary="s", config=AddConfig, build=Add)], HERE)
    specs = [
        MetricSpec(name="error", summary="s", build=lambda: mean_error, higher_is_better=False, unit="u"),
        MetricSpec(name="size", summary="s", build=lambda: size, higher_is_better=True),
        MetricSpec(name="perceived", summary="s", build=lambda: size, higher_is_better=True, color="rgb"),
    ]
    found.metrics.add(specs, HERE)
    monkeypatch.setattr("adair_core.evaluation.run.plugins", lambda: found)


def protocol(*sigmas: float, **options: object) -> Protocol:
    conditions = [Condition(label=f"sigma {s}", degradation=Choice(name="add", options={"sigma": s})) for s in sigmas]
    fields = {"name": "p", "conditions": conditions, "metrics": ("error",), "quantize": False, **options}
    return Protocol.model_validate(fields)


def photos(count: int = 3) -> list[EvaluationImage]:
    generator = torch.Generator().manual_seed(5)
    return [(f"{n}.png", 0.5 * torch.rand(1, 3, 7 + n, 9, generator=generator)) for n in range(count)]


def identity(x: Tensor) -> Tensor:
    return x


def numbers(report: Report, condition: str) -> list[float]:
    return [row.input["error"] for row in report.rows if row.condition == condition]


def test_a_row_for_each_condition_and_image_in_order() -> None:
    report = evaluate(identity, protocol(0.1, 0.2), photos())
    assert [(row.condition, row.image) for row in report.rows] == [
        (f"sigma {s}", f"{n}.png") for s in (0.1, 0.2) for n in range(3)
    ]


def test_metrics_compare_with_the_target_and_means_are_means() -> None:
    report = evaluate(lambda x: x - 0.25, protocol(0.0), photos())
    assert [row.input["error"] for row in report.rows] == [0, 0, 0]
    assert report.mean("error") == pytest.approx(0.25, abs=1e-6)
    assert report.mean("error", side="gain") == pytest.approx(0.25, abs=1e-6)


def test_a_metric_that_writes_into_images_changes_no_other() -> None:
    def writing(restored: Tensor, target: Tensor) -> float:
        return float((restored.mul_(9) - target.zero_()).mean())

    measures = {"writing": writing, "error": mean_error}
    both, alone = (
        evaluate(lambda x: x - 0.25, protocol(0.0), photos(), metrics=m) for m in (measures, {"error": mean_error})
    )
    assert numbers(both, "sigma 0.0") == numbers(alone, "sigma 0.0")
    assert both.statistic("error") == alone.statistic("error")


def test_conditions_do_not_multiply_the_images() -> None:
    def darker(x: Tensor) -> Tensor:
        return x - 0.25 * x.mean()

    # One condition under four names: four times the rows, and no more known about the mean over images.
    once = protocol(0.0)
    same = [condition.model_copy(update={"label": name}) for condition in once.conditions for name in "abcd"]
    four = once.model_copy(update={"conditions": tuple(same)})
    report = evaluate(darker, four, photos())
    assert len(report.rows) == 12
    assert report.statistic("error") == evaluate(darker, once, photos()).statistic("error")


def test_identity_measures_the_same_before_and_after() -> None:
    report = evaluate(identity, protocol(0.3, quantize=True), photos())
    assert all(row.input == row.restored for row in report.rows)
    assert report.mean("error") > 0.1


def test_noise_of_an_image_does_not_depend_on_what_else_is_evaluated() -> None:
    everything = evaluate(identity, protocol(0.1, 0.2), photos())
    assert numbers(evaluate(identity, protocol(0.2), photos()), "sigma 0.2") == numbers(everything, "sigma 0.2")
    assert numbers(evaluate(identity, protocol(0.1), photos(2)), "sigma 0.1") == numbers(everything, "sigma 0.1")[:2]


def test_noise_differs_between_images_conditions_and_seeds() -> None:
    same = [(f"{n}.png", torch.full((3, 8, 8), 0.25)) for n in range(2)]
    renamed = protocol(0.1).conditions[0].model_copy(update={"label": "again"})
    twice = protocol(0.1).model_copy(update={"conditions": (*protocol(0.1).conditions, renamed)})
    first = evaluate(identity, twice, same)
    other_seed = evaluate(identity, protocol(0.1, seed=1), same)
    values = [row.input["error"] for report in (first, other_seed) for row in report.rows]
    assert len(set(values)) == 6


def test_global_random_state_is_neither_used_nor_changed() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = evaluate(identity, protocol(0.1), photos())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert evaluate(identity, protocol(0.1), photos()) == first


def test_a_metric_of_coloured_images_gets_them_where_a_protocol_judges_luma() -> None:
    judged = protocol(0.1, color="y", crop=1, metrics=("size", "perceived"))
    (row,) = evaluate(identity, judged, photos(1)).rows
    assert row.restored == row.input == {"size": 5 * 7, "perceived": 3 * 5 * 7}
    (row,) = evaluate(lambda x: x.clone() * 0.5, judged, photos(1)).rows
    assert row.restored == {"size": 5 * 7, "perceived": 3 * 5 * 7}


def test_the_noise_is_pinned() -> None:
    """Numbers measured with one version must be those of the next."""
    seen, coloured = [], torch.zeros(3, 4, 4)
    coloured[0, 0, 0] = 1
    evaluate(lambda x: (seen.append(x), x)[1], protocol(1.0), [("a", coloured)])
    digest = hashlib.sha256(seen[0].numpy().tobytes()).hexdigest()
    assert digest[:16] == "52602d0037fac0b3"


def test_the_network_gets_unclipped_input_without_gradients() -> None:
    def restore(x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        assert not x.is_inference()
        assert x.max() > 1
        return x

    evaluate(restore, protocol(0.9), [("white", torch.ones(3, 8, 8))])


def test_real_pairs() -> None:
    real = Protocol(name="pairs", conditions=(Condition(label="real"),), metrics=("error",), quantize=False)
    target = torch.zeros(3, 8, 8)
    report = evaluate(lambda x: x / 2, real, [("a", target + 0.5, target)])
    assert report.rows[0].input["error"] == 0.5
    assert report.rows[0].restored["error"] == 0.25


def test_ground_truth_mean_scales_input_and_result_before_they_are_measured() -> None:
    real = Protocol(
        name="p", conditions=(Condition(label="real"),), metrics=("error",), quantize=False, ground_truth_mean=True
    )
    target = torch.full((3, 4, 4), 0.5)
    target[:, 0] = 0.1
    row = evaluate(lambda x: x + 0.1, real, [("a", target / 4, target)]).rows[0]
    assert row.input["error"] == pytest.approx(0, abs=1e-7)
    # 0.225 and 0.125 instead of 0.5 and 0.1; the mean, 0.4, is twice that of the result: errors of 0.05 and 0.15.
    assert row.restored["error"] == pytest.approx((3 * 0.05 + 0.15) / 4, abs=1e-6)


def test_pairs_and_protocol_must_fit() -> None:
    real = Protocol(name="pairs", conditions=(Condition(label="real"),), metrics=("error",))
    with pytest.raises(UsageError, match="needs real pairs"):
        evaluate(identity, real, photos())
    target = torch.zeros(3, 8, 8)
    with pytest.raises(UsageError, match="input of its own"):
        evaluate(identity, protocol(0.1), [("a", target, target)])
    with pytest.raises(DataError, match="input and target of one size, got 9 x 8 and 8 x 8"):
        evaluate(identity, real, [("a", torch.zeros(3, 8, 9), target)])


def test_multiple_of_is_cut_before_the_degradation_and_crop_after() -> None:
    shapes = []
    report = evaluate(
        lambda x: (shapes.append(tuple(x.shape)), x)[1],
        protocol(0.1, multiple_of=4, crop=1, metrics=("size",)),
        [("a", torch.rand(3, 11, 9))],
    )
    assert shapes == [(1, 3, 8, 8)]
    assert report.rows[0].restored["size"] == 3 * 6 * 6


def test_gray_target_is_given_as_rgb() -> None:
    assert evaluate(identity, protocol(0.1, metrics=("size",)), [("g", torch.rand(1, 5, 6))]).mean("size") == 90


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "at least one image"),
        ([("a", torch.zeros(8, 8))], r"float tensor \(3, H, W\)"),
        ([("a", torch.zeros(3, 8, 8, dtype=torch.uint8))], "uint8"),
        ([("a", torch.zeros(3, 0, 8))], r"\(3, 0, 8\)"),
        ([("a",)], r"\(name, target\)"),
        ([(torch.zeros(3, 8, 8), "a")], "a name"),
    ],
)
def test_what_is_not_an_evaluation_image_is_refused(images: list[EvaluationImage], message: str) -> None:
    with pytest.raises(AdairError, match=message):
        evaluate(identity, protocol(0.1), images)


def test_a_restoration_that_changes_the_shape_or_is_not_finite_is_refused() -> None:
    with pytest.raises(AdairError, match=r"restored 0\.png: expected the input's shape"):
        evaluate(lambda x: x[..., 1:], protocol(0.1), photos(1))
    with pytest.raises(AdairError, match="finite"):
        evaluate(lambda x: x / 0, protocol(0.1), photos(1))


def test_condition_labels_must_differ() -> None:
    with pytest.raises(UsageError, match="distinct"):
        evaluate(identity, protocol(0.1, 0.1), photos(1))


def test_metrics_by_name_or_as_functions() -> None:
    assert set(evaluate(identity, protocol(0.1), photos(1), metrics=["size", "error"]).metrics) == {"size", "error"}
    report = evaluate(identity, protocol(0.1), photos(1), metrics={"mine": size})
    assert report.mean("mine") == 3 * 7 * 9
    with pytest.raises(UnknownNameError, match="did you mean 'error'"):
        evaluate(identity, protocol(0.1), photos(1), metrics=["eror"])


def test_progress_counts_every_image_under_every_condition() -> None:
    calls: list[tuple[int, int]] = []
    evaluate(identity, protocol(0.1, 0.2), photos(2), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def infinite_report() -> Report:
    values = {"a": math.inf, "b": 30.0, "c": math.nan}
    metric = iter([1.0, values["a"], 1.0, values["b"], 1.0, values["c"]])
    return evaluate(lambda x: x / 2, protocol(0.1), photos(), metrics={"psnr": lambda *_: next(metric)})


def test_what_was_exact_before_and_after_gains_nothing() -> None:
    values = iter([math.inf, math.inf, 30.0, 31.0])  # input and restored image of two
    report = evaluate(lambda x: x / 2, protocol(0.1), photos(2), metrics={"psnr": lambda *_: next(values)})
    gain = report.statistic("psnr", side="gain")
    assert (gain.mean, gain.count, gain.undefined) == (0.5, 2, 0)


def test_images_of_one_name_are_refused() -> None:
    images = [(name, torch.rand(3, 8, 8)) for name in ("a", "b", "a")]
    with pytest.raises(UsageError, match=r"evaluation image 'a': expected a name of its own .*, got images 0 and 2"):
        evaluate(identity, protocol(0.1), images)


def test_json_is_strictly_valid_and_reads_back() -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    report = infinite_report()
    document = json.loads(report.to_json(), parse_constant=refuse)
    assert [row["restored"]["psnr"] for row in document["report"]["rows"]] == ["Infinity", 30.0, "NaN"]
    means = document["means"]["sigma 0.1"]["psnr"]
    assert (means["restored"]["mean"], means["restored"]["infinite"], means["restored"]["undefined"]) == (30.0, 1, 1)
    assert means["gain"]["mean"] == 29.0
    again = Report.from_json(report.to_json())
    assert again.to_json() == report.to_json()
    assert again.rows[0].restored["psnr"] == math.inf


def test_csv_has_every_row_in_full_precision(tmp_path: Path) -> None:
    report = evaluate(identity, protocol(0.1), [("a,b.png", torch.rand(3, 8, 8))], metrics=["error", "size"])
    path = tmp_path / "deeper" / "rows.csv"
    text = report.to_csv(path)
    assert path.read_text() == text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["condition", "image", "input_error", "restored_error", "input_size", "restored_size"]
    assert rows[0]["image"] == "a,b.png"
    assert float(rows[0]["restored_error"]) == report.rows[0].restored["error"]
    assert [file.name for file in path.parent.iterdir()] == ["rows.csv"]


def test_table_shows_means_of_input_and_restored_and_what_is_not_in_them() -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(*infinite_report().tables())
    console.print(evaluate(lambda x: x * 0, protocol(0.1, 0.2), photos()).tables()[0])
    text = " ".join(console.export_text().split())
    assert "1 restored exactly, not in the mean" in text
    assert "undefined on 1" in text
    assert "sigma 0.2" in text
    assert "error (u) ↓" in text
    assert "±" in text
    assert "30.00" in text
    assert "gain │ +29.00" in text


@pytest.mark.parametrize("options", [{"crop": 3}, {"multiple_of": 6}])
def test_an_image_that_is_too_small_is_named(options: dict[str, object]) -> None:
    images = [*photos(1), ("tiny.png", torch.rand(3, 5, 9))]
    with pytest.raises(DataError, match=r"^tiny\.png: expected .*got 9 x 5"):
        evaluate(identity, protocol(0.1, **options), images)


def test_unknown_names_in_a_report() -> None:
    report = evaluate(identity, protocol(0.1), photos(1))
    with pytest.raises(UnknownNameError, match="unknown metric 'psnr'"):
        report.mean("psnr")
    with pytest.raises(UnknownNameError, match=r"did you mean 'sigma 0\.1'"):
        report.mean("error", condition="sigma 01")
