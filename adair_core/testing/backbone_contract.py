"""What every backbone must do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from adair_core.model import build_backbone, declared_sites
from adair_core.plugins import parse_config, plugins
from adair_core.specs import BackboneSpec, Site
from adair_core.testing.config_checks import check_described, check_recipe_round_trip, check_typed, seeded
from adair_core.training.recipe import Settings


class BackboneContract:
    """Tests that every backbone passes; subclass it and set `name`, and `preset` or `options` so that it is small.

    Attributes:
        name: registered name.
        preset: named shape; ``None`` is the default one.
        options: fields of its configuration that differ from the preset.
        sizes: ``(H, W)`` that are tried.
    """

    name: ClassVar[str]
    preset: ClassVar[str | None] = None
    options: ClassVar[Mapping[str, Any]] = {}
    sizes: ClassVar[tuple[tuple[int, int], ...]] = ((16, 24), (1, 1), (3, 5), (1, 17), (33, 8))

    @property
    def spec(self) -> BackboneSpec:
        """The record."""
        return plugins().backbones[self.name]

    @property
    def config(self) -> BaseModel:
        """The configuration under test."""
        preset = self.preset or self.spec.default_preset
        options = {**(self.spec.presets[preset] if preset else {}), **self.options}
        return parse_config(self.spec.config, options, what=self.name)

    def build(self, seed: int = 0) -> nn.Module:
        """Build it by name, with weights from a seed."""
        with seeded(seed):
            return build_backbone(self.name, preset=self.preset, **self.options).eval()

    def images(self, height: int = 16, width: int = 24, batch: int = 2) -> Tensor:
        """Inputs, ``(B, in_channels, H, W)`` in [0, 1]."""
        channels = int(getattr(self.config, "in_channels", 3))
        return torch.rand(batch, channels, height, width, generator=torch.Generator().manual_seed(1))

    def sites(self, model: nn.Module) -> list[Site]:
        """The declared sites, without the whole."""
        return [site for site in declared_sites(self.spec, model) if site.kind != "whole"]

    def test_fields_are_described(self) -> None:
        """Every option has a help text."""
        check_described(self.spec.config)

    def test_config_survives_a_file(self) -> None:
        """The configuration is the same after JSON, in which base files hold it."""
        check_recipe_round_trip(self.config)

    def test_options_can_be_typed(self) -> None:
        """Every value can be given on the command line."""
        check_typed(self.config)

    def test_defaults_are_training_settings(self) -> None:
        """What it is pre-trained with unless told otherwise can be trained with."""
        parse_config(Settings, self.spec.defaults, what=f"defaults of {self.name}")

    def test_every_preset_builds(self) -> None:
        """Every preset makes a network (without memory: on the meta device)."""
        for preset in self.spec.presets:
            with torch.device("meta"):
                model = build_backbone(self.name, preset=preset)
            assert self.spec.sites(model), preset

    def test_any_size(self) -> None:
        """Every H, W >= 1 gives the same size, finite."""
        model = self.build()
        channels = int(getattr(self.config, "out_channels", self.images().shape[1]))
        for height, width in self.sizes:
            with torch.no_grad():
                output = model(self.images(height, width))
            assert output.shape == (2, channels, height, width)
            assert torch.isfinite(output).all(), f"{height} x {width}"

    def test_batch_does_not_matter(self) -> None:
        """An image is restored alone as in a batch."""
        model, images = self.build().double(), self.images().double()
        with torch.no_grad():
            alone = torch.cat([model(image[None]) for image in images])
            torch.testing.assert_close(alone, model(images), atol=1e-10, rtol=0)

    def test_memory_layout_does_not_matter(self) -> None:
        """A channels-last input gives the same result."""
        model, images = self.build().double(), self.images().double()
        with torch.no_grad():
            other = model(images.contiguous(memory_format=torch.channels_last))
            torch.testing.assert_close(other, model(images), atol=1e-10, rtol=0)

    def test_seed_decides_the_weights(self) -> None:
        """The initial weights come from torch's global generator alone."""
        first, second = self.build(seed=3).state_dict(), self.build(seed=3).state_dict()
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_every_parameter_learns(self) -> None:
        """Every parameter gets a finite gradient."""
        model = self.build().train()
        model(self.images()).square().mean().backward()
        without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
        assert not without, f"parameters without a gradient: {without}"
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)

    def test_state_has_one_name_for_each_tensor(self) -> None:
        """No two names share memory: safetensors files could not hold that."""
        pointers = [tensor.data_ptr() for tensor in self.build().state_dict().values() if tensor.numel()]
        assert len(pointers) == len(set(pointers))

    def test_sites_exist(self) -> None:
        """The backbone declares sites; convolutions among them are what their kind says."""
        model = self.build()
        sites = self.sites(model)
        assert sites, "no sites: no adapter could attach"
        for site in sites:
            module = model.get_submodule(site.path)
            assert site.shapes == {name: tuple(p.shape) for name, p in module.named_parameters()}, site.path
            if site.kind in ("conv1x1", "conv3x3", "dwconv"):
                assert isinstance(module, nn.Conv2d), site.path
                assert module.groups == site.groups, site.path
                assert (module.kernel_size == (1, 1)) == (site.kind == "conv1x1"), site.path
                assert (module.groups > 1) == (site.kind == "dwconv"), site.path

    def test_sites_are_as_declared(self) -> None:
        """Every site is reached, in the declared order, with the declared channels and resolution."""
        model, sites = self.build(), self.sites(self.build())
        reached: dict[str, tuple[int, ...]] = {}

        def note(path: str) -> Any:
            def hook(module: nn.Module, inputs: object, output: Tensor) -> None:  # noqa: ARG001 (torch's signature)
                reached.setdefault(path, tuple(output.shape))

            return hook

        for path in {site.path for site in sites}:
            model.get_submodule(path).register_forward_hook(note(path))
        side = 64
        with torch.no_grad():
            model(self.images(side, side, batch=1))
        for site in sites:
            assert site.path in reached, f"{site.path}: its module is never called"
            assert reached[site.path][1] == site.channels, site.path
            if site.kind in ("branch", "stage"):
                assert reached[site.path][2] == side >> (site.level - 1), site.path
        for kind in {site.kind for site in sites}:
            declared = [site.path for site in sites if site.kind == kind]
            order = [path for path in reached if path in set(declared)]
            assert declared == order, f"{kind} sites are not in forward order"
