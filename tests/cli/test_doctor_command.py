"""`adair doctor`: versions, devices, plugins, kernels."""

from __future__ import annotations

import platform
import warnings

import pydantic
import torch

from adair_core import ops
from adair_core.plugins import PluginWarning
from adair_core.testing import installed, run_program, write_package


def test_json():
    report = run_program("doctor", "--json").json
    assert report["versions"]["torch"] == torch.__version__.split("+")[0]
    assert report["versions"]["pydantic"] == pydantic.VERSION
    assert report["versions"]["python"] == platform.python_version()
    assert report["versions"]["adair"] == "0.1.0"
    assert f"{torch.get_num_threads()} threads" in report["devices"]["cpu"]
    assert any(key.startswith("adair 0.1.0: degradations") for key in report["plugins"])
    for operator in ops.__all__:
        assert report["kernels"][operator]["cpu"] in ("reference", "native")
        assert f"{operator}_backward" in report["kernels"]


def test_a_native_kernel_is_told(monkeypatch):
    asked = torch._C._dispatch_has_kernel_for_dispatch_key
    name = "adair::layer_norm2d"
    monkeypatch.setattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", lambda op, key: op == name or asked(op, key))
    outcome = run_program("doctor")
    row = next(line for line in outcome.stdout.splitlines() if line.startswith("layer_norm2d "))
    assert row.split()[1] == "native"
    assert "no native kernels" not in outcome.stdout


def test_text():
    outcome = run_program("doctor")
    assert outcome.exit_code == 0
    assert "Every operator runs as its PyTorch reference: this version has no native kernels." in outcome.stdout
    assert outcome.stderr == ""


def test_failed_plugins_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAIR_STRICT_PLUGINS", "0")
    write_package(tmp_path / "site", "adair-plugin-bad", {"bad_plugin": "raise RuntimeError('no')"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        with installed(tmp_path / "site"):
            report = run_program("doctor", "--json").json
    assert report["plugins"]["adair-plugin-bad 1.0: bad_plugin"] == "left out: RuntimeError: no"
