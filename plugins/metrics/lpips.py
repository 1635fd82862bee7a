"""Learned perceptual image patch similarity."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import torch
from torch import Tensor

from adair_core import MetricSpec
from adair_core.errors import WeightsError, expected

TRUNK_FILE = "alexnet-owt-7be5be79.pth"
TRUNK_URL = f"https://download.pytorch.org/models/{TRUNK_FILE}"

SMALLEST = 31
"""Side of the smallest image that AlexNet's strides and poolings leave a pixel of."""


class Lpips:
    """LPIPS, version 0.1, AlexNet: a weighted distance between the features of two images.

    Source: Zhang, Isola, Efros, Shechtman, Wang, "The Unreasonable Effectiveness of Deep Features as a Perceptual
    Metric", 2018, equation 1; computed by the authors' package `lpips`.

    Args:
        random_trunk: leave AlexNet at random weights, which needs no file; the numbers then mean nothing.

    Raises:
        WeightsError: AlexNet's weights are not in torch.hub's cache, or not readable.
    """

    def __init__(self, *, random_trunk: bool = False) -> None:
        trunk = None if random_trunk else _trunk_weights()
        # The package imports torchvision and scipy: only who asks for the metric pays for that. It announces
        # torchvision's renamed arguments at each construction, and initialises weights from the global generator.
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.filterwarnings("ignore", module=r"torchvision\.models\._utils", category=UserWarning)
            from lpips import LPIPS

            self.network = LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
        if trunk is not None:
            _fill(self.network.net, trunk)
        self.network.requires_grad_(False)

    @torch.no_grad()
    def __call__(self, restored: Tensor, target: Tensor) -> float:
        """Compare two images.

        Args:
            restored: ``(1, 3, H, W)`` or ``(1, 1, H, W)``, float in [0, 1].
            target: the same shape.

        Returns:
            0 for equal images; ``nan`` for an image with a side of less than 31 pixels.
        """
        if min(target.shape[-2:]) < SMALLEST:
            return math.nan
        pair = (image.float().cpu().expand(1, 3, -1, -1) for image in (restored, target))
        return float(self.network(*pair, normalize=True).item())


def _trunk_weights() -> dict[str, Tensor]:
    path = Path(torch.hub.get_dir()) / "checkpoints" / TRUNK_FILE
    advice = f"download {TRUNK_URL} (233 MB) to that path, or leave the metric out"
    if not path.is_file():
        raise WeightsError(
            f"metric 'lpips' needs AlexNet's weights: expected {path}, but there is no such file; {advice}"
        )
    try:
        weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # truncated files raise anything from EOFError to pickle's own
        raise WeightsError(f"metric 'lpips': {path} cannot be read ({type(error).__name__}); {advice}") from error
    return weights


def _fill(trunk: torch.nn.Module, weights: dict[str, Tensor]) -> None:
    # lpips cuts torchvision's `features` into slices but keeps each layer's number as the last part of its name.
    numbered = {f"features.{name.split('.', 1)[1]}": parameter for name, parameter in trunk.state_dict().items()}
    for name, parameter in numbered.items():
        if name not in weights or weights[name].shape != parameter.shape:
            wanted = f"AlexNet's weights, with {name} of shape {tuple(parameter.shape)}"
            raise WeightsError(expected(TRUNK_FILE, expected=wanted, got="another network's"))
        parameter.copy_(weights[name])


SPEC = MetricSpec(
    name="lpips",
    summary="learned perceptual distance (AlexNet)",
    build=Lpips,
    higher_is_better=False,
    color="rgb",
)
