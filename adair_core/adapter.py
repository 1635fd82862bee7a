"""What an adapter is made of: one small module for each site that it changes.

There are two ways to change a frozen network, and each is a base class:

- `WeightAdapter` adds a delta to a module's parameters, ``W' = W + delta``. It can be merged.
- `FeatureAdapter` adds a residual to a module's output, ``y' = y + f(y)``. It cannot be merged.

Both must be the identity when new: exactly one factor is zero, so that the others still receive gradients.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn


class WeightAdapter(nn.Module, ABC):
    """Adds a delta to the parameters of the module at a site."""

    @abstractmethod
    def delta(self) -> Mapping[str, Tensor]:
        """Compute what to add to the parameters.

        Returns:
            Parameter name relative to the site (such as ``"weight"``) -> tensor of that parameter's shape, in the
            dtype of the adapter (float32 in training: small deltas vanish in bfloat16).
        """


class FeatureAdapter(nn.Module, ABC):
    """Adds a residual to the output of the module at a site."""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Compute what to add to the features.

        Args:
            features: ``(B, C, H, W)``, the module's output.

        Returns:
            The residual alone, ``(B, C, H, W)``, not its sum with the features.
        """


Adapter = WeightAdapter | FeatureAdapter
