"""Optimisers by name."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from adair_core.training.recipe import Settings

MOMENTUM = 0.9
BETAS = (0.9, 0.999)


def build_optimizer(parameters: Iterable[nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    """Build the optimiser of a run, with one parameter group; the loop sets its learning rate before every step."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=MOMENTUM, weight_decay=decay)
    return torch.optim.AdamW(parameters, lr=rate, betas=BETAS, weight_decay=decay)
