"""Training on a GPU goes on to the bits of a run that nothing has stopped; the same functions run on a CPU, too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import Interrupt, adapter_recipe, pretrain_recipe, write_photos

from adair_core.errors import Interrupted
from adair_core.training import RunResult, pretrain, train

pytestmark = pytest.mark.usefixtures("without_pictures")


def check_resume(device: str, precision: str, out: Path) -> None:
    """A base and an adapter, each trained at once and in two sittings."""
    photos = write_photos(out / "photos")
    settings = {"device": device, "precision": precision}
    base = _both(pretrain, pretrain_recipe(photos, **settings), out / "base")
    _both(train, adapter_recipe(base.weights, photos, **settings), out / "adapter")


def _both(run, recipe, out: Path) -> RunResult:
    whole = run(recipe, out / "whole")
    with pytest.raises(Interrupted):
        run(recipe, out / "part", callbacks=[Interrupt(7)])
    resumed = run(recipe, out / "part", resume=True)
    weights = [
        load_file(file)
        for result in (whole, resumed)
        for file in ([result.weights] if result.weights.is_file() else sorted(result.weights.glob("*.safetensors")))
    ]
    assert len(weights) == 2
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
    assert resumed.validation == whole.validation
    return whole


def test_a_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    check_resume("cpu", "float16", tmp_path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_run_on_a_device_goes_on_to_the_same_bits(precision: str, tmp_path: Path) -> None:
    check_resume("cuda", precision, tmp_path)
