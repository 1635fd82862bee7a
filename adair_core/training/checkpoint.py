"""Checkpoints: everything that a run needs to go on with the same bits.

A checkpoint is one safetensors file, so that it is replaced as a whole. Its metadata hold the state that is not
tensors, as JSON. Tensor names: ``weights/NAME``, ``average/NAME``, ``buffers/NAME``, ``optimizer/NAME/KEY``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from adair_core.errors import RunFolderError, listing
from adair_core.training.run_folder import writing

FORMAT = "adair-checkpoint-1"


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint.

    Attributes:
        tensors: name -> tensor.
        state: everything else; must survive JSON.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write, or leave what `path` held.

        Raises:
            RunFolderError: the disk is full or may not be written.
        """
        tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in self.tensors.items()}
        with writing(path) as temporary:
            try:
                # One entry: several would be written in random order, and equal states be different files.
                save_file(tensors, temporary, {FORMAT: json.dumps(self.state)})
            except SafetensorError as error:
                raise _as_os_error(error) from error

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read.

        Raises:
            RunFolderError: the file is damaged or something else.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if FORMAT not in metadata:
                    raise ValueError(f"expected {FORMAT} in its metadata, got {listing(sorted(metadata)) or 'none'}")
                names = list(file.keys())
                return cls({name: file.get_tensor(name) for name in names}, json.loads(metadata[FORMAT]))
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise RunFolderError(
                f"checkpoint {path}: cannot be read ({error}); delete it to start the run again with --resume"
            ) from error

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors below ``name/``, without that prefix."""
        prefix = f"{name}/"
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}


def prefixed(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put ``name/`` before every key."""
    return {f"{name}/{key}": tensor for key, tensor in tensors.items()}


@torch.no_grad()
def restore(tensors: Mapping[str, Tensor], values: Mapping[str, Tensor], *, source: Path) -> None:
    """Copy values into existing tensors of the same names and shapes.

    Raises:
        RunFolderError: they are not the same.
    """
    differing = sorted(
        name
        for name in {*tensors, *values}
        if name not in tensors or name not in values or tensors[name].shape != values[name].shape
    )
    if differing:
        raise RunFolderError(
            f"checkpoint {source} is of another network: {len(differing)} tensors differ, the first is {differing[0]}; "
            f"resume with the recipe that it was trained with"
        )
    for name, tensor in tensors.items():
        tensor.copy_(values[name])


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Iterable[str]) -> dict[str, Tensor]:
    """Name an optimiser's state.

    Args:
        optimizer: with one parameter group.
        names: of its parameters, in order.

    Returns:
        ``NAME/KEY`` -> tensor, for what has a state yet.
    """
    parameters = optimizer.param_groups[0]["params"]
    return {
        f"{name}/{key}": value
        for name, parameter in zip(names, parameters, strict=True)
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, names: Iterable[str], values: Mapping[str, Tensor]) -> None:
    """Give an optimiser the state that `optimizer_tensors` named."""
    for name, parameter in zip(names, optimizer.param_groups[0]["params"], strict=True):
        for key in [key for key in values if key.rpartition("/")[0] == name]:
            value = values[key]
            if value.shape == parameter.shape:
                # The parameter's own memory format: another one could take another kernel, hence other bits.
                value = torch.empty_like(parameter).copy_(value)
            optimizer.state[parameter][key.rpartition("/")[2]] = value


def _as_os_error(error: SafetensorError) -> OSError:
    # safetensors reports the system's error as text alone: "... I/O error: File too large (os error 27)"
    number = str(error).rpartition("os error ")[2].rstrip(")")
    return OSError(int(number), str(error)) if number.isdigit() else OSError(str(error))
