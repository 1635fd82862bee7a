"""A backbone with adapters whose calls are replayed where that is faster."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from adair_core.model.adapted_backbone import AdaptedBackbone
from adair_core.model.captures import Captures, Reads
from adair_core.model.per_sample import Chosen, Runs
from adair_core.specs import Site


class ReplayedBackbone(AdaptedBackbone):
    """An `AdaptedBackbone` that can also be called by `replay`.

    Args:
        backbone: see `AdaptedBackbone`.
        sites: see `AdaptedBackbone`.
        what: see `AdaptedBackbone`.
    """

    def __init__(self, backbone: nn.Module, sites: Sequence[Site], *, what: str = "backbone") -> None:
        super().__init__(backbone, sites, what=what)
        self._captures = Captures()
        self._replaying = False

    def replay(self, x: Tensor, adapters: Sequence[Chosen] | None = None) -> Tensor:
        """Restore a batch as ``model(x, adapters)`` does, to the same bits.

        On a CUDA device, and without gradients, the fifth batch of a shape, dtype, precision and choice of adapters is
        captured as a CUDA graph, which the following ones replay: all kernels in one launch. That is worth it where
        launches take longer than kernels, which is so for small batches. A graph is used as long as nothing has
        changed that the network reads. Up to four are kept, with the memory that the largest works in. `replays` tells
        what could not be captured, and why; it is computed as ``model(x)`` is.

        Args:
            x: see `forward`.
            adapters: see `forward`.

        Returns:
            ``(B, C, H, W)``, a tensor of one's own.

        Raises:
            AdairError: see `forward`.
        """
        self._replaying = True
        try:
            output = self(x, adapters)
        finally:
            self._replaying = False
        assert isinstance(output, Tensor)
        return output

    @property
    def replays(self) -> dict[str, str]:
        """What becomes of the kinds of batches that `replay` was called with lately, and why it is not replayed."""
        return self._captures.explain()

    def _call(self, x: Tensor, parameters: dict[str, Tensor], runs: Runs) -> Tensor:
        if not self._replaying:
            return super()._call(x, parameters, runs)

        def compute(batch: Tensor) -> Tensor:
            return super(ReplayedBackbone, self)._call(batch, parameters, runs)

        return self._captures.run(compute, x, lambda: self._reads(parameters, runs))

    def _reads(self, parameters: dict[str, Tensor], runs: Runs) -> Reads:
        names = dict.fromkeys(name for combination, _ in runs for name, _ in combination)
        features = [module for name in names for _, module in self.adapter(name).feature_parts]
        tensors: list[Tensor] = []
        hook: str | None = None
        # nn.Module's own ways to list modules and parameters would take longer than a block of a small network.
        waiting: list[tuple[str, nn.Module]] = [("", self.backbone), *(("(adapter)", module) for module in features)]
        while waiting:
            path, module = waiting.pop()
            tensors += [value for value in module._parameters.values() if value is not None]
            tensors += [value for value in module._buffers.values() if value is not None]
            if module._forward_pre_hooks or len(module._forward_hooks) > (path in self._hooked):
                hook = path or type(module).__name__
            prefix = f"{path}." if path else ""
            waiting += [(prefix + name, child) for name, child in module._modules.items() if child is not None]
        return Reads((tuple(runs), self.training), parameters, tensors, hook)

    def _forget_folded(self) -> None:
        super()._forget_folded()
        self._captures.clear()
