"""The network that tells what is wrong with an image: statistics of convolutional features, pooled over crops."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from adair_core.specs import Config


class DiagnosisNetworkConfig(Config):
    """Shape of `DiagnosisNetwork`."""

    widths: tuple[int, ...] = Field(
        (24, 32, 48, 64, 96),
        min_length=2,
        description="channels of the convolutions; each but the first halves the size",
    )
    hidden: int = Field(96, ge=1, description="values that describe an image, from which everything is told")


DETAIL_GAIN = 8.0
"""What noise and JPEG leave is a few of 256 levels: as an input of its own it is as large as the colours."""
SMALLEST_VARIANCE = 1e-4
"""Added to each, so that a feature that is the same everywhere has a gradient."""


class DiagnosisNetwork(nn.Module):
    """Crops of one image -> a score for each finding, and the error that is expected of the image.

    Of the features of each scale, mean and standard deviation over the pixels of a crop are averaged over all crops, so
    that the crops of an image are judged together: noise shows where the image is smooth, blur where it is not. The
    deviations tell what is everywhere, as noise is, from what is here and there, as streaks of rain are.

    Args:
        config: its shape.
        findings: number of findings that it tells apart.
    """

    def __init__(self, config: DiagnosisNetworkConfig, findings: int) -> None:
        super().__init__()
        widths = config.widths
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, width, 3 if index else 5, stride=2, padding=1 if index else 2, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            )
            for index, (channels, width) in enumerate(zip((6, *widths), widths, strict=False))
        )
        self.describe = nn.Sequential(nn.Linear(2 * sum(widths), config.hidden), nn.GELU())
        self.scores = nn.Linear(config.hidden, findings)
        self.error = nn.Linear(config.hidden, 1)

    def pool(self, crops: Tensor) -> Tensor:
        """Take mean and standard deviation of the features of each crop.

        Args:
            crops: ``(N, 3, H, W)`` in [0, 1], of at least 16 x 16 pixels.

        Returns:
            ``(N, F)``; the average over an image's crops is what `forward` takes.
        """
        smooth = functional.avg_pool2d(crops, 3, stride=1, padding=1, count_include_pad=False)
        x, pooled = torch.cat([crops - 0.5, DETAIL_GAIN * (crops - smooth)], dim=1), []
        for stage in self.stages:
            x = stage(x)
            # In float32 under autocast too: a variance is a small difference of large sums.
            features = x.float()
            means = features.mean(dim=(2, 3))
            variances = (features.square().mean(dim=(2, 3)) - means.square()).clamp(min=0)
            pooled += [means, (variances + SMALLEST_VARIANCE).sqrt()]
        return torch.cat(pooled, dim=1)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Judge images.

        Args:
            pooled: ``(B, F)``, from `pool`.

        Returns:
            Descriptions ``(B, hidden)``, logits ``(B, findings)``, and log10 of the expected mean squared error
            ``(B,)``.
        """
        described = self.describe(pooled)
        return described, self.scores(described), self.error(described)[:, 0]
