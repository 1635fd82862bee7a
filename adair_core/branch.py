"""A residual block's branch, ``x + branch(x)``, and what adapters add to the branch's output.

Fused operators add a block's input, its skip connection, as they write their result. An adapter on the branch needs the
branch's own output first: either it is an `Epilogue`, which the branch's operator adds as well, or it is the adapter's
operator that adds the skip connection.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from adair_core.ops.epilogue import Epilogue


class BranchHook(ABC):
    """A forward hook that adds to a module's output, and can add a skip connection with it."""

    @property
    @abstractmethod
    def idle(self) -> bool:
        """Whether it leaves outputs as they are."""

    @abstractmethod
    def add(self, output: Tensor, skip: Tensor | None = None) -> Tensor:
        """Compute ``output`` and what is added to it ``(+ skip)``.

        Args:
            output: ``(B, C, H, W)``, the module's output.
            skip: ``(B, C, H, W)``.

        Returns:
            ``(B, C, H, W)`` in the dtype of `output`.
        """

    def epilogue(self) -> Epilogue | None:
        """What it adds, if that is something that branches' kernels can add themselves."""
        return None

    def __call__(self, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        """What PyTorch calls after the module's forward."""
        return self.add(output)


def add_branch(x: Tensor, branch: nn.Module, *arguments: Any) -> Tensor:
    """Compute ``x + branch(x, *arguments)`` with as few passes over the features as can be.

    Args:
        x: ``(B, C, H, W)``, the block's input.
        branch: its forward takes ``x``, `arguments`, and ``residual``: whether it adds ``x`` itself. Where the module
            has a true ``takes_epilogue``, also ``epilogue``: an `Epilogue` that it adds to its own output.
        arguments: further ones.
    """
    hooks = [hook for hook in branch._forward_hooks.values() if isinstance(hook, BranchHook)]
    others = len(branch._forward_hooks) - len(hooks) + len(branch._forward_pre_hooks) + len(branch._backward_hooks)
    active = [hook for hook in hooks if not hook.idle]
    result: Tensor
    # Other hooks wait for the call, and for the branch's own output; and several may each change it.
    if others or len(active) > 1:
        result = x + branch(x, *arguments)
    elif not active:
        result = branch(x, *arguments, residual=True)
    elif getattr(branch, "takes_epilogue", False) and (epilogue := active[0].epilogue()) is not None:
        result = branch.forward(x, *arguments, residual=True, epilogue=epilogue)
    else:
        output: Tensor = branch.forward(x, *arguments)
        # A sum of two precisions has the wider one.
        result = active[0].add(output, x) if output.dtype == x.dtype else x + active[0].add(output)
    return result
