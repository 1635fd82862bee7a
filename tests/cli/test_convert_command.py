"""`adair convert`: foreign weights to a base file, without executing anything in them."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from adair_core.model import load, untrained
from adair_core.testing import run_program

SHAPE = {"dim": 4, "blocks": (1, 1, 1, 1), "heads": (1, 1, 1, 1)}
OPTIONS = [
    "--backbone",
    "restormer",
    "--backbone.dim",
    4,
    "--backbone.blocks",
    "1,1,1,1",
    "--backbone.heads",
    "1,1,1,1",
]


@pytest.fixture(scope="module")
def model():
    return untrained("restormer", seed=5, **SHAPE)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"params": state},
        lambda state: {"params_ema": state, "params": {name: tensor + 1 for name, tensor in state.items()}},
        lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 3},
        lambda state: {"model": {"state_dict": {f"model.net.{name}": tensor for name, tensor in state.items()}}},
    ],
    ids=["bare", "params", "ema", "parallel", "nested"],
)
def test_forms_of_files(wrap, model):
    torch.save(wrap(model.backbone.state_dict()), "foreign.pth")
    outcome = run_program("convert", "foreign.pth", *OPTIONS, "-o", "base.safetensors", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    image = torch.rand(1, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    converted = load("base.safetensors")
    with torch.no_grad():
        assert torch.equal(converted(image), model(image))
    assert outcome.json["fingerprint"] == converted.info.fingerprint
    assert outcome.json["backbone"]["options"]["dim"] == 4


def test_a_named_key_a_default_name_and_safetensors(model):
    state = model.backbone.state_dict()
    torch.save({"params": {"x": torch.ones(1)}, "mine": state}, "foreign.pth")
    assert run_program("convert", "foreign.pth", *OPTIONS, "--key", "mine").exit_code == 0
    assert Path("foreign.safetensors").exists()
    save_file(state, "plain.safetensors")
    assert run_program("convert", "plain.safetensors", *OPTIONS, "-o", "out.safetensors").exit_code == 0
    again = run_program("convert", "foreign.pth", *OPTIONS, "--key", "mine")
    assert again.exit_code == 2
    assert "foreign.safetensors exists already" in again.stderr
    assert run_program("convert", "foreign.pth", *OPTIONS, "--key", "mine", "--overwrite").exit_code == 0


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_code_in_a_file_is_not_executed():
    with Path("evil.pth").open("wb") as file:
        pickle.dump({"params": Evil()}, file)
    outcome = run_program("convert", "evil.pth", *OPTIONS)
    assert outcome.exit_code == 1
    assert "evil.pth: " in outcome.stderr
    torch.save({"params": Evil()}, "evil2.pth")
    outcome = run_program("convert", "evil2.pth", *OPTIONS)
    assert outcome.exit_code == 1
    assert "is refused because it could execute code" in outcome.stderr
    assert not Path("executed").exists()


def test_damaged_files(model):
    torch.save(model.backbone.state_dict(), "whole.pth")
    content = Path("whole.pth").read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 10):
        Path("part.pth").write_bytes(content[:length])
        outcome = run_program("convert", "part.pth", *OPTIONS)
        assert outcome.exit_code == 1, length
        assert outcome.stderr.startswith("error: part.pth: ")
        assert len(outcome.stderr.splitlines()) == 1
    assert not Path("part.safetensors").exists()


@pytest.mark.parametrize(
    ("content", "arguments", "code", "message"),
    [
        (None, OPTIONS, 2, "FILE: expected a weights file, got 'x.pth', which does not exist"),
        ({"a": 1}, OPTIONS, 1, "x.pth: expected tensors, got none; it holds a: name the right one with --key"),
        ([1, 2], OPTIONS, 1, "x.pth: expected a mapping of names to tensors, got list"),
        ({"a": torch.ones(1)}, OPTIONS, 1, "the weights do not fit backbone 'restormer'"),
        ({"a": torch.ones(1)}, [*OPTIONS, "--key", "b"], 2, "x.pth: --key: expected one of a, got 'b'"),
        ({"a": torch.ones(1)}, [], 2, "Missing option '--backbone'"),
        (
            {"a": torch.ones(1)},
            ["--backbone", "resformer"],
            2,
            "unknown backbone 'resformer'; did you mean 'restormer'?",
        ),
    ],
)
def test_wrong_requests(content, arguments, code, message):
    if content is not None:
        torch.save(content, "x.pth")
    outcome = run_program("convert", "x.pth", *arguments)
    assert outcome.exit_code == code
    assert message in outcome.stderr
