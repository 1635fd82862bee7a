from __future__ import annotations

import dataclasses

import pytest
from pydantic import ValidationError
from torch import nn

from adair_core import BackboneSpec, Choice, Condition, Config, DegradationSpec, MetricSpec, Protocol, Site, WeightsSpec


@pytest.mark.parametrize("name", ["a", "film-grain", "restormer-tiny2", "1.9mb"])
def test_names(name):
    assert MetricSpec(name=name, summary="x", build=lambda: None, higher_is_better=True).name == name


@pytest.mark.parametrize("name", ["", "Film", "film_grain", "film grain", "-a", "a-", "a--b", "a/b", "é", 5, None])
def test_bad_names(name):
    with pytest.raises(ValueError, match=r"name: expected lower-case words joined by '-', such as 'film-grain', got"):
        MetricSpec(name=name, summary="x", build=lambda: None, higher_is_better=True)


@pytest.mark.parametrize("summary", ["", "  ", "two\nlines", None])
def test_bad_summaries(summary):
    with pytest.raises(ValueError, match="mae: summary: expected one non-empty line"):
        MetricSpec(name="mae", summary=summary, build=lambda: None, higher_is_better=False)


def test_records_are_frozen():
    spec = DegradationSpec(name="x", summary="x", config=Config, build=lambda config: None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "y"


def test_config_is_frozen_and_refuses_unknown_fields():
    class Own(Config):
        rank: int = 4

    with pytest.raises(ValidationError, match="frozen"):
        Own().rank = 5
    with pytest.raises(ValidationError, match="Extra inputs"):
        Own(rang=3)


def test_config_checks_its_defaults():
    class Own(Config):
        rank: int = "many"

    with pytest.raises(ValidationError):
        Own()


def test_versioned_name(tmp_path):
    spec = WeightsSpec(name="base", summary="x", version=3, kind="base", path=tmp_path, terms="CC0")
    assert spec.versioned_name == "base@3"


def test_protocol_needs_a_condition():
    with pytest.raises(ValidationError):
        Protocol(name="x", conditions=())
    condition = Condition(label="sigma 25", degradation=Choice(name="gaussian-noise", options={"sigma": 25}))
    protocol = Protocol(name="x", conditions=(condition,))
    assert Protocol.model_validate_json(protocol.model_dump_json()) == protocol


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 4, 3, groups=2)
        self.act = nn.Sequential(nn.ReLU())


def test_site_of_a_convolution():
    site = Site.of(Net(), "conv", "dwconv", level=2)
    assert site == Site("conv", "dwconv", 4, 2, {"weight": (4, 4, 3, 3), "bias": (4,)}, 2)
    assert {site: 1}[site] == 1


def test_site_of_other_modules():
    assert Site.of(Net(), "act", "branch", level=1, channels=4) == Site("act", "branch", 4, 1)
    with pytest.raises(ValueError, match="site 'act': channels are needed for a Sequential"):
        Site.of(Net(), "act", "branch", level=1)
    with pytest.raises(ValueError, match="site 'nope': no such module in Net"):
        Site.of(Net(), "nope", "branch", level=1)
    with pytest.raises(ValueError, match="kind: expected one of conv1x1, dwconv"):
        Site("x", "conv", 1, 1)


def test_backbone_record():
    spec = BackboneSpec(name="net", summary="x", config=Config, build=lambda c: Net(), sites=lambda m: [])
    assert spec.presets == {}
    assert spec.default_preset is None
