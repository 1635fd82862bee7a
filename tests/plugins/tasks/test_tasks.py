"""The built-in tasks and their protocols."""

from __future__ import annotations

import json
import math
from importlib import resources
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from adair_core import Protocol, TaskSpec
from adair_core.errors import UsageError
from adair_core.evaluation import evaluate
from adair_core.plugins import parse_config, plugins
from adair_core.training.recipe import Settings
from adair_plugins.tasks import adair_tasks
from adair_plugins.tasks.protocol_files import load_protocol, within

TASKS = {spec.name: spec for spec in adair_tasks()}
SYNTHETIC = sorted(set(TASKS) - {"pairs"})
PROTOCOL_FILES = sorted(
    file.name.removesuffix(".json") for file in (resources.files("adair_plugins.tasks") / "protocols").iterdir()
)


def photo(height: int = 36, width: int = 48) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    waves = torch.sin(torch.linspace(0, 12, height).view(-1, 1) + torch.linspace(0, 5, width))
    return (0.5 + 0.3 * waves + 0.1 * torch.rand(1, 3, height, width, generator=generator)).clamp(0, 1)


def resolved(name: str, **options: Any) -> tuple[TaskSpec, Any]:
    return TASKS[name], parse_config(TASKS[name].config, options, what=name)


def protocol_of(name: str, **options: Any) -> Protocol:
    spec, config = resolved(name, **options)
    return spec.protocol(config)


def labels(name: str, **options: Any) -> list[str]:
    return [condition.label for condition in protocol_of(name, **options).conditions]


def test_offers_the_tasks() -> None:
    wanted = {"denoise", "deblur", "derain", "dehaze", "super-resolve", "dejpeg", "low-light", "pairs"}
    wanted |= {"real-denoise", "hybrid"}
    assert set(TASKS) == wanted
    assert wanted <= set(plugins().tasks)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_defaults_are_training_settings(name: str) -> None:
    defaults = dict(TASKS[name].defaults)
    assert Settings(**defaults).model_dump(include=set(defaults)) == defaults  # known, and of the right types


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_option_has_help(name: str) -> None:
    for option, field in TASKS[name].config.model_fields.items():
        assert field.description, option


@pytest.mark.parametrize("name", SYNTHETIC)
def test_configuration_survives_a_recipe(name: str) -> None:
    spec, config = resolved(name)
    stored = json.loads(json.dumps(config.model_dump(mode="json")))
    assert parse_config(spec.config, stored, what=name) == config


@pytest.mark.parametrize("name", SYNTHETIC)
def test_degradation_changes_a_patch_of_the_default_size(name: str) -> None:
    spec, config = resolved(name)
    choice = spec.degradation(config)
    assert choice is not None
    degradation = plugins().degradation(type(choice).model_validate_json(choice.model_dump_json()))
    size = Settings(**spec.defaults).patch_size
    patch = photo(size, size)
    degraded = degradation(patch, torch.Generator().manual_seed(0))
    assert degraded.shape == patch.shape
    assert (degraded - patch).abs().mean() > 1e-3


@pytest.mark.parametrize("name", PROTOCOL_FILES)
def test_protocol_files_are_named_after_themselves_and_say_where_they_come_from(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.name == name
    assert len(protocol.note) > 60
    assert protocol.metrics == ("psnr", "ssim")
    assert len({condition.label for condition in protocol.conditions}) == len(protocol.conditions)


@pytest.mark.parametrize("name", SYNTHETIC)
def test_protocol_runs_and_its_conditions_get_harder_or_easier_in_order(name: str) -> None:
    report = evaluate(lambda x: x, protocol_of(name), [("photo", photo())])
    values = [row.input["psnr"] for row in report.rows]
    assert all(5 < value < 50 for value in values)
    assert values in (sorted(values), sorted(values, reverse=True))


def test_every_protocol_file_belongs_to_a_task() -> None:
    variants: list[dict[str, Any]] = [{}, {"pairs": True}, {"kind": "motion"}, {"scale": 3}, {"scale": 4}]
    used = set()
    for name, spec in TASKS.items():
        for options in variants:
            if set(options) <= set(spec.config.model_fields):
                used.add(protocol_of(name, **options).name)
    assert used == set(PROTOCOL_FILES)


def test_denoise_protocol_is_the_standard_one() -> None:
    protocol = protocol_of("denoise")
    options = [condition.degradation.options for condition in protocol.conditions if condition.degradation]
    assert options == [{"sigma": 15}, {"sigma": 25}, {"sigma": 50}]
    assert (protocol.color, protocol.crop, protocol.quantize, protocol.multiple_of) == ("rgb", 0, True, 1)


def test_noisy_images_have_the_psnr_of_their_sigma() -> None:
    """-20 log10(sigma / 255) before clipping: 24.61, 20.17, 14.15 dB."""
    protocol = protocol_of("denoise").model_copy(update={"quantize": False})
    report = evaluate(lambda x: x, protocol, [("photo", photo(200, 200))], metrics=["psnr"])
    for row, sigma in zip(report.rows, (15, 25, 50), strict=True):
        assert row.input["psnr"] == pytest.approx(-20 * math.log10(sigma / 255), abs=0.1)


@pytest.mark.parametrize(
    ("sigma", "expected", "note"),
    [
        ("5,55", ["sigma 15", "sigma 25", "sigma 50"], "Colour"),
        ("25", ["sigma 25"], "Only the conditions with sigma 25. "),
        ("10,30", ["sigma 15", "sigma 25"], "Only the conditions with sigma 10 to 30. "),
        ("60", ["sigma 60"], "Not the published conditions"),
        ("60,80", ["sigma 60", "sigma 80"], "Not the published conditions"),
    ],
)
def test_training_range_narrows_the_protocol(sigma: str, expected: list[str], note: str) -> None:
    protocol = protocol_of("denoise", sigma=sigma)
    assert [condition.label for condition in protocol.conditions] == expected
    assert protocol.note.startswith(note)


@pytest.mark.parametrize(("name", "options"), [("low-light", {}), ("low-light", {"pairs": True}), ("pairs", {})])
def test_ground_truth_mean_is_an_option_that_the_note_names(name: str, options: dict[str, Any]) -> None:
    assert not protocol_of(name, **options).ground_truth_mean
    scaled = protocol_of(name, ground_truth_mean=True, **options)
    assert scaled.ground_truth_mean
    assert scaled.note.startswith("Results are scaled to the target's mean brightness")
    spec, config = resolved("low-light", ground_truth_mean=True)
    assert spec.degradation(config) == spec.degradation(resolved("low-light")[1])


def test_known_data_sets_have_one_checksum_each() -> None:
    known = {
        (each.name, each.images, each.checksum) for name in PROTOCOL_FILES for each in load_protocol(name).data_sets
    }
    names = [name for name, _, _ in known]
    assert len(names) == len(set(names))
    assert {"CBSD68", "Kodak24", "Set5", "classic5", "LOL eval15", "CC15"} == set(names)
    assert len({checksum for _, _, checksum in known}) == len(known)


def test_narrowing_changes_no_number() -> None:
    images = [("photo", photo())]
    whole = evaluate(lambda x: x, protocol_of("denoise"), images, metrics=["psnr"])
    alone = evaluate(lambda x: x, protocol_of("denoise", sigma=25), images, metrics=["psnr"])
    assert alone.mean("psnr") == whole.mean("psnr", condition="sigma 25")


def test_conditions_outside_the_range_keep_the_other_options() -> None:
    protocol = within(load_protocol("dejpeg"), "quality", (70, 80))
    degradations = [condition.degradation for condition in protocol.conditions]
    assert [choice.options for choice in degradations if choice] == [
        {"quality": 70, "subsampling": "4:2:0"},
        {"quality": 80, "subsampling": "4:2:0"},
    ]


def test_other_ranges_narrow_their_protocols_too() -> None:
    assert labels("dejpeg", quality="20,30") == ["quality 20", "quality 30"]
    assert labels("deblur", sigma="2") == ["sigma 2"]
    assert labels("deblur", kind="motion") == ["length 8", "length 16", "length 24"]
    assert labels("deblur", kind="motion", length="10,20") == ["length 16"]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_super_resolution_is_judged_in_luma_inside_a_border(scale: int) -> None:
    protocol = protocol_of("super-resolve", scale=str(scale))
    assert (protocol.color, protocol.crop, protocol.multiple_of) == ("y", scale, scale)
    (condition,) = protocol.conditions
    assert condition.degradation is not None
    assert condition.degradation.options == {"scale": [scale]}
    spec, config = resolved("super-resolve", scale=scale)
    assert Settings(**spec.defaults).patch_size % scale == 0
    assert spec.degradation(config).options == {"scale": [scale]}  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["derain", "dehaze", "low-light", "real-denoise"])
def test_physical_options_narrow_training_alone(name: str) -> None:
    option, value = {
        "derain": ("coverage", 0.5),
        "dehaze": ("beta", 3),
        "low-light": ("exposure", -1),
        "real-denoise": ("photons", 50),
    }[name]
    spec, config = resolved(name, **{option: value})
    assert spec.protocol(config) == protocol_of(name)
    choice = spec.degradation(config)
    assert choice is not None
    assert choice.options[option] == [value, value]
    assert "pairs" not in choice.options


@pytest.mark.parametrize(
    ("name", "color"),
    [("deblur", "rgb"), ("derain", "y"), ("dehaze", "rgb"), ("low-light", "rgb"), ("real-denoise", "rgb")],
)
def test_real_pairs_of_a_task(name: str, color: str) -> None:
    spec, config = resolved(name, pairs="true")
    assert spec.degradation(config) is None
    protocol = spec.protocol(config)
    assert [condition.degradation for condition in protocol.conditions] == [None]
    assert protocol.color == color


def test_pairs_are_judged_as_asked() -> None:
    spec, config = resolved("pairs", color="y", crop=2)
    assert spec.degradation(config) is None
    assert (spec.protocol(config).color, spec.protocol(config).crop) == ("y", 2)
    target = photo()
    report = evaluate(lambda x: x, spec.protocol(config), [("a", target * 0.9, target)])
    assert report.mean("psnr") < 40


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("denoise", {"sigma": "300"}, "sigma"),
        ("denoise", {"sigma": "55,5"}, "low <= high"),
        ("dejpeg", {"quality": 0}, "quality"),
        ("super-resolve", {"scale": 5}, "scale"),
        ("deblur", {"length": "9"}, "length belongs to kind motion, but the kind is gaussian"),
        ("deblur", {"kind": "motion", "sigma": "1"}, "sigma belongs to kind gaussian"),
        ("derain", {"covrage": 1}, "no such option"),
    ],
)
def test_wrong_options_are_refused_with_a_reason(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolved(name, **options)


def test_configurations_are_immutable() -> None:
    _, config = resolved("denoise")
    with pytest.raises(ValidationError):
        config.sigma = (1, 2)


def test_a_gray_picture_is_judged_with_gray_noise() -> None:
    """As in BSD68 and Set12, whose one channel has one noise: three draws of it would tell a network more."""
    gray = photo()[:, :1]
    seen: list[Tensor] = []

    def spy(degraded: Tensor) -> Tensor:
        seen.append(degraded)
        return degraded

    for image in (gray, gray.expand(-1, 3, -1, -1), photo()):
        evaluate(spy, protocol_of("denoise", sigma=25), [("photo", image)])
    one, three, coloured = seen
    assert one.shape == three.shape == (1, 3, 36, 48)
    assert torch.equal(one, three)
    assert torch.equal(one[:, :1].expand_as(one), one)
    assert abs((one[:, 0] - gray[:, 0]).std().item() * 255 - 25) < 2
    assert not torch.equal(coloured[:, 0] - photo()[:, 0], coloured[:, 1] - photo()[:, 1])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_hybrid_is_judged_at_the_scale_that_it_learns(scale: int) -> None:
    protocol = protocol_of("hybrid", scale=scale)
    assert [condition.label for condition in protocol.conditions] == [
        f"x{scale}, sigma 5, quality 80",
        f"x{scale}, sigma 10, quality 60",
        f"x{scale}, sigma 20, quality 40",
    ]
    assert (protocol.crop, protocol.multiple_of) == (scale, scale)
    scales = {tuple(each.degradation.options["scale"]) for each in protocol.conditions if each.degradation}
    assert scales == {(scale,)}
