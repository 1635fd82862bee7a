"""Published values of single images, on the published images; they are not part of the repository.

    ADAIR_TEST_SETS=/data/sets pytest tests/evaluation/test_published_values.py

with ``Set5/clean/`` below that folder: baby, bird, butterfly, head and woman.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adair_core.evaluation import evaluate, evaluation_images
from adair_core.plugins import plugins

ROOT = os.environ.get("ADAIR_TEST_SETS", "")

# Bicubic interpolation, PSNR of Y in dB: Dong, Loy, He, Tang, "Learning a Deep Convolutional Network for Image
# Super-Resolution", 2014, table 1.
BICUBIC = {
    2: {"baby": 37.07, "bird": 36.81, "butterfly": 27.43, "head": 34.86, "woman": 32.14},
    3: {"baby": 33.91, "bird": 32.58, "butterfly": 24.04, "head": 32.88, "woman": 28.56},
    4: {"baby": 31.78, "bird": 30.18, "butterfly": 22.10, "head": 31.59, "woman": 26.46},
}


@pytest.mark.skipif(not ROOT, reason="ADAIR_TEST_SETS does not name a folder with the published images")
@pytest.mark.parametrize("scale", BICUBIC)
def test_bicubic_on_set5(scale: int) -> None:
    task = plugins().task("super-resolve")
    protocol = task.protocol(task.config(scale=scale))
    report = evaluate(lambda x: x, protocol, evaluation_images(Path(ROOT) / "Set5" / "clean"), metrics=["psnr"])
    found = {name.split("_")[0].split(".")[0]: value for name, value in report.values("psnr").items()}
    assert found == pytest.approx(BICUBIC[scale], abs=0.03)  # 0.02 dB apart at most
