"""Each contract fails for what it forbids: a plugin with one defect at a time."""

from __future__ import annotations

import pytest

from adair_core.testing import AdapterContract, BackboneContract, DegradationContract, installed, write_package

DEGRADATION = """
    import random

    import numpy as np
    import torch
    from pydantic import Field

    from adair_core import Config, ConfiguredDegradation, DegradationSpec, hookimpl

    class Options(Config):
        strength: float = Field(0.1, description="how much")

    class Noise(ConfiguredDegradation):
        def draw(self, shape, generator):
            return {"noise": torch.randn(shape, generator=generator)}

        def degrade(self, images, draws):
            noise = torch.stack([draw["noise"] for draw in draws]).to(images)
            return images + self.config.strength * noise

    @hookimpl
    def adair_degradations():
        return [DegradationSpec(name="defect", summary="x", config=Options, build=Noise)]
"""

ADAPTER = """
    import torch
    from pydantic import Field
    from torch import nn

    from adair_core import AdapterSpec, FeatureAdapter, hookimpl
    from adair_core.adapter import AdapterConfig

    class Options(AdapterConfig):
        width: int = Field(4, description="hidden channels")

    class Bottleneck(FeatureAdapter):
        def __init__(self, config, site):
            super().__init__()
            self.down = nn.Conv2d(site.channels, config.width, 1)
            self.up = nn.Conv2d(config.width, site.channels, 1)
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)

        def forward(self, features):
            return self.up(self.down(features).sigmoid())

    @hookimpl
    def adair_adapters():
        return [AdapterSpec(name="defect", summary="x", config=Options, kinds=frozenset({"branch"}), build=Bottleneck)]
"""

BACKBONE = """
    import torch
    from pydantic import Field
    from torch import nn

    from adair_core import BackboneSpec, Config, Site, hookimpl

    class Options(Config):
        width: int = Field(6, description="channels")

    class Net(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.head = nn.Conv2d(3, config.width, 3, padding=1)
            self.point = nn.Conv2d(config.width, config.width, 1)
            self.tail = nn.Conv2d(config.width, 3, 3, padding=1)

        def forward(self, images):
            return images + self.tail(self.point(self.head(images)))

    def sites(model):
        return [
            Site.of(model, "head", "conv3x3", level=1),
            Site.of(model, "point", "conv1x1", level=1),
            Site.of(model, "point", "stage", level=1),
            Site.of(model, "tail", "conv3x3", level=1),
        ]

    @hookimpl
    def adair_backbones():
        return [BackboneSpec(name="defect", summary="x", config=Options, build=Net, sites=sites)]
"""


def failures(contract: type, folder, source: str) -> set[str]:
    """The names of the contract's tests that a plugin fails."""
    write_package(folder, "adair-plugin-defect", {"defect_plugin": source})
    subject = type("Subject", (contract,), {"name": "defect"})()
    failed = set()
    with installed(folder):
        for name in [name for name in dir(contract) if name.startswith("test_")]:
            for arguments in ([0.0], [1.0]) if name == "test_flat_images" else ([],):
                try:
                    getattr(subject, name)(*arguments)
                except pytest.skip.Exception:
                    continue
                except Exception:
                    failed.add(name)
    return failed


@pytest.mark.parametrize(
    ("contract", "source"),
    [(DegradationContract, DEGRADATION), (AdapterContract, ADAPTER), (BackboneContract, BACKBONE)],
)
def test_without_a_defect_all_pass(tmp_path, contract, source):
    assert failures(contract, tmp_path, source) == set()


@pytest.mark.parametrize(
    ("old", "new", "caught"),
    [
        ('Field(0.1, description="how much")', "0.1", "test_fields_are_described"),
        ("strength: float", "strength: object", "test_options_can_be_typed"),
        ("strength: float", "Strength: float", "test_fields_are_described"),
        ("generator=generator)", ")", "test_generator_decides_every_bit"),
        ('{"noise"', '{"unused": np.random.rand(), "noise"', "test_generator_decides_every_bit"),
        ('{"noise"', '{"unused": random.random(), "noise"', "test_generator_decides_every_bit"),
        ("images + self", "images.mul_(1) + self", None),
        ("images + self", "images.mul_(0.9) + self", "test_input_is_left_alone"),
        ("return images + ", "return images.mean(0) + ", "test_batch_does_not_matter"),
        ("strength * noise", "strength * noise[..., :8]", "test_shape_type_and_values"),
        ("strength * noise", "strength / noise.sum() * 0 / 0", "test_shape_type_and_values"),
        ("return images + ", "return images.log() + ", "test_flat_images"),
        (".to(images)", ".to(images).float()", None),
        ("return images + self.config.strength * noise", "return (images + noise).float()", "test_float64"),
        (
            "noise = torch",
            "self.seen = getattr(self, 'seen', 0) + 1; noise = self.seen * torch",
            "test_calls_leave_no_state",
        ),
        (
            "return images + ",
            "return images.as_strided(images.shape, torch.empty(images.shape).stride()) + ",
            "test_memory_layout_does_not_matter",
        ),
        (
            "build=Noise",
            "build=lambda config: setattr(n := Noise(config), 'f', lambda: 0) or n",
            "test_goes_to_loader_workers",
        ),
        ("noise = torch.stack", "self.p = torch.nn.Parameter(torch.ones(())); noise = torch.stack", None),
    ],
)
def test_defects_of_a_degradation(tmp_path, old, new, caught):
    assert old in DEGRADATION
    failed = failures(DegradationContract, tmp_path, DEGRADATION.replace(old, new))
    assert failed == set() if caught is None else caught in failed


@pytest.mark.parametrize(
    ("old", "new", "caught"),
    [
        ("nn.init.zeros_(self.up.weight)", "pass", "test_new_adapter_is_the_identity"),
        (".sigmoid())", ".sigmoid()) + features * 1e-6", "test_new_adapter_is_the_identity"),
        (".sigmoid())", ".sigmoid()) * 0", "test_every_parameter_moves"),
        (
            "nn.init.zeros_(self.up.bias)",
            "nn.init.zeros_(self.up.bias); nn.init.zeros_(self.down.weight); self.extra = nn.Parameter(torch.zeros(1))",
            "test_every_parameter_moves",
        ),
        (
            "return self.up",
            "return 0 * features.std(dim=0, keepdim=True) + self.up",
            "test_each_image_has_its_own_choice",
        ),
        (
            "super().__init__()",
            "super().__init__(); self.seed = __import__('numpy').random.rand()",
            "test_seed_decides_the_parameters",
        ),
        (
            "super().__init__()",
            "super().__init__(); self.late = nn.Parameter(torch.ones(()) * __import__('os').urandom(1)[0])",
            "test_seed_decides_the_parameters",
        ),
        (
            "build=Bottleneck)",
            "build=Bottleneck, defaults={'learning_rate': -1})",
            "test_defaults_are_training_settings",
        ),
    ],
)
def test_defects_of_an_adapter(tmp_path, old, new, caught):
    assert old in ADAPTER
    assert caught in failures(AdapterContract, tmp_path, ADAPTER.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "caught"),
    [
        ('Field(6, description="channels")', "6", "test_fields_are_described"),
        (
            "return images + self",
            "images = images[..., : images.shape[-1] // 2 * 2]; return images + self",
            "test_any_size",
        ),
        ("return images + self", "return images.mean(0) + self", "test_batch_does_not_matter"),
        ("self.tail(self.point(", "self.tail((", "test_every_parameter_learns"),
        ("self.tail =", "self.alias = self.point; self.tail =", "test_state_has_one_name_for_each_tensor"),
        ('Site.of(model, "point", "conv1x1"', 'Site.of(model, "point", "conv3x3"', "test_sites_exist"),
        (
            'Site.of(model, "point", "stage", level=1)',
            'Site.of(model, "point", "stage", level=2)',
            "test_sites_are_as_declared",
        ),
        ('"stage", level=1)', '"stage", level=1, channels=5)', "test_sites_are_as_declared"),
        ('Site.of(model, "head", "conv3x3", level=1),', "", None),
        ("sites=sites)", "sites=lambda model: sites(model)[::-1])", "test_sites_are_as_declared"),
        (
            "super().__init__()",
            "super().__init__(); self.register_buffer('r', torch.tensor(float(__import__('os').urandom(2)[0])))",
            "test_seed_decides_the_weights",
        ),
        ("sites=sites)", "sites=lambda model: [])", "test_sites_exist"),
        (
            "sites=sites)",
            "sites=sites, presets={'huge': {'width': 10}, 'odd': {'width': 0}})",
            "test_every_preset_builds",
        ),
        ("sites=sites)", "sites=sites, defaults={'optimiser': 'sgd'})", "test_defaults_are_training_settings"),
    ],
)
def test_defects_of_a_backbone(tmp_path, old, new, caught):
    assert old in BACKBONE
    failed = failures(BackboneContract, tmp_path, BACKBONE.replace(old, new))
    assert failed == set() if caught is None else caught in failed
