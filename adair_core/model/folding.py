"""Adding adapters' deltas to a frozen backbone's parameters, W' = W + sum_i strength_i * delta_i."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from adair_core.adapter import WeightAdapter
from adair_core.specs import Site

Combination = tuple[tuple[str, float], ...]
"""Adapters used together: name and strength of each."""

Change = tuple[Site, WeightAdapter, float]
"""A site whose parameters change, how, and how much."""


def fold(backbone: nn.Module, changes: Sequence[Change]) -> dict[str, Tensor]:
    """Compute the changed parameters of a backbone.

    Everything is summed in float32 (float64 for a float64 base) and rounded once to the base's dtype: small deltas
    would vanish in bfloat16.

    Args:
        backbone: with the base's own parameters.
        changes: what to add.

    Returns:
        Full parameter name -> tensor, for the parameters that change; under all of its names, if it has several.
    """
    changed: dict[str, Tensor] = {}
    dtypes: dict[str, torch.dtype] = {}
    for site, module, strength in changes:
        names = {local: _full_name(site, local) for local in site.shapes}
        inputs: dict[str, Tensor] = {}
        for local, name in names.items():
            own = backbone.get_parameter(name)
            dtypes[name] = own.dtype
            inputs[local] = changed.get(name, own).to(torch.promote_types(own.dtype, torch.float32))
        # Autocast would compute the product in bfloat16, and the delta with it.
        with torch.autocast(_device_type(inputs), enabled=False):
            for local, value in module.fold(inputs, strength).items():
                changed[names[local]] = value
    return _under_all_names(backbone, {name: value.to(dtypes[name]) for name, value in changed.items()})


def _under_all_names(backbone: nn.Module, changed: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the other names of parameters that a backbone uses in several places."""
    names: dict[int, list[str]] = {}
    for name, parameter in backbone.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    others = {
        other: value
        for name, value in changed.items()
        for other in names[id(backbone.get_parameter(name))]
        if other not in changed
    }
    return changed | others


def _full_name(site: Site, local: str) -> str:
    return f"{site.path}.{local}" if site.path else local


def _device_type(tensors: Mapping[str, Tensor]) -> str:
    return next(iter(tensors.values())).device.type


def sources(backbone: nn.Module, changes: Sequence[Change]) -> list[Tensor]:
    """The tensors that `fold` computes from."""
    # nn.Module's own ways to look up and list parameters take longer than a block of a small network.
    tensors: list[Tensor] = []
    for site, module, _ in changes:
        place = _descend(backbone, site.path)
        for local in site.shapes:
            path, _, name = local.rpartition(".")
            tensors.append(_descend(place, path)._parameters[name])  # type: ignore[arg-type]
        tensors += _state(module)
    return tensors


def _descend(module: nn.Module, path: str) -> nn.Module:
    for name in path.split(".") if path else ():
        module = module._modules[name]  # type: ignore[assignment]
    return module


def _state(module: nn.Module) -> Iterator[Tensor]:
    for value in (*module._parameters.values(), *module._buffers.values()):
        if value is not None:
            yield value
    for child in module._modules.values():
        if child is not None:
            yield from _state(child)
