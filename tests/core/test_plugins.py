"""The loader: isolation, atomic batches, strict mode, duplicates, provenance."""

from __future__ import annotations

import sys
import warnings
from contextlib import contextmanager
from importlib import metadata

import pytest

from adair_core import plugins as program_plugins
from adair_core.errors import PluginError, UnknownNameError, UsageError
from adair_core.plugins import Plugins, PluginWarning, load
from adair_core.registry import Provenance
from adair_core.specs import Choice, Config, DegradationSpec
from adair_core.testing import installed, write_package

GRAIN = """
    from adair_core import Config, ConfiguredDegradation, DegradationSpec, hookimpl

    class Grain(ConfiguredDegradation):
        def draw(self, shape, generator):
            return {}

        def degrade(self, images, draws):
            return images * 0.5

    @hookimpl
    def adair_degradations():
        return [DegradationSpec(name="NAME", summary="grain", config=Config, build=Grain)]
"""


def grain(name: str) -> str:
    return GRAIN.replace("NAME", name)


@pytest.fixture
def lenient(monkeypatch):
    monkeypatch.setenv("ADAIR_STRICT_PLUGINS", "0")


@contextmanager
def quietly_installed(*folders):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        with installed(*folders) as loaded:
            yield loaded


def failing(folder, source: str) -> str:
    """The reason for which a plugin with this source is left out; the built-in ones and a good one stay."""
    write_package(folder / "bad", "adair-plugin-bad", {"bad_plugin": source})
    write_package(folder / "good", "adair-plugin-good", {"good_plugin": grain("good-grain")})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with installed(folder / "bad", folder / "good") as loaded:
            assert "good-grain" in loaded.degradations
            assert "gaussian-noise" in loaded.degradations
            assert len(loaded.failures) == 1
            failure = loaded.failures[0]
    told = [str(warning.message) for warning in caught if warning.category is PluginWarning]
    assert len(told) == 1
    assert told[0] == f"plugin adair-plugin-bad 1.0 (bad_plugin) is left out: {failure.reason}"
    assert "\n" not in failure.reason
    assert failure.details.startswith("Traceback")
    assert failure.source.package == "adair-plugin-bad"
    return failure.reason


def test_a_package_is_found_and_gone_again(tmp_path):
    write_package(tmp_path, "adair-plugin-grain", {"grain_plugin": grain("fine-grain")}, version="2.5")
    with installed(tmp_path) as loaded:
        assert loaded.failures == []
        source = loaded.degradations.provenance("fine-grain")
        assert (source.package, source.version, source.module) == ("adair-plugin-grain", "2.5", "grain_plugin")
        assert source.file == str(tmp_path / "grain_plugin.py")
        assert program_plugins() is loaded
        assert loaded.degradation(Choice(name="fine-grain")) is not None
    assert "fine-grain" not in program_plugins().degradations
    assert "grain_plugin" not in sys.modules


def test_an_attribute_of_a_module_as_plugin(tmp_path):
    source = """
        from adair_core import MetricSpec, hookimpl

        class Plugin:
            @hookimpl
            def adair_metrics(self):
                return [MetricSpec(name="mae", summary="x", build=lambda: None, higher_is_better=False)]

        plugin = Plugin()
    """
    write_package(tmp_path, "adair-plugin-mae", {"mae_plugin": source}, entry_points={"mae": "mae_plugin:plugin"})
    with installed(tmp_path) as loaded:
        assert loaded.metrics.provenance("mae").file == str(tmp_path / "mae_plugin.py")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import does_not_exist_anywhere", "ModuleNotFoundError: No module named 'does_not_exist_anywhere'"),
        ("raise RuntimeError('first\\nsecond')", "RuntimeError: first second"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("class Odd(BaseException): pass\nraise Odd('x')", "Odd: x"),
        ("def (", "SyntaxError:"),
        ("x = 1", "bad_plugin implements no hook; expected at least one function marked with adair_core.hookimpl"),
    ],
    ids=["missing", "raises", "exits", "base-exception", "syntax", "no-hook"],
)
def test_failures_on_import(tmp_path, lenient, source, reason):
    assert reason in failing(tmp_path, source)


HOOK = """
    import warnings
    from adair_core import Config, DegradationSpec, MetricSpec, hookimpl

    def spec(name):
        return DegradationSpec(name=name, summary="x", config=Config, build=lambda config: None)

    @hookimpl
    def adair_metrics():
        return [MetricSpec(name="bad-metric", summary="x", build=lambda: None, higher_is_better=True)]

    @hookimpl
    def adair_degradations():
        BODY
"""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise ValueError('in the hook')", "adair_degradations raised ValueError: in the hook"),
        ("raise SystemExit", "adair_degradations raised SystemExit"),
        ("spec('x')", "adair_degradations returned None; expected an iterable of records; is a return missing?"),
        ("return 5", "TypeError: 'int' object is not iterable"),
        ("return ['grain']", "expected DegradationSpec records, got str"),
        ("return spec('x')", "TypeError: 'DegradationSpec' object is not iterable"),
        ("return [spec('Bad Name')]", "name: expected lower-case words joined by '-'"),
        ("return [spec('x'), spec('x')]", "degradation 'x' is offered by both adair-plugin-bad 1.0 (bad_plugin) and"),
        ("yield spec('x'); raise ValueError('late')", "adair_degradations raised ValueError: late"),
    ],
)
def test_failures_in_a_hook_add_nothing(tmp_path, lenient, body, reason):
    assert reason in failing(tmp_path, HOOK.replace("BODY", body))
    with quietly_installed(tmp_path / "bad") as loaded:
        assert "bad-metric" not in loaded.metrics
        assert "x" not in loaded.degradations


def test_what_a_plugin_prints_is_not_output(tmp_path, capsys):
    talk = "        print('in a hook')\n        return [Deg"
    source = "    print('at import')\n" + grain("loud-grain").replace("        return [Deg", talk)
    write_package(tmp_path, "adair-plugin-loud", {"loud_plugin": source})
    with installed(tmp_path) as loaded:
        assert "loud-grain" in loaded.degradations
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ["at import" in printed.err, "in a hook" in printed.err] == [True, True]


def test_a_misspelt_hook_is_found(tmp_path, lenient):
    reason = failing(tmp_path, "from adair_core import hookimpl\n@hookimpl\ndef adair_degradation():\n    return []")
    assert "unknown hook 'adair_degradation'" in reason


def test_a_wrong_signature_does_not_harm_later_plugins(tmp_path, lenient):
    """A typo beside it: what pluggy has half registered must not fail every later plugin."""
    source = """
        from adair_core import hookimpl

        @hookimpl
        def adair_degradation():
            return []

        @hookimpl
        def adair_degradations(registry):
            return []
    """
    assert "registry" in failing(tmp_path, source)


def test_ctrl_c_is_not_swallowed(tmp_path, lenient):
    write_package(tmp_path, "adair-plugin-bad", {"bad_plugin": "raise KeyboardInterrupt"})
    with pytest.raises(KeyboardInterrupt), installed(tmp_path):
        pass


@pytest.mark.parametrize(("value", "strict"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_strict_mode(tmp_path, monkeypatch, value, strict):
    monkeypatch.setenv("ADAIR_STRICT_PLUGINS", value)
    write_package(tmp_path, "adair-plugin-bad", {"bad_plugin": "raise RuntimeError('no')"})
    wanted = r"plugin adair-plugin-bad 1\.0 \(bad_plugin\)( is left out)?: RuntimeError: no"
    if strict:
        with pytest.raises(PluginError, match=wanted) as e, installed(tmp_path):
            pass
        assert isinstance(e.value.__cause__, RuntimeError)
    else:
        with pytest.warns(PluginWarning, match=wanted), installed(tmp_path):
            pass


def test_duplicate_of_a_built_in_names_both(tmp_path, lenient):
    reason = failing(tmp_path, grain("gaussian-noise"))
    assert reason.startswith("degradation 'gaussian-noise' is offered by both adair ")
    assert "and adair-plugin-bad 1.0 (bad_plugin); names are never replaced silently: rename one of them" in reason


def test_the_first_of_two_packages_keeps_the_name(tmp_path, lenient):
    write_package(tmp_path / "a", "adair-plugin-alpha", {"alpha_plugin": grain("shared-grain")})
    write_package(tmp_path / "b", "adair-plugin-beta", {"beta_plugin": grain("shared-grain")})
    with quietly_installed(tmp_path / "b", tmp_path / "a") as loaded:
        assert loaded.degradations.provenance("shared-grain").package == "adair-plugin-alpha"
        assert "adair-plugin-alpha 1.0 (alpha_plugin) and adair-plugin-beta 1.0" in loaded.failures[0].reason


def test_a_degradation_named_as_anothers_task(tmp_path, lenient):
    """Both would be `--task denoise`: one of them could not be reached."""
    assert "task 'denoise' is offered by both adair " in failing(tmp_path, grain("denoise"))


def test_the_same_entry_point_name_in_two_packages(tmp_path):
    for letter in "ab":
        write_package(
            tmp_path / letter,
            f"adair-plugin-{letter}",
            {f"{letter}_plugin": grain(f"grain-{letter}")},
            entry_points={"grain": f"{letter}_plugin"},
        )
    with installed(tmp_path / "a", tmp_path / "b") as loaded:
        assert {"grain-a", "grain-b"} <= set(loaded.degradations)


def test_the_same_module_twice(tmp_path, lenient):
    points = {"one": "twice_plugin", "two": "twice_plugin"}
    write_package(tmp_path, "adair-plugin-twice", {"twice_plugin": grain("grain-twice")}, entry_points=points)
    with quietly_installed(tmp_path) as loaded:
        assert "grain-twice" in loaded.degradations
        assert "already loaded, as adair-plugin-twice:one" in loaded.failures[0].reason


def test_a_plugin_cannot_take_a_commands_name(tmp_path, lenient):
    source = """
        import click
        from adair_core import hookimpl

        @hookimpl
        def adair_commands():
            return [click.Command("new-plugin")]
    """
    assert "command 'new-plugin' is offered by both adair itself and adair-plugin-bad" in failing(tmp_path, source)


def test_unknown_names_count_the_failed(tmp_path, lenient):
    write_package(tmp_path, "adair-plugin-bad", {"bad_plugin": "raise RuntimeError"})
    with quietly_installed(tmp_path) as loaded:
        for look_up in (loaded.task, loaded.degradations.__getitem__, loaded.weights_named):
            with pytest.raises(UnknownNameError, match="1 plugin failed to load, see 'adair plugins'"):
                look_up("no-such-name")


def test_everything_in_one_package(tmp_path):
    write_package(tmp_path, "adair-plugin-all", {"all_plugin": ALL_IN_ONE})
    with installed(tmp_path) as loaded:
        for registry in (loaded.degradations, loaded.tasks, loaded.adapters, loaded.backbones, loaded.metrics):
            assert registry.provenance("mine").package == "adair-plugin-all"
        assert loaded.callbacks["mine"].build() is not None
        assert loaded.commands["mine"].name == "mine"
        assert loaded.weights_named("mine").versioned_name == "mine@10"
        assert loaded.weights_named("mine@9").version == 9


def test_nobody_takes_over_the_bare_name_of_anothers_weights(tmp_path, lenient):
    name = next(iter(program_plugins().weights.values())).name
    source = f"""
        from pathlib import Path
        from adair_core import WeightsSpec, hookimpl

        @hookimpl
        def adair_weights():
            here = Path(__file__)
            return [WeightsSpec(name={name!r}, summary="x", version=99, kind="base", path=here, terms="CC0")]
    """
    reason = failing(tmp_path, source)
    assert f"weights {name!r} is offered by both adair " in reason
    assert "adair-plugin-bad" in reason


ALL_IN_ONE = """
    from pathlib import Path

    import click
    from torch import nn
    from adair_core import *
    from adair_core import CallbackSpec, Config, Protocol, Condition, hookimpl

    SAME = {"name": "mine", "summary": "all in one"}

    @hookimpl
    def adair_degradations():
        return (DegradationSpec(**SAME, config=Config, build=lambda config: None),)

    @hookimpl
    def adair_tasks():
        protocol = Protocol(name="mine", conditions=(Condition(label="real pairs"),))
        yield TaskSpec(**SAME, config=Config, degradation=lambda config: None, protocol=lambda config: protocol)

    @hookimpl
    def adair_adapters():
        return [AdapterSpec(**SAME, config=Config, kinds=frozenset({"stage"}), build=lambda config, site: None)]

    @hookimpl
    def adair_backbones():
        return [BackboneSpec(**SAME, config=Config, build=lambda config: nn.Identity(), sites=lambda model: [])]

    @hookimpl
    def adair_metrics():
        return [MetricSpec(**SAME, build=lambda: lambda a, b: 0.0, higher_is_better=False)]

    @hookimpl
    def adair_weights():
        here = Path(__file__)
        return [WeightsSpec(**SAME, version=v, kind="base", path=here, terms="CC0") for v in (9, 10)]

    @hookimpl
    def adair_commands():
        return [click.Command("mine")]

    @hookimpl
    def adair_callbacks():
        return [CallbackSpec(**SAME, build=object)]
"""


def test_a_degradation_is_a_task():
    task = program_plugins().task("gaussian-noise")
    config = task.config(sigma=25)
    assert task.degradation(config) == Choice(name="gaussian-noise", options={"sigma": [25.0, 25.0]})
    condition = task.protocol(config).conditions[0]
    assert condition.degradation == task.degradation(config)
    assert task.degradation(task.config()).options == {}


def test_a_task_goes_before_the_degradation_of_its_name():
    shared = set(program_plugins().tasks) & set(program_plugins().degradations)
    assert shared
    for name in shared:
        assert program_plugins().task(name) is program_plugins().tasks[name]


def test_bad_options_of_a_degradation():
    with pytest.raises(UsageError, match="degradation 'gaussian-noise': sigma"):
        program_plugins().degradation(Choice(name="gaussian-noise", options={"sigma": "loud"}))


def test_the_built_ins_come_through_entry_points_alone():
    names = {point.name for point in metadata.entry_points(group="adair.plugins") if point.dist.name == "adair"}
    assert {"degradations", "adapters", "backbones", "tasks", "metrics", "zoo"} <= names
    assert len(Plugins.from_entry_points([]).degradations) == 0
    assert load(strict=True).failures == []


def test_broken_metadata_of_a_package(tmp_path, lenient):
    write_package(tmp_path, "adair-plugin-odd", {"odd_plugin": grain("odd-grain")})
    (tmp_path / "adair_plugin_odd-1.0.dist-info" / "METADATA").unlink()
    with installed(tmp_path) as loaded:
        assert "odd-grain" in loaded.degradations


def test_what_a_plugin_builds_must_be_what_it_says() -> None:
    found = Plugins()
    forgetful = DegradationSpec(name="nothing", summary="s", config=Config, build=lambda _: None)
    found.degradations.add([forgetful], Provenance("here", "1", "here", "here", __file__))
    with pytest.raises(PluginError, match="degradation 'nothing': build: expected a Degradation, got None"):
        found.degradation(Choice(name="nothing"))
