"""The example package: built, installed into a throw-away environment, trained with, removed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adair_core.model import save_base, untrained

EXAMPLE = Path(__file__).parents[2] / "examples" / "adair-plugin-film-grain"

# One process for the package's own tests and for the training: importing torch is the slowest part of both.
OWN_TESTS_THEN_PROGRAM = """
import sys
import pytest
code = pytest.main(["-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", sys.argv[1], sys.argv[1]])
assert code == 0, code
sys.argv[1:] = sys.argv[2:]
from adair_core.cli import main
main()
"""
PROGRAM = "from adair_core.cli import main; main()"


def python(*arguments: object, site: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site), "ADAIR_STRICT_PLUGINS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The example, installed as a stranger would install it, away from the repository and from the network."""
    source = tmp_path_factory.mktemp("source") / EXAMPLE.name
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    target = tmp_path_factory.mktemp("environment") / "site"
    pip = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    outcome = python(*pip, "--no-index", "--target", target, source, site=target, folder=source.parent)
    assert outcome.returncode == 0, outcome.stderr
    return target


@pytest.mark.slow
def test_train_with_it_then_remove_it(site, tmp_path):
    base = tmp_path / "tiny.safetensors"
    model = untrained("restormer", dim=4, blocks=(1, 1, 1, 1), heads=(1, 1, 1, 1))
    save_base(base, model.backbone, backbone=model.info.backbone)
    train = [
        *["train", "--task", "film-grain", "--task.strength", "20", "--adapter.rank", "2", "--base", base],
        *[
            "--steps",
            3,
            "--batch-size",
            2,
            "--patch-size",
            32,
            "--workers",
            0,
            "--validate-every",
            0,
            "--device",
            "cpu",
        ],
        *["--out", "run", "--json"],
    ]
    # Outside the example's folder, so that the installed package is what is tested.
    shutil.copytree(EXAMPLE / "tests", tmp_path / "own-tests")
    outcome = python("-c", OWN_TESTS_THEN_PROGRAM, tmp_path / "own-tests", *train, site=site, folder=tmp_path)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert " passed" in outcome.stdout
    result = json.loads(outcome.stdout[outcome.stdout.index("\n{\n") :])
    assert result["step"] == 3
    assert (Path(result["weights"]) / "adapter_model.safetensors").is_file()
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe["task"] == {
        "name": "film-grain",
        "options": {"strength": [20, 20], "size": [0.5, 1.2], "monochrome": False},
    }

    shutil.rmtree(site)
    outcome = python("-c", PROGRAM, *train, site=site, folder=tmp_path)
    assert outcome.returncode == 2
    assert outcome.stderr.startswith("error: unknown task 'film-grain'")
    assert "film-grain" not in outcome.stderr.partition("known:")[2]
