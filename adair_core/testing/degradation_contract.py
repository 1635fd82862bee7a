"""What every degradation must do."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from pydantic import BaseModel
from torch import Tensor

from adair_core.degradation import Degradation
from adair_core.plugins import parse_config, plugins
from adair_core.specs import Choice, DegradationSpec
from adair_core.testing.config_checks import check_described, check_recipe_round_trip, check_typed, no_global_randomness


class DegradationContract:
    """Tests that every degradation passes; subclass it and set `name`.

    Attributes:
        name: registered name.
        options: fields of its configuration that differ from the defaults.
        sizes: ``(H, W)`` that are tried.
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    sizes: ClassVar[tuple[tuple[int, int], ...]] = ((24, 32), (17, 13), (1, 1), (1, 9))

    @property
    def spec(self) -> DegradationSpec:
        """The record."""
        return plugins().degradations[self.name]

    @property
    def config(self) -> BaseModel:
        """The configuration under test."""
        return parse_config(self.spec.config, self.options, what=self.name)

    def build(self) -> Degradation:
        """Build it by name, as a recipe does."""
        return plugins().degradation(Choice(name=self.name, options=dict(self.options)))

    @staticmethod
    def images(batch: int = 3, height: int = 24, width: int = 32) -> Tensor:
        """Clean images, ``(B, 3, H, W)`` in [0, 1]: gradients, an edge and texture."""
        texture = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))
        ramp = torch.linspace(0, 1, width).expand(batch, 3, height, width)
        images = 0.7 * ramp + 0.3 * texture
        images[..., width // 2 :] *= 0.5
        return images

    @staticmethod
    def generators(batch: int = 3, seed: int = 7) -> list[torch.Generator]:
        """One generator for each image."""
        return [torch.Generator().manual_seed(seed + index) for index in range(batch)]

    def test_fields_are_described(self) -> None:
        """Every option has a help text."""
        check_described(self.spec.config)

    def test_config_survives_a_recipe(self) -> None:
        """The configuration is the same after JSON."""
        check_recipe_round_trip(self.config)

    def test_options_can_be_typed(self) -> None:
        """Every value can be given on the command line."""
        check_typed(self.config)

    def test_is_a_task(self) -> None:
        """``adair train --task NAME`` finds inputs and a protocol."""
        task = plugins().task(self.name)
        config = task.config()
        assert task.protocol(config).conditions
        choice = task.degradation(config)
        assert choice is None or plugins().degradation(choice)

    def test_shape_type_and_values(self) -> None:
        """Any size gives the same shape and type, with finite values."""
        degradation = self.build()
        for height, width in self.sizes:
            images = self.images(2, height, width)
            degraded = degradation(images, self.generators(2))
            assert degraded.shape == images.shape, f"{height} x {width}"
            assert degraded.dtype == images.dtype
            assert torch.isfinite(degraded).all(), f"{height} x {width}"

    def test_float64(self) -> None:
        """A float64 batch stays float64, and agrees with float32."""
        images = self.images()
        degraded = self.build()(images, self.generators())
        double = self.build()(images.double(), self.generators())
        assert double.dtype == torch.float64
        torch.testing.assert_close(double.float(), degraded, atol=2e-2, rtol=0)

    @pytest.mark.parametrize("value", [0.0, 1.0], ids=["black", "white"])
    def test_flat_images(self, value: float) -> None:
        """Black and white images give finite values."""
        degraded = self.build()(torch.full((2, 3, 16, 16), value), self.generators(2))
        assert torch.isfinite(degraded).all()

    def test_input_is_left_alone(self) -> None:
        """The clean images, which are the target, are not written to."""
        images = self.images()
        before = images.clone()
        self.build()(images, self.generators())
        assert torch.equal(images, before)

    def test_generator_decides_every_bit(self) -> None:
        """Equal generators give equal bits, and no other randomness is used."""
        images = self.images()
        first = self.build()(images, self.generators())
        with no_global_randomness():
            second = self.build()(images, self.generators())
        assert torch.equal(first, second)

    def test_calls_leave_no_state(self) -> None:
        """A call does not change the next one."""
        degradation, images = self.build(), self.images()
        first = degradation(images, self.generators())
        degradation(images.flip(-1), self.generators(seed=99))
        assert torch.equal(degradation(images, self.generators()), first)

    def test_batch_does_not_matter(self) -> None:
        """An image is degraded alone as in a batch."""
        degradation, images = self.build(), self.images()
        together = degradation(images, self.generators())
        alone = [
            degradation(image[None], [generator]) for image, generator in zip(images, self.generators(), strict=True)
        ]
        torch.testing.assert_close(torch.cat(alone), together, atol=1e-5, rtol=0)

    def test_memory_layout_does_not_matter(self) -> None:
        """Non-contiguous images give the same result."""
        images = self.images()
        strided = images.transpose(-1, -2).contiguous().transpose(-1, -2)
        channels_last = images.contiguous(memory_format=torch.channels_last)
        expected = self.build()(images, self.generators())
        for other in (strided, channels_last):
            torch.testing.assert_close(self.build()(other, self.generators()), expected, atol=1e-5, rtol=0)

    def test_goes_to_loader_workers(self) -> None:
        """A pickled copy, as a loader worker gets it, does the same."""
        degradation, images = self.build(), self.images()
        copy = pickle.loads(pickle.dumps(degradation))
        assert torch.equal(copy(images, self.generators()), degradation(images, self.generators()))

    def test_has_nothing_to_train(self) -> None:
        """A degradation holds no parameters."""
        assert not list(self.build().parameters())
