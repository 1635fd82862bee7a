"""`adair plugins`, `adapters`, `weights`: one package with three kinds, one that raises, one with a duplicate name."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from adair_core.plugins import PluginWarning, plugins
from adair_core.testing import installed, run_program, write_package

THREE_KINDS = """
    import torch
    from pydantic import Field
    from torch import nn
    from adair_core import *
    from adair_core import BackboneSpec, Config, FeatureAdapter, Site, hookimpl
    from adair_core.adapter import AdapterConfig

    class SpeckleConfig(Config):
        amount: Range = Field((0.1, 0.3), description="how much")

    class Speckle(ConfiguredDegradation):
        def draw(self, shape, generator):
            return {"noise": torch.randn(shape, generator=generator)}

        def degrade(self, images, draws):
            return images * (1 + self.config.amount[1] * torch.stack([draw["noise"] for draw in draws]).to(images))

    class ShiftConfig(AdapterConfig):
        gain: float = Field(1.0, description="factor")

    class Shift(FeatureAdapter):
        def __init__(self, config, site):
            super().__init__()
            self.gain, self.shift = config.gain, nn.Parameter(torch.zeros(site.channels, 1, 1))

        def forward(self, features):
            return self.gain * self.shift.expand_as(features)

    class FlatConfig(Config):
        width: int = Field(6, ge=1, description="channels")

    class Flat(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.head = nn.Conv2d(3, config.width, 3, padding=1)
            self.tail = nn.Conv2d(config.width, 3, 3, padding=1)

        def forward(self, images):
            return images + self.tail(self.head(images).relu())

    def sites(model):
        return [Site.of(model, "head", "conv3x3", level=1), Site.of(model, "head", "branch", level=1)]

    @hookimpl
    def adair_degradations():
        return [DegradationSpec(name="speckle", summary="multiplicative noise", config=SpeckleConfig, build=Speckle)]

    KINDS = frozenset({"branch"})

    @hookimpl
    def adair_adapters():
        return [AdapterSpec(name="shift", summary="a shift", config=ShiftConfig, kinds=KINDS, build=Shift)]

    @hookimpl
    def adair_backbones():
        return [BackboneSpec(name="flat", summary="two convolutions", config=FlatConfig, build=Flat, sites=sites)]
"""

DUPLICATE = """
    from adair_core import Config, DegradationSpec, hookimpl

    @hookimpl
    def adair_degradations():
        build = lambda config: None
        return [DegradationSpec(name=name, summary="x", config=Config, build=build) for name in ("fresh", "speckle")]
"""


@pytest.fixture
def strangers(tmp_path, monkeypatch):
    """Three packages: a good one, one that raises on import, one with a name of the first."""
    monkeypatch.setenv("ADAIR_STRICT_PLUGINS", "0")
    site = tmp_path / "site"
    write_package(site, "adair-plugin-a-three", {"three_plugin": THREE_KINDS}, version="0.3")
    write_package(site, "adair-plugin-b-broken", {"broken_plugin": "import nothing_of_that_name"})
    write_package(site, "adair-plugin-c-copy", {"copy_plugin": DUPLICATE})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        with installed(site):
            plugins.cache_clear()  # so that the program loads them, and warns, again
            yield site


def test_json(strangers):
    outcome = run_program("plugins", "--json")
    assert outcome.exit_code == 0
    offers = {(entry["kind"], entry["name"]): entry for entry in outcome.json["plugins"]}
    mine = {key for key, entry in offers.items() if entry["package"] == "adair-plugin-a-three"}
    assert mine == {("degradation", "speckle"), ("adapter type", "shift"), ("backbone", "flat")}
    assert offers["backbone", "flat"]["version"] == "0.3"
    assert offers["backbone", "flat"]["file"] == str(strangers / "three_plugin.py")
    assert offers["degradation", "gaussian-noise"]["package"] == "adair"
    assert ("degradation", "fresh") not in offers
    failures = {failure["package"]: failure for failure in outcome.json["failures"]}
    assert set(failures) == {"adair-plugin-b-broken", "adair-plugin-c-copy"}
    assert "No module named 'nothing_of_that_name'" in failures["adair-plugin-b-broken"]["reason"]
    assert failures["adair-plugin-b-broken"]["traceback"].startswith("Traceback")
    reason = failures["adair-plugin-c-copy"]["reason"]
    assert "adair-plugin-a-three 0.3 (three_plugin) and adair-plugin-c-copy 1.0 (copy_plugin)" in reason


def test_table(strangers):
    outcome = run_program("plugins")
    assert outcome.exit_code == 0
    row = next(line for line in outcome.stdout.splitlines() if line.startswith("speckle"))
    assert row.split() == ["speckle", "degradation", "adair-plugin-a-three", "0.3", str(strangers / "three_plugin.py")]
    assert "failed: adair-plugin-b-broken 1.0 (broken_plugin): ModuleNotFoundError" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert "Traceback" in run_program("plugins", "--debug").stderr


def test_warnings_are_one_line_each(strangers):
    lines = run_program("weights").stderr.splitlines()
    told = [line for line in lines if line.startswith("warning: plugin ")]
    assert ["b-broken" in told[0], "c-copy" in told[1]] == [True, True]
    assert len(told) == 2


def test_unknown_names_mention_the_failed(strangers):
    outcome = run_program("train", "--task", "fresh")
    assert outcome.exit_code == 2
    assert "unknown task 'fresh'" in outcome.stderr
    assert "2 plugins failed to load, see 'adair plugins'" in outcome.stderr


def test_a_strangers_three_kinds_together(strangers, photos):
    """Pre-train the stranger's backbone, then the stranger's adapter type on it for the stranger's degradation."""
    quick = ["--steps", 2, "--batch-size", 2, "--patch-size", 16, "--workers", 0, "--device", "cpu", "--data", photos]
    first = run_program(
        "pretrain", "--backbone", "flat", "--backbone.width", 4, "--mixture", "speckle:2,jpeg", *quick, "--json"
    )
    assert first.exit_code == 0, first.stderr
    second = run_program(
        *["train", "--task", "speckle", "--task.amount", "0.2", "--adapter", "shift", "--adapter.gain", 2],
        *["--base", first.json["weights"], *quick, "--json"],
    )
    assert second.exit_code == 0, second.stderr
    assert Path(second.json["folder"]).name == "speckle-shift"
    outcome = run_program("restore", photos / "photo0.png", "-o", "x.png", "--adapter", second.json["weights"])
    assert outcome.exit_code == 0, outcome.stderr
    outcome = run_program(
        "evaluate", "--task", "speckle", "--adapter", second.json["weights"], "--data", photos, "--json"
    )
    assert {row["condition"] for row in outcome.json["report"]["rows"]} == {"speckle"}


def test_strict_mode_is_an_error(strangers, monkeypatch):
    monkeypatch.setenv("ADAIR_STRICT_PLUGINS", "1")
    plugins.cache_clear()
    outcome = run_program("plugins")
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("error: plugin adair-plugin-b-broken 1.0 (broken_plugin): ModuleNotFoundError")
    assert len(outcome.stderr.splitlines()) == 1


def test_adapters():
    types = {entry["name"]: entry for entry in run_program("adapters", "--json").json["types"]}
    assert set(types) == set(plugins().adapters)
    assert types["lora"]["sites"] == ["conv1x1", "conv3x3", "dwconv"]
    assert "1.9M" in types["lora"]["presets"]
    assert "conv1x1, conv3x3, dwconv" in run_program("adapters").stdout


def test_weights(tmp_path, base):
    source = f"""
        from pathlib import Path
        from adair_core import WeightsSpec, hookimpl

        @hookimpl
        def adair_weights():
            path = Path({str(base)!r})
            return [WeightsSpec(name="own", summary="mine", version=4, kind="base", path=path, terms="CC0")]
    """
    write_package(tmp_path / "site", "adair-plugin-own", {"own_plugin": source})
    with installed(tmp_path / "site"):
        entry = next(e for e in run_program("weights", "--json").json["weights"] if e["name"] == "own@4")
        assert (entry["kind"], entry["terms"], entry["package"]) == ("base", "CC0", "adair-plugin-own")
        assert "own@4" in run_program("weights").stdout
