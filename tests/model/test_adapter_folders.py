from __future__ import annotations

import os
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from adair_core.errors import BaseMismatchError, UnknownNameError, UsageError, WeightsError
from adair_core.model import AdapterCard, fingerprint
from adair_core.model.zoo import find_weights
from adair_core.plugins import plugins
from adair_core.specs import WeightsSpec

TYPES = [
    ("lora", {"rank": 3, "alpha": 5.0}),
    ("lora", {"kinds": None}),
    ("bottleneck", {"width": 3}),
    ("prompt", {"channels": 4}),
    ("full", {}),
]


@pytest.fixture
def folder(tmp_path, model, randomise):
    def write(kind="lora", options=None, **save):
        model.add_adapter("a", kind, options)
        randomise(model, "a", std=0.1)
        model.save_adapter("a", tmp_path / "denoise", **save)
        return tmp_path / "denoise"

    return write


@pytest.mark.parametrize(("kind", "options"), TYPES)
def test_round_trip(folder, model, make_model, images, kind, options):
    path = folder(kind, options)
    assert sorted(file.name for file in path.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    other = make_model()
    assert other.load_adapter(path) == "denoise"
    assert other.active == {"denoise": 1.0}
    assert torch.equal(other(images), model(images))
    assert other.adapter("denoise").choice == model.adapter("a").choice
    assert other.load_adapter(str(path), name="again") == "again"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_storage(folder, model, make_model, dtype):
    path = folder("full", dtype=dtype)
    stored = load_file(path / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {getattr(torch, dtype)}
    other = make_model()
    other.load_adapter(path)
    for name, parameter in other.adapter_parameters("denoise").items():
        assert torch.equal(parameter, stored[name].float())


def test_names_in_files(folder, model):
    assert "block.depth.weight" in load_file(folder("full") / "adapter_model.safetensors")
    model.remove_adapter("a")
    inside = ("scale", "down.weight", "down.bias", "depthwise.weight", "depthwise.bias", "up.weight", "up.bias")
    tensors = load_file(folder("bottleneck") / "adapter_model.safetensors")
    assert set(tensors) == {f"branch.{name}" for name in inside}


def test_the_card_tells_what_people_should_know(folder, model, make_model):
    card = AdapterCard(
        task="denoise",
        metrics=[{"condition": "sigma 25", "psnr": 30.1234567, "ssim": None}, {"condition": "a|b", "psnr": 27}],
        protocol="denoise-rgb",
        recipe={"settings": {"steps": 10}},
        notes="Trained for a test.",
    )
    text = (folder(card=card) / "README.md").read_text()
    for part in (
        "denoise",
        model.info.fingerprint,
        "net@1",
        "| sigma 25 | 30.12 |  |",
        "| a\\|b | 27 |  |",
        "denoise-rgb",
        '"steps": 10',
        "Trained for a test.",
    ):
        assert part in text


def test_another_base_is_refused(folder, make_model, model):
    path = folder()
    other = make_model(seed=1)
    with pytest.raises(BaseMismatchError) as error:
        other.load_adapter(path)
    for part in (str(path), model.info.fingerprint, other.info.fingerprint):
        assert part in str(error.value)
    with pytest.raises(BaseMismatchError):
        other.load_adapter(path, accept_unknown_base=True)
    assert other.adapters == ()


def test_saving_over_another_adapter(folder, model, make_model, images, randomise):
    path = folder("lora")
    model.add_adapter("b", "bottleneck")
    randomise(model, "b")
    model.save_adapter("b", path)
    other = make_model()
    other.load_adapter(path)
    assert torch.equal(other(images), model(images))


@pytest.mark.parametrize(("kind", "options"), TYPES)
def test_files_of_two_adapters(folder, model, make_model, tmp_path, kind, options):
    """A kill between the two renames leaves the configuration of the new adapter beside the weights of the old one."""
    path = folder(kind, options)
    for index, (other_kind, other_options) in enumerate(TYPES):
        if (other_kind, other_options) == (kind, options):
            continue
        model.add_adapter(str(index), other_kind, other_options)
        model.save_adapter(str(index), tmp_path / str(index))
        shutil.copy(tmp_path / str(index) / "adapter_config.json", path)
        with pytest.raises(WeightsError, match=r"adapter_config\.json: describes another adapter"):
            make_model().load_adapter(path)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_missing_and_damaged_files(folder, make_model, name):
    file = folder() / name
    content = file.read_bytes()
    for damaged in (b"", content[: len(content) // 2], content[:-9], b"\xff\xfe" + content, b"[" * 100_000, b"[]"):
        file.write_bytes(damaged)
        model = make_model()
        with pytest.raises(WeightsError, match=name.replace(".", r"\.")):
            model.load_adapter(file.parent)
        assert model.adapters == ()
    file.unlink()
    with pytest.raises(WeightsError, match=name.replace(".", r"\.")):
        make_model().load_adapter(file.parent)


def rewrite(path, change_tensors=None, **metadata):
    file = path / "adapter_model.safetensors"
    with safe_open(file, "pt") as opened:
        header = opened.metadata()
    tensors = load_file(file)
    if change_tensors:
        change_tensors(tensors)
        header["fingerprint"] = fingerprint(tensors)
    save_file(tensors, file, {**header, **metadata})


def test_changed_weights(folder, make_model):
    path = folder()
    rewrite(path, fingerprint="0" * 32)
    with pytest.raises(WeightsError, match="fingerprint of the weights: expected 0000"):
        make_model().load_adapter(path)


def test_missing_unexpected_and_misshapen(folder, make_model):
    def change(tensors):
        tensors["extra"] = tensors.pop("branch.up.bias")
        tensors["branch.scale"] = torch.ones(2)

    path = folder("bottleneck")
    rewrite(path, change)
    model = make_model()
    with pytest.raises(WeightsError) as error:
        model.load_adapter(path)
    assert "1 missing (branch.up.bias)" in str(error.value)
    assert "1 unexpected (extra)" in str(error.value)
    assert "branch.scale: expected (1,), got (2,)" in str(error.value)
    assert model.adapters == ()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format_version": "2"}, "format_version"),
        ({"type": "lokr"}, "unknown adapter type 'lokr'"),
        ({"config": "{"}, "config: expected a JSON object"),
        ({"config": '{"rank": -1}'}, "rank"),
        ({"config": '{"rank": 1000000000000}'}, "cannot be built"),
        ({"config": '{"rank": 100000000}'}, "more weights than it holds"),
        ({"config": '{"include": ["nowhere"]}'}, "matches no site"),
        ({"card": "[]"}, "card: expected a JSON object"),
        ({"card": '{"task": 3}'}, "card"),
        ({"card": '{"tile": 1}'}, "tiles that suit an adapter: expected a whole number of pixels, 64 or more, got 1"),
    ],
)
def test_hostile_metadata(folder, make_model, metadata, message):
    path = folder()
    rewrite(path, **metadata)
    model = make_model()
    with pytest.raises(WeightsError, match=message):
        model.load_adapter(path)
    assert model.adapters == ()


def test_weights_that_are_not_finite_are_not_written(folder, model):
    path = folder()
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with torch.no_grad():
        model.adapter_parameters("a")["branch.lora_B.weight"][0] = float("inf")
    with pytest.raises(WeightsError, match=r"not finite in float32: .*branch\.lora_B\.weight"):
        model.save_adapter("a", path)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def test_a_folder_that_cannot_be_made(model, tmp_path):
    model.add_adapter("a", "lora")
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="the adapter cannot be written"):
        model.save_adapter("a", tmp_path / "file" / "adapter")


def test_a_failed_write_leaves_the_old_adapter(folder, model, make_model, images, monkeypatch):
    path = folder()
    before = model(images).detach()
    with torch.no_grad():
        model.adapter_parameters("a")["branch.lora_B.weight"].add_(1)
    real, calls = os.fsync, []

    def fail_at_last(descriptor):
        calls.append(descriptor)
        if len(calls) >= 5:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fail_at_last)
    with pytest.raises(WeightsError, match="No space left on device"):
        model.save_adapter("a", path)
    other = make_model()
    other.load_adapter(path)
    assert torch.equal(other(images), before)
    with pytest.raises(WeightsError, match="No space left on device"):
        model.save_adapter("a", path.with_name("new"))
    assert not path.with_name("new").exists()


def test_zoo_names(folder, model, make_model, images, monkeypatch):
    path = folder()
    specs = [
        WeightsSpec(name="denoise", summary="s", version=version, kind="adapter", path=place, terms="CC0")
        for version, place in ((1, path.parent), (2, path))
    ]
    base = WeightsSpec(name="net", summary="s", version=1, kind="base", path=path / "README.md", terms="CC0")
    entries = {spec.versioned_name: (spec, None) for spec in (*specs, base)}
    monkeypatch.setattr(plugins().weights, "_entries", entries)
    other = make_model()
    assert other.load_adapter("denoise") == "denoise"
    assert torch.equal(other(images), model(images))
    assert find_weights("denoise@1", kind="adapter").path == path.parent
    assert find_weights("net", kind="base").name == "net@1"
    with pytest.raises(UsageError, match="expected an adapter, got a base"):
        other.load_adapter("net", name="b")
    with pytest.raises(UnknownNameError, match="unknown adapter 'denoize'; did you mean 'denoise'"):
        other.load_adapter("denoize", name="b")
    with pytest.raises(UnknownNameError, match="unknown base 'denoise@3'; known: net"):
        find_weights("denoise@3", kind="base")


def test_paths(folder, make_model, tmp_path, monkeypatch):
    path = folder()
    monkeypatch.chdir(path.parent)
    assert make_model().load_adapter("./denoise") == "denoise"
    with pytest.raises(WeightsError, match="absent: there is no such file or folder; expected an adapter's folder"):
        make_model().load_adapter("./absent")
    with pytest.raises(WeightsError, match="expected an adapter's folder, got a file"):
        make_model().load_adapter(path / "README.md")
    with pytest.raises(WeightsError, match="expected a safetensors file, got a folder"):
        find_weights(path, kind="base")
    with pytest.raises(WeightsError, match="expected an adapter's folder, with adapter_config"):
        make_model().load_adapter(tmp_path)


def test_a_taken_name_is_refused_before_anything_is_read(folder, model):
    path = folder()
    with pytest.raises(UsageError, match="already an adapter 'a'"):
        model.load_adapter(path, name="a")


def test_names_that_cannot_be_paths(make_model):
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(UnknownNameError, match="unknown adapter"):
            make_model().load_adapter(name)
