"""`adair doctor`: versions, devices, plugins, kernels."""

from __future__ import annotations

import platform
import warnings
from pathlib import Path

import pydantic
import torch

from adair_core import ops
from adair_core.ops import native, registration
from adair_core.ops.native import NativeKernel
from adair_core.plugins import PluginWarning
from adair_core.testing import installed, run_program, write_package


def loaded() -> bool:
    return native.library().loaded


def test_json():
    report = run_program("doctor", "--json").json
    assert report["versions"]["torch"] == torch.__version__.split("+")[0]
    assert report["versions"]["pydantic"] == pydantic.VERSION
    assert report["versions"]["python"] == platform.python_version()
    assert report["versions"]["adair"] == "0.1.0"
    assert f"{torch.get_num_threads()} threads" in report["devices"]["cpu"]
    assert report["no_graphs"] == (None if torch.cuda.is_available() else "PyTorch sees no CUDA device")
    assert any(key.startswith("adair 0.1.0: degradations") for key in report["plugins"])
    for operator in (name for name in ops.__all__ if hasattr(torch.ops.adair, name)):
        assert set(report["kernels"][operator]) >= {f"cpu {dtype}" for dtype in ("float32", "bfloat16", "float64")}
        assert f"{operator}_backward" in report["kernels"]


def test_which_kernel_runs():
    reported = run_program("doctor", "--json").json["kernels"]
    for name in registration.KERNELS:
        assert (reported[name]["cpu float32"] is None) == loaded()
        assert reported[name]["cpu float64"] == (
            "native kernels take float32 and bfloat16, not float64" if loaded() else "the native library is not built"
        )
    assert all(reported[name]["cpu float32"] for name in reported if name not in registration.KERNELS)


def test_a_kernel_that_refuses_says_why(monkeypatch):
    refusing = NativeKernel(lambda *_: None, lambda *_: "images of this size are the library's")
    monkeypatch.setitem(registration.KERNELS, "layer_norm2d", refusing)
    monkeypatch.setattr(native, "library", lambda: native.Library(Path("x.so"), capability="avx2"))
    outcome = run_program("doctor")
    row = next(line for line in outcome.stdout.splitlines() if line.startswith("layer_norm2d "))
    assert row.split()[1:5] == ["reference"] * 4
    assert "reference: images of this size are the library's (layer_norm2d)" in outcome.stdout


def test_switched_off():
    with native.references_only():
        kernels = run_program("doctor", "--json").json["kernels"]
    for name in registration.KERNELS:
        assert kernels[name]["cpu float32"] == "native kernels are switched off"


def test_text():
    outcome = run_program("doctor")
    assert outcome.exit_code == 0
    assert outcome.stderr == ""
    assert "native build" in outcome.stdout
    assert "CUDA graphs: " in outcome.stdout
    assert ("to do:" in outcome.stdout) != loaded()


def test_failed_plugins_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAIR_STRICT_PLUGINS", "0")
    write_package(tmp_path / "site", "adair-plugin-bad", {"bad_plugin": "raise RuntimeError('no')"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        with installed(tmp_path / "site"):
            report = run_program("doctor", "--json").json
    assert report["plugins"]["adair-plugin-bad 1.0: bad_plugin"] == "left out: RuntimeError: no"
