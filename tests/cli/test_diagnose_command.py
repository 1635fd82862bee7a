"""``adair diagnose`` on files, with a network whose scores are set by hand."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from adair_core.cli.program import program
from adair_core.diagnosis import CLEAN, Diagnoser, DiagnosisNetwork, DiagnosisNetworkConfig, Finding
from adair_core.diagnosis.diagnoser import Familiar
from adair_core.testing import run_program


@pytest.fixture
def always(tmp_path):
    """Make the file of a diagnoser that finds the same in every image."""

    def made(index: int) -> str:
        torch.manual_seed(0)
        config = DiagnosisNetworkConfig(widths=(4, 6), hidden=5)
        network = DiagnosisNetwork(config, 2)
        with torch.no_grad():
            network.scores.weight.zero_()
            network.scores.bias.copy_(torch.tensor([3.0, -3.0] if index == 0 else [-3.0, 3.0]))
        familiar = Familiar(torch.zeros(2, 5), torch.eye(5), torch.full((2,), 100.0))
        findings = (CLEAN, Finding("motion blur", "deblur", {"kind": "motion"}))
        path = tmp_path / f"always{index}.safetensors"
        Diagnoser(config, network, findings, familiar).save(path, recipe={})
        return str(path)

    return made


def run(*arguments: str):
    return CliRunner().invoke(program, ["diagnose", *arguments])


def test_a_folder_as_a_table(photos, always):
    result = run(str(photos), "--diagnoser", always(1))
    assert result.exit_code == 0, result.output
    assert result.output.count("motion blur (100%)") == 3
    assert result.output.count("--task deblur --task.kind motion") == 3


def test_json(photos, always):
    result = run(str(photos / "photo0.png"), "--diagnoser", always(0), "--json")
    (told,) = json.loads(result.stdout)
    assert (told["verdict"], told["task"]) == ("clean", None)
    assert told["probabilities"]["clean"] == pytest.approx(1 / (1 + torch.tensor(-6.0).exp().item()), abs=1e-4)


def test_a_bad_file_is_told_and_the_others_are_diagnosed(photos, always, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    result = run(str(tmp_path / "bad.png"), str(photos / "photo0.png"), "--diagnoser", always(1))
    assert result.exit_code == 1
    assert "bad.png" in result.stderr
    assert result.stdout.count("motion blur") == 1


def test_videos_are_refused(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"")
    outcome = run_program("diagnose", tmp_path / "clip.mp4")
    assert outcome.exit_code == 2
    assert "expected images, got videos" in outcome.stderr


def test_each_page_is_diagnosed(always, tmp_path):
    first, second = (Image.new("RGB", (40, 30), (level, 0, 0)) for level in (10, 200))
    first.save(tmp_path / "two.tif", save_all=True, append_images=[second])
    result = run(str(tmp_path / "two.tif"), "--diagnoser", always(1), "--json")
    assert [(told["page"], told["task"]) for told in json.loads(result.stdout)] == [(1, "deblur"), (2, "deblur")]


def test_names_that_break_lines_or_are_no_text(photos, always, tmp_path, monkeypatch):
    names = [b"two\nlines.png", b"latin\xe9.png", "h\u00e9.png".encode()]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes((photos / "photo0.png").read_bytes())
    (tmp_path / "no\nimage.png").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    result = run(".", "--diagnoser", always(1))
    assert len(result.stdout.splitlines()) == 1 + len(names)
    assert len(result.stderr.splitlines()) == 1
    result = run(".", "--diagnoser", always(1), "--json")
    assert {os.fsencode(told["image"]) for told in json.loads(result.stdout)} == set(names)


def test_floats_that_are_not_in_the_range_of_white(always, tmp_path):
    bright = tmp_path / "bright.tif"
    Image.fromarray(np.linspace(0, 255, 40 * 30, dtype=np.float32).reshape(30, 40)).save(bright)
    result = run(str(bright), "--diagnoser", always(1))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "bright.tif: 99% of the float values are above 2" in result.stderr
    assert result.stderr.endswith("give --white 255\n")
    assert "motion blur" in run(str(bright), "--diagnoser", always(1), "--white", "255").stdout
    assert "--white: expected a positive number" in run_program("diagnose", bright, "--white", "0").stderr
