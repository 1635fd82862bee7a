"""Weights for spandrel, which finds a network's architecture and shape in their names and shapes.

Source: https://github.com/chaiNNer-org/spandrel
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import torch

from adair_core.atomic_file import replacing
from adair_core.errors import UsageError, WeightsError, expected, listing
from adair_core.model.merged import merged_weights, weaken
from adair_core.model.restoration_model import RestorationModel
from adair_core.model.weights_file import to_storage, write_tensors
from adair_core.plugins import parse_config, plugins
from adair_core.specs import SpandrelForm

SUFFIXES = (".safetensors", ".pth")


def write_spandrel(
    path: Path, model: RestorationModel, *, strength: float = 1.0, metadata: Mapping[str, str]
) -> SpandrelForm:
    """Write the base with its active adapters merged so that spandrel loads it.

    Args:
        path: the file, ``.safetensors`` or ``.pth``; an old one is replaced atomically.
        model: the base with its active adapters.
        strength: the network returns in + strength * (restored - in).
        metadata: what the file should say about its origin.

    Returns:
        How spandrel knows the backbone.

    Raises:
        UsageError: spandrel has no such architecture, or would not recognise its shape; an active adapter changes
            features; the strength cannot be put into weights; or the file's ending is another one.
        WeightsError: it cannot be written, or a weight is not finite.
    """
    form = _form(model)
    if path.suffix not in SUFFIXES:
        raise UsageError(expected(f"{path}: ending", expected=" or ".join(SUFFIXES), got=path.suffix or "none"))
    weights = to_storage(weaken(merged_weights(model), model, strength), "float32", where=str(path))
    if path.suffix == ".safetensors":
        write_tensors(path, weights, metadata)
        return form
    try:
        with replacing(path) as temporary:
            # The published checkpoints have their weights under this name.
            content = io.BytesIO()  # written to a file, a full disk would be a RuntimeError
            torch.save({"params": weights, "adair": json.dumps(dict(metadata))}, content)
            temporary.write_bytes(content.getbuffer())
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written: {error.strerror or error}") from error
    return form


def _form(model: RestorationModel) -> SpandrelForm:
    spec = plugins().backbones[model.info.backbone.name]
    if spec.spandrel is None:
        known = listing([other.name for other in plugins().backbones.values() if other.spandrel is not None])
        raise UsageError(
            expected("--format spandrel", expected=f"a base of backbone {known}", got=f"{spec.name!r}")
            + "; --format onnx takes every backbone"
        )
    config = parse_config(spec.config, model.info.backbone.options, what=f"backbone {spec.name!r}")
    problem = spec.spandrel.problem(config)
    if problem:
        raise UsageError(
            f"spandrel would not recognise this {spec.spandrel.architecture}: {problem}; "
            f"--format onnx takes every shape"
        )
    return spec.spandrel
