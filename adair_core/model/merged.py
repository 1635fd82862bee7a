"""The base's weights with the active adapters in them."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from adair_core.errors import UsageError, listing
from adair_core.model.restoration_model import RestorationModel
from adair_core.plugins import parse_config, plugins


def merged_weights(model: RestorationModel) -> dict[str, Tensor]:
    """Fold the active adapters into a copy of the base's weights.

    Args:
        model: stays as it is.

    Returns:
        The backbone's state.

    Raises:
        UsageError: an active adapter changes features, not weights.
    """
    kept = [f"{name!r} ({model.adapter(name).choice.name})" for name in model.active if _has_features(model, name)]
    if kept:
        raise UsageError(
            f"expected adapters that change weights, such as LoRA, got {listing(kept)}, which add to the features and "
            f"have no place in the backbone's weights; an ONNX file holds adapters of every type (--format onnx)"
        )
    return {name: tensor.clone() for name, tensor in merged_copy(model).backbone.state_dict().items()}


def merged_copy(model: RestorationModel) -> RestorationModel:
    """Copy a model, with the active adapters merged if all of them change weights only.

    Args:
        model: stays as it is.
    """
    own = copy.deepcopy(model)
    if not any(_has_features(own, name) for name in own.active):
        own.merge()
    return own


def weaken(state: dict[str, Tensor], model: RestorationModel, strength: float) -> dict[str, Tensor]:
    """Change weights so that the network returns in + strength * (restored - in).

    Args:
        state: of the backbone.
        model: says which backbone.
        strength: 1 changes nothing.

    Raises:
        UsageError: the backbone names no convolution whose output is added to its input.
    """
    if strength == 1:
        return state
    spec = plugins().backbones[model.info.backbone.name]
    config = parse_config(spec.config, model.info.backbone.options, what=f"backbone {spec.name!r}")
    path = spec.spandrel.correction(config) if spec.spandrel is not None else None
    if path is None:
        raise UsageError(
            f"--strength {strength:g}: backbone {spec.name!r} adds no correction to its input that weights could "
            f"scale; expected 1, or --format onnx, or --blend for less of the adapters"
        )
    with torch.no_grad():
        return {
            name: tensor * strength if name.rpartition(".")[0] == path else tensor for name, tensor in state.items()
        }


def _has_features(model: RestorationModel, name: str) -> bool:
    """Whether an adapter changes features: then no weights of the backbone's own do what the model does."""
    return bool(model.adapter(name).feature_parts)
