"""What tools/gpu_check.py asks of the machine that it comes to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from gpu_checks import prerequisites
from gpu_checks.setting_up import TRAININGS, marked_files

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "gpu_check.py"


def test_a_bare_machine_is_told_what_to_do():
    done = subprocess.run([sys.executable, "-S", str(TOOL), "run"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "\n  adair itself: adair_core is not installed\n" in done.stderr
    for requirement in (*prerequisites.RUNNING.values(), *prerequisites.BUILDING.values()):
        assert f"\n  {requirement}\n" in done.stderr
    assert f"\n  {prerequisites.INSTALL}" in done.stderr


@pytest.mark.parametrize(
    ("version", "told"), [("65.5.0", True), ("76.1", True), ("77", False), ("77.0.1", False), ("101.2.dev3", False)]
)
def test_what_is_too_old_is_missing(version: str, told: bool, monkeypatch: pytest.MonkeyPatch):
    usual = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: version if name == "setuptools" else usual(name))
    advice = prerequisites.advice(building=True) or ""
    assert ("\n  setuptools>=77\n" in advice) == told
    monkeypatch.setattr(metadata, "version", lambda name: "2.10.9+cu130" if name == "torch" else usual(name))
    assert "\n  torch>=2.11\n" in prerequisites.advice(building=False)


def test_another_copy_of_adair_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert prerequisites.advice(building=False) is None
    monkeypatch.setattr(prerequisites, "ROOT", tmp_path)
    assert f"expected {tmp_path / 'adair_core'}" in prerequisites.advice(building=False)
    monkeypatch.undo()
    monkeypatch.setattr(metadata, "entry_points", lambda group: [])
    assert "is not installed, so its built-in plugins are not known" in prerequisites.advice(building=False)


def test_what_is_asked_of_a_machine_is_what_adair_requires():
    text = (ROOT / "pyproject.toml").read_text()
    required = set(re.findall(r'"([A-Za-z][A-Za-z_0-9]*(?:>=[\d.]+)?)"', text))
    assert {*prerequisites.RUNNING.values(), *prerequisites.BUILDING.values()} <= required


BLOCKED = """
import importlib.machinery, os, sys
blocked = set(sys.argv[1].split(","))
class Blocker:
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name.partition(".")[0] in blocked else None
    def create_module(self, spec):
        raise ModuleNotFoundError(spec.name)
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, Blocker())
sys.path.insert(0, "tools")
from gpu_checks import command, networks
from gpu_checks.device import Device
assert networks.mixed_batch(Device("cpu"))["failures"] == []
import pytest
sys.exit(pytest.main(["-q", "--collect-only", "-m", "gpu", "-p", "no:cacheprovider", *sys.argv[2:]]))
"""


def test_what_is_asked_of_a_machine_is_enough():
    """With every other package of this environment out of reach."""
    needed, queue = set(), [Requirement(text).name for text in prerequisites.RUNNING.values()]
    while queue:
        name = queue.pop().lower().replace("_", "-")
        if name not in needed:
            needed.add(name)
            requirements = map(Requirement, metadata.requires(name) or [])
            queue += [each.name for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
    blocked = {
        module
        for module, names in metadata.packages_distributions().items()
        if not needed & {name.lower().replace("_", "-") for name in names} and "adair" not in {*names, module}
    }
    assert {"rich", "pyvips", "accelerate", "hypothesis"} <= blocked
    files = [file for file in marked_files() if not file.startswith(TRAININGS)]  # which have a step of their own
    words = [sys.executable, "-c", BLOCKED, ",".join(sorted(blocked)), *files]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
