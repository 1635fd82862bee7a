"""The base of every degradation, and the parameter types that degradations share.

A degradation has two halves. `Degradation.draw` makes every random choice for one image from one generator;
`Degradation.degrade` is deterministic and works on a whole batch. So a sample's degradation depends on its own
generator alone: neither the batch it sits in, nor the worker that made it, nor the process can change a bit.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, BaseModel, BeforeValidator
from torch import Tensor, nn

from adair_core.errors import UsageError, expected

Draws = Mapping[str, Any]
"""The random choices for one image: tensors, numbers and nested mappings."""


class Degradation(nn.Module, ABC):
    """A seeded transform, clean images -> degraded images of the same shape.

    Subclasses implement `draw` and `degrade`. They must not keep state between calls.
    """

    @abstractmethod
    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Make every random choice for one image.

        Args:
            shape: ``(C, H, W)`` of the image.
            generator: a CPU generator, the only source of randomness.
        """

    @abstractmethod
    def degrade(self, images: Tensor, draws: Sequence[Draws]) -> Tensor:
        """Degrade a batch, deterministically.

        Args:
            images: ``(B, C, H, W)``, float, in [0, 1].
            draws: the choices for each image, as `draw` made them.

        Returns:
            ``(B, C, H, W)``, same dtype and device. Not clipped: noise may leave [0, 1].
        """

    def forward(self, images: Tensor, generators: torch.Generator | Sequence[torch.Generator]) -> Tensor:
        """Degrade a batch.

        Args:
            images: ``(B, C, H, W)``, float, in [0, 1].
            generators: one for each image, or a single one from which all images draw in turn.

        Raises:
            UsageError: the images are not a float batch, or the number of generators is not B.
        """
        if images.ndim != 4 or not images.is_floating_point():
            got = f"{tuple(images.shape)} of {images.dtype}"
            raise UsageError(expected("images", expected="a float tensor (B, C, H, W)", got=got))
        batch, *shape = images.shape
        if isinstance(generators, torch.Generator):
            generators = [generators] * batch
        if len(generators) != batch:
            wanted = f"one, or one for each of {batch} images"
            raise UsageError(expected("generators", expected=wanted, got=len(generators)))
        draws = [self.draw((shape[0], shape[1], shape[2]), generator) for generator in generators]
        return self.degrade(images, draws)


def stack(draws: Sequence[Draws], key: str, like: Tensor) -> Tensor:
    """Stack one choice of all images to a tensor of the images' dtype and device.

    Numbers give ``(B, 1, 1, 1)``, ready to broadcast over images; tensors give ``(B, ...)``.
    """
    # float64 first: torch would round a Python number to float32 even for float64 images.
    values = [
        value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
        for value in (draw[key] for draw in draws)
    ]
    stacked = torch.stack(values).to(device=like.device, dtype=like.dtype)
    return stacked.view(-1, 1, 1, 1) if stacked.ndim == 1 else stacked


def _parse_range(value: object) -> object:
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",")]
        try:
            value = tuple(float(part) for part in parts)
        except ValueError as error:
            raise ValueError("expected a number or two numbers 'low,high'") from error
    if isinstance(value, (int, float)):
        value = (value, value)
    if isinstance(value, Sequence) and len(value) == 1:
        value = (value[0], value[0])
    return value


def _check_range(bounds: tuple[float, float]) -> tuple[float, float]:
    if not all(map(math.isfinite, bounds)):
        raise ValueError("expected finite numbers")
    if bounds[0] > bounds[1]:
        raise ValueError("expected low <= high")
    return bounds


Range = Annotated[tuple[float, float], BeforeValidator(_parse_range), AfterValidator(_check_range)]
"""A parameter drawn uniformly from [low, high]; one number means exactly that value. Written ``25`` or ``5,55``."""


def in_bounds(low: float = -math.inf, high: float = math.inf) -> AfterValidator:
    """Require both ends of a `Range` to lie in an interval.

    Example::

        sigma: Annotated[Range, in_bounds(0, 255)] = (5, 55)
    """

    def check(bounds: tuple[float, float]) -> tuple[float, float]:
        if not low <= bounds[0] <= bounds[1] <= high:
            raise ValueError(f"expected values in [{low:g}, {high:g}]")
        return bounds

    return AfterValidator(check)


def uniform(bounds: tuple[float, float], generator: torch.Generator) -> float:
    """Draw from [low, high]; always uses one draw, so that fixing one parameter does not shift the others."""
    low, high = bounds
    return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()


def uniform_integer(low: int, high: int, generator: torch.Generator) -> int:
    """Draw from low, low + 1, ..., high."""
    return int(torch.randint(low, high + 1, (), generator=generator).item())


class ConfiguredDegradation(Degradation, ABC):
    """A degradation that is built from its configuration alone, as most are."""

    def __init__(self, config: BaseModel) -> None:
        super().__init__()
        self.config: Any = config

    def extra_repr(self) -> str:
        """Show the configuration in ``repr``."""
        return ", ".join(f"{key}={value}" for key, value in self.config.model_dump().items())
