from __future__ import annotations

from typing import Literal

import click
import pytest
from pydantic import Field

from adair_core import AdapterSpec, BackboneSpec, Config, DegradationSpec, Range, TaskSpec, WeightsSpec
from adair_core.errors import PluginError, UsageError
from adair_core.validation import parse_config, validate_record


class Options(Config):
    sigma: Range = (5, 55)
    rank: int = 8
    mode: Literal["a", "b"] = "a"


class Aliased(Config):
    class_: int = Field(1, alias="class")


class Required(Config):
    width: int


def test_text_is_converted():
    config = parse_config(Options, {"sigma": "10,20", "rank": "4"}, what="x")
    assert config == Options(sigma=(10.0, 20.0), rank=4)
    assert parse_config(Options, {"sigma": "25"}, what="x").sigma == (25.0, 25.0)


def test_every_wrong_field_is_told():
    with pytest.raises(UsageError) as e:
        parse_config(Options, {"rank": "many", "mode": "c"}, what="degradation 'x'")
    text = str(e.value)
    assert text.startswith("degradation 'x': ")
    assert "rank: Input should be a valid integer" in text
    assert "got 'many'" in text
    assert "mode: Input should be 'a' or 'b', got 'c'" in text


@pytest.mark.parametrize("sigma", ["5,4", "a", "1,2,3", [9, 1]])
def test_ranges(sigma):
    with pytest.raises(UsageError, match="sigma"):
        parse_config(Options, {"sigma": sigma}, what="x")


def test_unknown_field_lists_the_known():
    with pytest.raises(UsageError, match="rang: there is no such option; known: sigma, rank, mode"):
        parse_config(Options, {"rang": 1}, what="x")


def test_missing_field():
    with pytest.raises(UsageError, match=r"^x: width: required$"):
        parse_config(Required, {}, what="x")


def test_label_says_what_the_user_typed():
    with pytest.raises(UsageError, match=r"--task\.rank: Input"):
        parse_config(Options, {"rank": "x"}, what="x", label=lambda name: f"--task.{name}")


def degradation(**changes):
    return DegradationSpec(**{"name": "x", "summary": "x", "config": Options, "build": lambda c: None, **changes})


def adapter(**changes):
    default = {
        "name": "x",
        "summary": "x",
        "config": Options,
        "kinds": frozenset({"branch"}),
        "build": lambda c, s: None,
    }
    return AdapterSpec(**{**default, **changes})


def backbone(**changes):
    default = {"name": "x", "summary": "x", "config": Options, "build": lambda c: None, "sites": lambda m: []}
    return BackboneSpec(**{**default, **changes})


@pytest.mark.parametrize(
    ("hook", "record", "message"),
    [
        ("adair_degradations", "grain", "expected DegradationSpec records, got str"),
        ("adair_degradations", DegradationSpec, "expected DegradationSpec records, got the class DegradationSpec"),
        ("adair_tasks", degradation(), "expected TaskSpec records, got DegradationSpec"),
        ("adair_degradations", degradation(build="grain"), "x: build: expected a callable, got 'grain'"),
        ("adair_degradations", degradation(config=dict), "x: config: expected a pydantic model, got <class 'dict'>"),
        ("adair_degradations", degradation(config=Options()), "x: config: expected a pydantic model"),
        ("adair_degradations", degradation(config=Aliased), "x: config: class_: expected a field without an alias"),
        ("adair_adapters", adapter(kinds=frozenset()), "x: kinds: expected a frozenset of some of conv1x1"),
        ("adair_adapters", adapter(kinds=frozenset({"conv"})), "kinds: expected a frozenset"),
        ("adair_adapters", adapter(kinds=["branch"]), "kinds: expected a frozenset"),
        ("adair_adapters", adapter(presets={"small": {"rang": 2}}), "preset 'small': rang: there is no such option"),
        ("adair_adapters", adapter(presets=None), "presets: expected a mapping"),
        ("adair_backbones", backbone(default_preset="tiny"), "default_preset: there is no preset 'tiny'"),
        ("adair_backbones", backbone(sites=[]), r"sites: expected a callable, got \[\]"),
        ("adair_commands", click.Command(None), "a command needs a name"),
    ],
)
def test_bad_records(hook, record, message):
    with pytest.raises((PluginError, UsageError), match=message):
        validate_record(hook, record)


def test_weights_must_exist(tmp_path):
    default = {"name": "x", "summary": "x", "version": 1, "kind": "base", "terms": "CC0"}
    validate_record("adair_weights", WeightsSpec(path=tmp_path, **default))
    with pytest.raises(PluginError, match="x@1: there is no"):
        validate_record("adair_weights", WeightsSpec(path=tmp_path / "missing", **default))
    with pytest.raises(PluginError, match="kind: expected one of base, adapter, diagnoser, got 'adaptor'"):
        validate_record("adair_weights", WeightsSpec(path=tmp_path, **{**default, "kind": "adaptor"}))
    for version in ("1", 0):
        with pytest.raises(PluginError, match="version: expected a whole number from 1, got"):
            validate_record("adair_weights", WeightsSpec(path=tmp_path, **{**default, "version": version}))


def test_task_parts_must_be_callable():
    spec = TaskSpec(name="x", summary="x", config=Options, degradation=None, protocol=lambda c: None)
    with pytest.raises(PluginError, match="x: degradation: expected a callable, got None"):
        validate_record("adair_tasks", spec)
