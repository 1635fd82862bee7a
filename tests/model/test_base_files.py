from __future__ import annotations

import json
import random

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from adair_core.errors import UnknownNameError, UsageError, WeightsError
from adair_core.model import build_backbone, fingerprint, load, load_base, resolve_backbone, save_base, untrained

SMALL = {"dim": 8, "blocks": (1, 1, 1, 1), "refinement": 1, "norm": "biased"}


@pytest.fixture(scope="module")
def choice():
    return resolve_backbone("restormer", **SMALL)


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return build_backbone("restormer", **SMALL)


@pytest.fixture
def path(tmp_path, backbone, choice):
    save_base(tmp_path / "base.safetensors", backbone, backbone=choice, recipe={"steps": 3})
    return tmp_path / "base.safetensors"


def rewrite(path, *, metadata=None, tensors=None):
    """Change parts of a file, with a fingerprint that is right."""
    with safe_open(path, "pt") as file:
        header = file.metadata()
    state = load_file(path) if tensors is None else tensors
    header["fingerprint"] = fingerprint(state)
    save_file(state, path, {**header, **(metadata or {})})


def test_resolving(choice):
    assert choice.name == "restormer"
    assert choice.options["dim"] == 8
    assert choice == resolve_backbone("restormer", **choice.options)
    paper = resolve_backbone("restormer", preset="paper")
    assert paper.options["dim"] == 48
    with pytest.raises(UnknownNameError, match="unknown backbone 'restorer'; did you mean 'restormer'"):
        resolve_backbone("restorer")
    with pytest.raises(UnknownNameError, match=r"unknown preset of backbone restormer 'papper'; did you mean 'paper'"):
        resolve_backbone("restormer", preset="papper")
    with pytest.raises(UsageError, match="there is no such option"):
        build_backbone("restormer", colour=3)


def test_round_trip(path, backbone, choice):
    loaded, info = load_base(path)
    assert (info.name, info.backbone, info.recipe) == (str(path), choice, {"steps": 3})
    assert info.fingerprint == fingerprint(backbone.state_dict())
    assert all(torch.equal(tensor, backbone.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    x = torch.rand(1, 3, 9, 10)
    assert torch.equal(loaded(x), backbone(x))


def test_metadata_is_as_documented(path, choice):
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["format_version"] == "1"
    assert metadata["backbone"] == "restormer"
    assert json.loads(metadata["config"]) == choice.options
    assert json.loads(metadata["recipe"]) == {"steps": 3}
    assert set(metadata) == {"format", "format_version", "backbone", "config", "recipe", "fingerprint"}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_storage(tmp_path, backbone, choice, dtype):
    path = tmp_path / "half.safetensors"
    info = save_base(path, backbone, backbone=choice, dtype=dtype)
    assert {tensor.dtype for tensor in load_file(path).values()} == {getattr(torch, dtype)}
    loaded, again = load_base(path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    # The same wherever it is loaded, and after it is stored again in float32.
    assert info.fingerprint == again.fingerprint == fingerprint(loaded.state_dict())
    assert save_base(path, loaded, backbone=choice).fingerprint == info.fingerprint
    rounded = {name: tensor.to(getattr(torch, dtype)).float() for name, tensor in backbone.state_dict().items()}
    assert all(torch.equal(tensor, rounded[name]) for name, tensor in loaded.state_dict().items())


def test_loading_leaves_the_global_generator_alone(path):
    state = torch.random.get_rng_state()
    load(path)
    untrained("restormer", **SMALL)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_load_makes_a_frozen_model(path, backbone):
    model = load(path)
    assert model.info.name == str(path)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert {"conv1x1", "dwconv", "conv3x3", "branch", "stage", "whole"} == {site.kind for site in model.sites}
    model.add_adapter("a", "lora")
    x = torch.rand(1, 3, 9, 10)
    assert torch.equal(model(x), backbone(x))


def test_untrained_is_a_function_of_the_seed():
    first, same, other = (untrained("restormer", seed=seed, **SMALL) for seed in (1, 1, 2))
    assert first.info.fingerprint == same.info.fingerprint != other.info.fingerprint


def test_weights_that_are_not_finite_are_not_written(tmp_path, backbone, choice):
    state = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    name = next(iter(state))
    path = tmp_path / "w.safetensors"
    for value, dtype in ((float("nan"), "float32"), (1e6, "float16")):
        state[name].view(-1)[0] = value
        with pytest.raises(WeightsError, match=f"not finite in {dtype}: {name}"):
            save_base(path, state, backbone=choice, dtype=dtype)
    assert not path.exists()


def test_missing_unexpected_and_misshapen(path):
    state = load_file(path)
    first, second, third, *_ = sorted(state)
    renamed = dict(state)
    renamed["extra.weight"] = renamed.pop(first)
    renamed[second] = torch.zeros(1)
    rewrite(path, tensors=renamed)
    with pytest.raises(WeightsError) as error:
        load(path)
    message = str(error.value)
    assert "base.safetensors" in message
    assert f"1 missing ({first})" in message
    assert "1 unexpected (extra.weight)" in message
    assert f"1 of another shape ({second}: expected {tuple(state[second].shape)}, got (1,)" in message
    assert third not in message


def test_changed_weights(path):
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    state = load_file(path)
    next(iter(state.values())).view(-1)[0] += 1e-3
    save_file(state, path, metadata)
    with pytest.raises(WeightsError, match=r"base\.safetensors: fingerprint of the weights: expected .*, got "):
        load(path)


BAD_METADATA = {
    "another format": ({"format": "pt"}, "format"),
    "a later version": ({"format_version": "2"}, "format_version"),
    "an unknown backbone": ({"backbone": "dncnn"}, "unknown backbone 'dncnn'"),
    "a config that is no JSON": ({"config": "{"}, "config: expected a JSON object"),
    "a config that is no object": ({"config": "[1]"}, "config: expected a JSON object"),
    "a deep config": ({"config": "[" * 50_000}, "config: expected a JSON object"),
    "a recipe that is no object": ({"recipe": "3"}, "recipe: expected a JSON object"),
    "an unknown option": ({"config": '{"colour": 3}'}, "there is no such option"),
    "a wrong option": ({"config": '{"dim": "wide"}'}, "dim: "),
    "a network of another depth": (
        {"config": '{"dim": 8, "blocks": [1, 1, 1, 1], "refinement": 2}'},
        r"the weights do not fit backbone 'restormer': .* missing \(refinement\.1\.",
    ),
    "a network of a terabyte": ({"config": '{"dim": 65536}'}, "more weights than it holds"),
    "a network of a billion blocks": ({"config": '{"blocks": [1000000000, 1, 1, 1]}'}, "more weights than it holds"),
}


@pytest.mark.parametrize(("metadata", "message"), BAD_METADATA.values(), ids=BAD_METADATA.keys())
def test_hostile_metadata(path, metadata, message):
    rewrite(path, metadata=metadata)
    with pytest.raises(WeightsError, match=message) as error:
        load(path)
    assert "base.safetensors" in str(error.value)


def test_metadata_of_another_program(path):
    save_file(load_file(path), path)
    with pytest.raises(WeightsError, match=r"expected the metadata of an adair base.*'adair convert'"):
        load(path)


def test_any_damage_is_an_error_or_harmless(path, backbone):
    """Cut or changed at random places, a file raises WeightsError; it loads only with the weights that it had."""
    content = path.read_bytes()
    draw = random.Random(0)
    errors = 0
    for trial in range(150):
        damaged = bytearray(content)
        # Most of the file is weights; half of the trials go to its header.
        end = 4000 if trial % 2 else len(content)
        if trial % 3 == 0:
            del damaged[draw.randrange(end) :]
        else:
            damaged[draw.randrange(end)] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            loaded, _ = load_base(path)
        except WeightsError as error:
            errors += "base.safetensors" in str(error)
        else:
            assert fingerprint(loaded.state_dict()) == fingerprint(backbone.state_dict())
    assert errors > 120


def test_saving_again_replaces(path, backbone, choice):
    state = {name: tensor + 1 for name, tensor in backbone.state_dict().items()}
    info = save_base(path, state, backbone=choice)
    assert load_base(path)[1].fingerprint == info.fingerprint
    assert load_base(path)[1].recipe is None
    assert [file.name for file in path.parent.iterdir()] == ["base.safetensors"]


def test_a_merged_model_is_a_base_of_its_own(path, tmp_path, choice):
    model = load(path)
    model.add_adapter("a", "full")
    with torch.no_grad():
        for parameter in model.adapter_parameters("a").values():
            parameter.fill_(0.01)
    x = torch.rand(1, 3, 9, 10)
    expected = model(x).detach()
    model.merge()
    info = save_base(tmp_path / "merged.safetensors", model.backbone, backbone=choice)
    assert info.fingerprint != model.info.fingerprint
    torch.testing.assert_close(load(tmp_path / "merged.safetensors")(x), expected, rtol=1e-5, atol=1e-6)
