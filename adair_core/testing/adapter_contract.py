"""What every adapter type must do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from adair_core.model import BaseInfo, RestorationModel
from adair_core.plugins import parse_config, plugins
from adair_core.specs import AdapterSpec, Choice, Site
from adair_core.testing.config_checks import (
    check_described,
    check_recipe_round_trip,
    check_typed,
    no_global_randomness,
    seeded,
)
from adair_core.training.recipe import Settings

ADAPTER = "under-test"


class SmallBackbone(nn.Module):
    """A network with a site of every kind, ``(B, 3, H, W)`` -> ``(B, 3, H, W)``."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.attention = nn.Sequential(nn.Conv2d(8, 12, 1), nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.GELU())
        self.branch = nn.Conv2d(12, 8, 1, bias=False)
        self.stage = nn.Identity()
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch."""
        features = self.first(x)
        features = self.stage(features + self.branch(self.attention(features)))
        restored: Tensor = x + self.last(features)
        return restored

    def sites(self) -> list[Site]:
        """One of each kind at least."""
        return [
            Site.of(self, "first", "conv3x3", level=1),
            Site.of(self, "attention.0", "conv1x1", level=1),
            Site.of(self, "attention.1", "dwconv", level=1),
            Site.of(self, "branch", "conv1x1", level=1),
            Site.of(self, "branch", "branch", level=1),
            Site.of(self, "stage", "stage", level=1, channels=8),
            Site.of(self, "last", "conv3x3", level=1),
        ]


class AdapterContract:
    """Tests that every adapter type passes; subclass it and set `name`.

    Attributes:
        name: registered name.
        options: fields of its configuration that differ from the defaults.
        learning_rate: of the two steps in which every parameter must move.
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    learning_rate: ClassVar[float] = 0.1

    @property
    def spec(self) -> AdapterSpec:
        """The record."""
        return plugins().adapters[self.name]

    @property
    def config(self) -> BaseModel:
        """The configuration under test."""
        return parse_config(self.spec.config, self.options, what=self.name)

    @staticmethod
    def images(height: int = 12, width: int = 10, batch: int = 2) -> Tensor:
        """Inputs, ``(B, 3, H, W)`` in [0, 1]."""
        return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))

    def base(self) -> RestorationModel:
        """A frozen base with a site of every kind."""
        with seeded(0):
            backbone = SmallBackbone()
        info = BaseInfo(name="small", backbone=Choice(name="small"), fingerprint="small")
        return RestorationModel(backbone, backbone.sites(), info=info)

    def adapted(self, seed: int = 0) -> RestorationModel:
        """The base with a new adapter."""
        model = self.base()
        model.add_adapter(ADAPTER, self.name, dict(self.options), seed=seed)
        return model

    def trained(self, steps: int = 2) -> RestorationModel:
        """The base with an adapter after some steps of SGD."""
        model = self.adapted()
        parameters = list(model.adapter_parameters(ADAPTER).values())
        optimizer = torch.optim.SGD(parameters, lr=self.learning_rate)
        target = self.images().flip(-1)
        for _ in range(steps):
            optimizer.zero_grad()
            (model(self.images()) - target).square().sum().backward()
            optimizer.step()
        return model

    def test_fields_are_described(self) -> None:
        """Every option has a help text."""
        check_described(self.spec.config)

    def test_config_survives_a_file(self) -> None:
        """The configuration is the same after JSON, in which adapter folders hold it."""
        check_recipe_round_trip(self.config)

    def test_options_can_be_typed(self) -> None:
        """Every value can be given on the command line."""
        check_typed(self.config)

    def test_defaults_are_training_settings(self) -> None:
        """What it trains with unless told otherwise can be trained with."""
        parse_config(Settings, self.spec.defaults, what=f"defaults of {self.name}")

    def test_attaches(self) -> None:
        """It has parameters on a backbone with every kind of site, on sites of its kinds alone."""
        model = self.adapted()
        assert model.adapter_parameters(ADAPTER)
        assert {site.kind for site in model.adapter(ADAPTER).sites} <= self.spec.kinds

    def test_new_adapter_is_the_identity(self) -> None:
        """A new adapter does not change a bit of the output."""
        with torch.no_grad():
            assert torch.equal(self.adapted()(self.images()), self.base()(self.images()))

    def test_every_parameter_moves(self) -> None:
        """All parameters have moved after two steps: not everything is zero at the start."""
        before = self.adapted().adapter_parameters(ADAPTER)
        after = self.trained(steps=2).adapter_parameters(ADAPTER)
        still = [name for name in before if torch.equal(before[name], after[name])]
        assert not still, f"parameters that did not move in two steps: {still}"

    def test_base_stays_frozen(self) -> None:
        """Training leaves the base's weights as they are, and without gradients."""
        model, base = self.trained(), self.base()
        frozen = dict(base.backbone.named_parameters())
        for name, parameter in model.backbone.named_parameters():
            assert torch.equal(parameter, frozen[name]), name
            assert parameter.grad is None, name

    def test_training_changes_the_output(self) -> None:
        """A trained adapter does something, which is finite, at any size."""
        model, base = self.trained(), self.base()
        for height, width in ((12, 10), (1, 1), (1, 7), (9, 2)):
            images = self.images(height, width)
            with torch.no_grad():
                output = model(images)
                assert output.shape == images.shape
                assert torch.isfinite(output).all()
                assert not torch.equal(output, base(images)), f"{height} x {width}"

    def test_seed_decides_the_parameters(self) -> None:
        """Equal seeds give equal parameters, and the global generators are left alone."""
        with no_global_randomness():
            first = self.adapted(seed=5).adapter_parameters(ADAPTER)
            second = self.adapted(seed=5).adapter_parameters(ADAPTER)
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_each_image_has_its_own_choice(self) -> None:
        """In a batch in which one image uses the adapter and the other does not, both are as if alone."""
        model = self.trained().double()
        images = self.images().double()
        with torch.no_grad():
            mixed = model(images, adapters=[ADAPTER, None])
            torch.testing.assert_close(mixed[:1], model(images[:1]), atol=1e-10, rtol=0)
            torch.testing.assert_close(mixed[1:], self.base().double()(images[1:]), atol=1e-10, rtol=0)

    def test_zero_weight_is_the_base(self) -> None:
        """A weight of 0 in a blend takes the adapter away."""
        model = self.trained()
        model.set_adapters([ADAPTER], [0.0])
        with torch.no_grad():
            torch.testing.assert_close(model(self.images()), self.base()(self.images()))

    def test_merging(self) -> None:
        """Merged weights give the same output, and unmerging puts the base's bits back."""
        model = self.trained()
        if model.adapter(ADAPTER).feature_parts:
            pytest.skip("changes features, which cannot be merged")
        weights = {name: parameter.clone() for name, parameter in model.backbone.named_parameters()}
        with torch.no_grad():
            expected = model(self.images())
            model.merge()
            torch.testing.assert_close(model(self.images()), expected, rtol=1e-5, atol=1e-5)
        model.unmerge()
        assert all(torch.equal(parameter, weights[name]) for name, parameter in model.backbone.named_parameters())
