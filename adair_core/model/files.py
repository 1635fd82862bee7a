"""Base files: one safetensors file that says which backbone it is for, and how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from adair_core.errors import WeightsError, expected
from adair_core.model.backbone import BaseInfo, build_resolved
from adair_core.model.untrusted_build import building_for
from adair_core.model.weights_file import (
    StorageType,
    check_fit,
    fingerprint,
    parse_json_object,
    read_tensors,
    to_storage,
    write_tensors,
)
from adair_core.plugins import completed, plugins
from adair_core.specs import Choice

BASE_FORMAT = "adair-base"
FORMAT_VERSION = "1"


def save_base(
    path: Path | str,
    weights: nn.Module | Mapping[str, Tensor],
    *,
    backbone: Choice,
    recipe: Mapping[str, Any] | None = None,
    origin: Mapping[str, str] | None = None,
    dtype: StorageType = "float32",
) -> BaseInfo:
    """Write a base.

    Args:
        path: the file; an old one is replaced atomically.
        weights: the backbone, or its state.
        backbone: its name and every option (`resolve_backbone`).
        recipe: of the training that made it.
        origin: what a base that was not trained was made of.
        dtype: in which the weights are stored; they load as float32.

    Returns:
        What `load_base` will say about it.

    Raises:
        WeightsError: it cannot be written, or a weight is not finite in `dtype`.
    """
    path = Path(path)
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    stored = to_storage(state, dtype, where=str(path))
    mark = fingerprint(stored)
    metadata = {
        "format": BASE_FORMAT,
        "format_version": FORMAT_VERSION,
        "backbone": backbone.name,
        "config": json.dumps(backbone.options),
        "recipe": json.dumps(dict(recipe) if recipe is not None else None),
        "fingerprint": mark,
    }
    if origin is not None:
        metadata["origin"] = json.dumps(dict(origin))
    write_tensors(path, stored, metadata)
    return BaseInfo(
        name=str(path), backbone=backbone, fingerprint=mark, recipe=dict(recipe) if recipe is not None else None
    )


def load_base(path: Path | str, *, name: str | None = None) -> tuple[nn.Module, BaseInfo]:
    """Read a base and build its backbone.

    Args:
        path: the file.
        name: what to call it; the path by default.

    Returns:
        The backbone in float32 on the CPU, and what the file says about it.

    Raises:
        WeightsError: it is not a whole base file, no plugin offers its backbone, its weights do not fit that, or
            they were changed.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    info = _read_info(path, metadata, name or str(path))
    mark = fingerprint(tensors)
    if mark != info.fingerprint:
        message = expected(f"{path}: fingerprint of the weights", expected=info.fingerprint, got=mark)
        raise WeightsError(f"{message}; the file was changed or damaged: get it again")
    backbone = build_with(tensors, info.backbone, where=str(path))
    config = plugins().backbones[info.backbone.name].config
    return backbone, replace(info, backbone=completed(info.backbone, config, what="backbone"))


def build_with(tensors: Mapping[str, Tensor], choice: Choice, *, where: str) -> nn.Module:
    """Build a backbone and give it weights, without drawing from the global generator.

    Args:
        tensors: its state; floating-point tensors become float32.
        choice: the backbone with every option.
        where: the weights' origin, for messages.

    Raises:
        WeightsError: no plugin offers the backbone, or names or shapes differ from its own.
    """
    with building_for(tensors, where=where):
        backbone = build_resolved(choice)
    check_fit(backbone.state_dict(), tensors, where=where, what=f"backbone {choice.name!r}")
    backbone.load_state_dict(dict(tensors))
    return backbone.float()


class _BaseMetadata(BaseModel):
    model_config = ConfigDict(extra="ignore")

    format: Literal["adair-base"]
    format_version: Literal["1"]
    backbone: str
    config: str
    recipe: str = "null"
    fingerprint: str


def _read_info(path: Path, metadata: Mapping[str, str], name: str) -> BaseInfo:
    try:
        header = _BaseMetadata.model_validate(metadata)
    except ValidationError as error:
        problems = [f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors()]
        message = (
            f"{path}: expected the metadata of an adair base, format version {FORMAT_VERSION}: {'; '.join(problems)}"
        )
        raise WeightsError(f"{message}; 'adair convert' reads weights of other origin") from error
    options = parse_json_object(header.config, where=f"{path}: config")
    recipe = None if header.recipe == "null" else parse_json_object(header.recipe, where=f"{path}: recipe")
    choice = Choice(name=header.backbone, options=options)
    return BaseInfo(name=name, backbone=choice, fingerprint=header.fingerprint, recipe=recipe)
