from __future__ import annotations

import copy
import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from adair_core.errors import BaseMismatchError, UsageError, WeightsError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    peft = pytest.importorskip("peft")

UNGROUPED = {"kinds": ("conv1x1", "conv3x3"), "rank": 3}


def peft_made(model, folder, images, **options):
    """A LoRA that PEFT built on the bare backbone, with random factors, and its outputs."""
    config = peft.LoraConfig(**{"r": 2, "lora_alpha": 5, "target_modules": ["enter", "block.point"], **options})
    wrapped = peft.get_peft_model(copy.deepcopy(model.backbone), config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    wrapped.save_pretrained(folder)
    return wrapped.eval()(images).detach()


@pytest.mark.parametrize("alpha", [None, 7.5])
def test_peft_loads_what_adair_writes(model, images, randomise, tmp_path, alpha):
    model.add_adapter("a", "lora", {**UNGROUPED, "alpha": alpha})
    randomise(model, "a")
    model.export_peft("a", tmp_path / "lora")
    bare = copy.deepcopy(model.backbone)
    loaded = peft.PeftModel.from_pretrained(bare, str(tmp_path / "lora")).eval()
    torch.testing.assert_close(loaded(images), model(images), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(loaded(images), model.backbone(images), atol=1e-3)
    adapted = {
        name
        for name, module in loaded.base_model.model.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }
    assert adapted == {"enter", "block.point", "branch", "leave"}


def test_saving_writes_the_same_files(model, randomise, tmp_path):
    model.add_adapter("a", "lora", UNGROUPED)
    randomise(model, "a")
    model.save_adapter("a", tmp_path / "saved")
    model.export_peft("a", tmp_path / "exported")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "saved" / name).read_bytes() == (tmp_path / "exported" / name).read_bytes()
    keys = load_file(tmp_path / "saved" / "adapter_model.safetensors").keys()
    assert "base_model.model.block.point.lora_A.weight" in keys


def test_targets_are_whole_paths(model, images, randomise, tmp_path):
    """PEFT matches the names of a list with the ends of paths: `branch` must not hit `inner.branch` as well."""

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = copy.deepcopy(model.backbone)
            for name, module in copy.deepcopy(model.backbone).named_children():
                self.add_module(name, module)

        def forward(self, x):
            return type(model.backbone).forward(self, x) + self.inner(x)

        calls = 0

    model.add_adapter("a", "lora", UNGROUPED)
    model.export_peft("a", tmp_path)
    loaded = peft.PeftModel.from_pretrained(Outer(), str(tmp_path))
    adapted = {
        name
        for name, module in loaded.base_model.model.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }
    assert adapted == {"enter", "block.point", "branch", "leave"}


def test_export_refuses_depthwise_factors(model, tmp_path):
    model.add_adapter("a", "lora", {"kinds": None})
    with pytest.raises(
        UsageError, match=r"'a' cannot be exported to PEFT: .*depthwise.*this adapter has 1: block\.depth"
    ):
        model.export_peft("a", tmp_path / "lora")
    assert not (tmp_path / "lora").exists()
    model.save_adapter("a", tmp_path / "own")
    assert "peft_type" not in json.loads((tmp_path / "own" / "adapter_config.json").read_text())


@pytest.mark.parametrize("kind", ["bottleneck", "full"])
def test_export_refuses_other_types(model, tmp_path, kind):
    model.add_adapter("a", kind)
    with pytest.raises(UsageError, match=f"type '{kind}' have no form in PEFT"):
        model.export_peft("a", tmp_path / "x")


@pytest.mark.parametrize("use_rslora", [False, True])
def test_adair_loads_what_peft_writes(model, images, tmp_path, use_rslora):
    wanted = peft_made(model, tmp_path / "lora", images, use_rslora=use_rslora)
    name = model.load_adapter(tmp_path / "lora", accept_unknown_base=True)
    assert [site.path for site in model.adapter(name).sites] == ["enter", "block.point"]
    torch.testing.assert_close(model(images), wanted, rtol=1e-5, atol=1e-6)
    # Saved by adair, it knows its base.
    model.save_adapter(name, tmp_path / "again")
    model.load_adapter(tmp_path / "again")
    torch.testing.assert_close(model(images), wanted, rtol=1e-5, atol=1e-6)


def test_an_unknown_base_must_be_accepted(model, images, tmp_path):
    peft_made(model, tmp_path / "lora", images)
    with pytest.raises(BaseMismatchError, match=r"does not say which weights.*accept_unknown_base=True") as error:
        model.load_adapter(tmp_path / "lora")
    assert model.info.fingerprint in str(error.value)
    assert model.adapters == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"rank_pattern": {"enter": 1}}, "rank_pattern"),
        ({"modules_to_save": ["leave"]}, "modules_to_save"),
        ({"target_modules": ["block.depth"], "r": 8}, "grouped convolutions cannot be read: block.depth"),
    ],
)
def test_what_adair_has_not(model, images, tmp_path, options, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft_made(model, tmp_path / "lora", images, **options)
    with pytest.raises((UsageError, WeightsError), match=message):
        model.load_adapter(tmp_path / "lora", accept_unknown_base=True)
    assert model.adapters == ()


def test_another_peft_type(model, tmp_path, images):
    peft_made(model, tmp_path, images)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "peft_type": "IA3"}))
    with pytest.raises(UsageError, match="expected one of LORA, got IA3"):
        model.load_adapter(tmp_path, accept_unknown_base=True)


@pytest.mark.parametrize(
    ("field", "value"), [("r", 0), ("r", "4"), ("lora_alpha", None), ("lora_alpha", -1), ("r", True)]
)
def test_broken_peft_configurations(model, tmp_path, images, field, value):
    peft_made(model, tmp_path, images)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    with pytest.raises(WeightsError, match=f"{field}: expected a positive number"):
        model.load_adapter(tmp_path, accept_unknown_base=True)


def test_broken_peft_tensors(model, tmp_path, images):
    peft_made(model, tmp_path, images)
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    prefix = "base_model.model."
    cases = {
        "modules: expected sites such as .*got nowhere": tensors | {f"{prefix}nowhere.lora_A.weight": torch.ones(1)},
        "tensor names: expected": {"enter.weight": torch.ones(1)},
        "1 missing": {name: t for name, t in tensors.items() if name != f"{prefix}enter.lora_A.weight"},
        "of another shape": tensors | {f"{prefix}enter.lora_A.weight": torch.ones(3, 3, 3, 3)},
        "got none": {},
    }
    for message, changed in cases.items():
        save_file(changed, file)
        with pytest.raises(WeightsError, match=message):
            model.load_adapter(tmp_path, accept_unknown_base=True)


def test_neither_adair_nor_peft(model, tmp_path, images):
    peft_made(model, tmp_path, images)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(WeightsError, match="expected an adapter of adair or PEFT"):
        model.load_adapter(tmp_path, accept_unknown_base=True)
