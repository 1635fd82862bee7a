"""Options of `adair restore` and `adair evaluate` that say how the network computes."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np

from adair_core.cli.models import PRECISIONS
from adair_core.data.images import read_image
from adair_core.model import load
from adair_core.model.restoring import Precision
from adair_core.testing import run_program


def pixels(path: Path | str) -> np.ndarray:
    return read_image(Path(path)).pixels


def test_precision_reaches_the_network(adapter, photos):
    restored = {}
    for precision in PRECISIONS:
        out = Path(f"{precision}.png")
        outcome = run_program(
            "restore", photos / "photo0.png", "--adapter", adapter, "--precision", precision, "-o", out
        )
        assert outcome.exit_code == 0, outcome.stderr
        restored[precision] = pixels(out).astype(int)
    difference = {name: np.abs(image - restored["float32"]).max() for name, image in restored.items()}
    assert 0 < difference["bfloat16"] < 20
    assert difference["float16"] <= difference["bfloat16"]


def test_precisions_are_those_of_the_network():
    assert get_args(Precision) == PRECISIONS


def test_exact_is_the_whole_images_result(adapter, photos):
    restored = {}
    for way in (("--tile", "none"), ("--exact",)):
        outcome = run_program(
            "restore", photos / "photo0.png", "--adapter", adapter, *way, "-o", "out.png", "--overwrite"
        )
        assert outcome.exit_code == 0, outcome.stderr
        restored[way] = pixels("out.png").astype(int)
    first, second = restored.values()
    assert np.abs(first - second).max() <= 1
    outcome = run_program("restore", photos, "--adapter", adapter, "--exact", "--tile", 64, "-o", "none")
    assert (outcome.exit_code, "exact: expected neither tiles" in outcome.stderr) == (2, True)
    assert not Path("none").exists()


def test_a_self_ensemble_reaches_the_network_and_is_reported(base, adapter, photos):
    restoring = ["restore", photos / "photo0.png", "--adapter", adapter, "--self-ensemble"]
    assert run_program(*restoring, "-o", "out.png").exit_code == 0
    model = load(base)
    model.load_adapter(adapter)
    before = pixels(photos / "photo0.png")
    assert np.array_equal(pixels("out.png"), model.restore(before, ensemble=True))
    assert not np.array_equal(pixels("out.png"), model.restore(before))
    reports = {}
    for options in ([], ["--self-ensemble"]):
        outcome = run_program(
            "evaluate", "--task", "denoise", "--data", photos, "--adapter", adapter, *options, "--json"
        )
        assert outcome.exit_code == 0, outcome.stderr
        reports[bool(options)] = outcome.json["report"]
    assert reports[True]["restorer"] == {
        **reports[False]["restorer"],
        "title": f"{reports[False]['restorer']['title']}, self-ensemble",
        "ensemble": True,
    }
    assert reports[True]["rows"] != reports[False]["rows"]
    assert "leave one of them out" in run_program(*restoring, "--exact", "-o", "x.png").stderr
