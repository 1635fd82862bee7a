"""The exponential moving average of the trained weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """Averages of named parameters; frozen ones are not copied.

    After step t (1-based) the decay is ``d_t = min(decay, (1 + t) / (10 + t))`` and ``average = d_t average + (1 - d_t)
    weights``: the first steps, far from the result, are forgotten sooner than a constant decay would.

    Args:
        parameters: name -> tensor.
        decay: largest decay, in [0, 1); 0 makes the averages the parameters themselves.

    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging"; the growing decay is that of
        TensorFlow's ExponentialMovingAverage(num_updates).
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.parameters = {name: tensor.detach() for name, tensor in parameters.items()}
        self.averages = {name: tensor.clone() if decay else tensor for name, tensor in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the parameters into the average.

        Args:
            step: steps done, 1-based.
        """
        if self.decay and self.parameters:
            decay = min(self.decay, (1 + step) / (10 + step))
            average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
            average(list(self.averages.values()), list(self.parameters.values()), None)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages into the network; afterwards its own weights are back, bit for bit."""
        kept = {name: tensor.clone() for name, tensor in self.parameters.items()}
        self._assign(self.averages)
        try:
            yield
        finally:
            self._assign(kept)

    @torch.no_grad()
    def _assign(self, values: Mapping[str, Tensor]) -> None:
        for name, tensor in self.parameters.items():
            tensor.copy_(values[name])
