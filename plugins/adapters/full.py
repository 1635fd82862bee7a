"""Full fine-tuning as an adapter: a delta for every parameter; what the small adapters are compared with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from adair_core.adapter import WeightAdapter
from adair_core.specs import AdapterSpec, Config, Site


class FullConfig(Config):
    """Full fine-tuning has no options."""


class Full(WeightAdapter):
    """``W' = W + delta`` for every parameter of the backbone; all deltas of a new one are zero.

    Args:
        shapes: parameter name -> shape.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        # Names of parameters may not hold the dots that the backbone's have.
        self.deltas = {name: name.replace(".", "/") for name in shapes}
        self.file_names = {own: name for name, own in self.deltas.items()}
        for name, shape in shapes.items():
            self.register_parameter(self.deltas[name], nn.Parameter(torch.zeros(shape)))

    def delta(self) -> Mapping[str, Tensor]:
        """Return the delta of every parameter."""
        return {name: self.get_parameter(own) for name, own in self.deltas.items()}


def build(config: FullConfig, site: Site) -> Full:  # noqa: ARG001
    """Make the deltas of the whole backbone."""
    return Full(site.shapes)


SPEC = AdapterSpec(
    name="full",
    summary="a change of every parameter, as large as the base: the baseline to compare with",
    config=FullConfig,
    kinds=frozenset({"whole"}),
    build=build,
)
