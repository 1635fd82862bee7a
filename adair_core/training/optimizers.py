"""Optimisers by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from adair_core.training.recipe import Settings

MOMENTUM = 0.9
BETAS = (0.9, 0.999)


def build_optimizer(parameters: Iterable[nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    """Build the optimiser of a run, with one parameter group; the loop sets its learning rate before every step."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=MOMENTUM, weight_decay=decay)
    if settings.optimizer == "muon":
        return Muon(parameters, lr=rate, weight_decay=decay)
    return torch.optim.AdamW(parameters, lr=rate, betas=BETAS, weight_decay=decay)


class Muon(torch.optim.Optimizer):
    """Muon for what mixes channels, AdamW for all else: convolutions over one channel each, norms, biases, scales.

    A kernel ``(O, I, ...)`` is read as the matrix ``(O, I * ...)``. Its step is its momentum (Nesterov's) made nearly
    orthogonal, times ``0.2 sqrt(max(rows, columns))``: as long as AdamW's steps are, so that one learning rate and
    weight decay serve both.

    `torch.optim.Muon` takes the same step, in bfloat16 and matrices alone. That is 1.4 s for the 1.3 million weights of
    `restormer-tiny` on a CPU core without instructions for bfloat16, several times a whole training step; so this one
    computes in float32, kernels of equal shape together.

    Args:
        parameters: in one group.
        lr: learning rate.
        weight_decay: decoupled.
        momentum: decay of the kernels' mean gradient.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; the length of the steps is
        that of Liu et al., "Muon is Scalable for LLM Training", arXiv 2502.16982.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        (group,) = self.param_groups
        kernels = sorted(filter(mixes_channels, group["params"]), key=_matrix_shape)
        self._alike = [list(alike) for _, alike in groupby(kernels, key=_matrix_shape)]
        rest = [parameter for parameter in group["params"] if not mixes_channels(parameter)]
        self._rest = torch.optim.AdamW(rest, lr=lr, betas=BETAS, weight_decay=weight_decay) if rest else None

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step along the gradients that there are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        (group,) = self.param_groups
        for alike in self._alike:
            self._step_together([kernel for kernel in alike if kernel.grad is not None], group)
        if self._rest:
            (rest,) = self._rest.param_groups
            rest.update(lr=group["lr"], weight_decay=group["weight_decay"])
            # The very entries of this state: who stores or restores it does so for both.
            self._rest.state.update({parameter: self.state[parameter] for parameter in rest["params"]})
            self._rest.step()
        return loss

    @torch.no_grad()
    def _step_together(self, kernels: list[nn.Parameter], group: dict[str, Any]) -> None:
        if not kernels:
            return
        directions = []
        for kernel in kernels:
            gradient, state = kernel.grad, self.state[kernel]
            assert gradient is not None
            if not state:
                state["mean_gradient"] = torch.zeros_like(kernel)
            mean = state["mean_gradient"].lerp_(gradient, 1 - group["momentum"])
            directions.append(gradient.lerp(mean, group["momentum"]).flatten(1))
        length = 0.2 * max(_matrix_shape(kernels[0])) ** 0.5
        for kernel, direction in zip(kernels, nearly_orthogonal(torch.stack(directions)), strict=True):
            kernel.mul_(1 - group["lr"] * group["weight_decay"])
            kernel.add_(direction.view(kernel.shape), alpha=-group["lr"] * length)


def mixes_channels(parameter: Tensor) -> bool:
    """Whether it is a matrix or a kernel, each of whose outputs is a sum over several input channels."""
    return parameter.ndim >= 2 and min(parameter.shape[:2]) > 1


def nearly_orthogonal(matrices: Tensor) -> Tensor:
    """Move all singular values near 1, and keep the singular vectors.

    Five steps of a Newton-Schulz iteration ``X <- a X + (b A + c A^2) X`` with ``A = X X^T``: the coefficients make
    small singular values grow fastest, and end those that were above a five-hundredth of the norm at 0.6 to 1.3.

    Args:
        matrices: ``(N, O, I)``; any scale.

    Returns:
        ``(N, O, I)``, float32 or wider; zeros stay zeros.

    Source: Jordan et al., "Muon", 2024, with its coefficients.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    found = matrices.mT if tall else matrices
    found = found.to(torch.promote_types(found.dtype, torch.float32))
    # By a power of two first, which rounds nothing: the squares of vanishing gradients are 0 in float32.
    exponent = torch.frexp(found.abs().amax(dim=(1, 2), keepdim=True)).exponent.clamp(-126, 126)
    found = torch.ldexp(found, -exponent)
    found = found / found.norm(dim=(1, 2), keepdim=True).clamp(min=1e-30)
    for _ in range(5):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.mT if tall else found


def _matrix_shape(kernel: Tensor) -> tuple[int, int]:
    return kernel.shape[0], kernel[0].numel()
