"""A network whose adapters are known arithmetic: each is ``matrix x + bias`` for every pixel."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from adair_core.data.images import ImageFile
from adair_core.model import RestorationModel
from adair_core.model.backbone import BaseInfo
from adair_core.specs import Choice


class Affine(nn.Module):
    """The identity, until an adapter changes it."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(3)[..., None, None])
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.matrix, self.bias)


def affine_model(**adapters: tuple[object, object]) -> RestorationModel:
    """Make a model with adapters: name -> matrix, or a number for all channels, and bias."""
    info = BaseInfo(name="affine", backbone=Choice(name="affine"), fingerprint="0")
    model = RestorationModel(Affine(), [], info=info)
    for name, (matrix, bias) in adapters.items():
        model.add_adapter(name, "full")
        parameters = model.adapter_parameters(name)
        full = np.asarray(matrix) * np.eye(3) if np.ndim(matrix) == 0 else np.asarray(matrix)
        parameters["matrix"].data.copy_(torch.from_numpy(full - np.eye(3))[..., None, None])
        parameters["bias"].data.copy_(torch.as_tensor(np.broadcast_to(np.asarray(bias, np.float64), (3,)).copy()))
    model.set_adapters([])
    return model


def picture(dtype: str, colors: int = 3, *, alpha: bool = False, size: tuple[int, int] = (40, 30)) -> ImageFile:
    """Noise, under an opacity that falls to zero."""
    generator = np.random.default_rng(0)
    kind = np.dtype(dtype)
    top = 1 if kind.kind == "f" else np.iinfo(kind).max
    values = (generator.random((*size, colors)) * top).astype(kind)
    opacity = np.broadcast_to(np.clip(np.linspace(-0.2, 1.2, size[1]), 0, 1), size)
    return ImageFile(pixels=values, alpha=(opacity * top).astype(kind) if alpha else None)
