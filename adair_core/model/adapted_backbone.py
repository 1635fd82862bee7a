"""A frozen backbone and the adapters on it: choosing, running, blending, merging."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from adair_core.branch import BranchHook
from adair_core.derived import VersionCache
from adair_core.errors import UnknownNameError, UsageError, expected, listing
from adair_core.model.backbone import with_whole
from adair_core.model.folding import Change, Combination, fold, sources
from adair_core.model.installed_adapter import InstalledAdapter, install
from adair_core.model.per_sample import (
    Chosen,
    ParametersPerImage,
    Runs,
    group_images,
    images_at,
    in_order,
    neighbours,
    run_grouped,
)
from adair_core.model.residuals import Stack, add_residuals, add_residuals_per_image
from adair_core.ops.epilogue import Epilogue
from adair_core.ops.per_image import NotPerImageError
from adair_core.specs import Site

logger = logging.getLogger(__name__)


class AdaptedBackbone(nn.Module):
    """A frozen backbone with adapters; ``model(x)`` uses those that are active.

    None of the backbone's parameters takes a gradient, and it is always in evaluation mode, as all of a new model is.
    Weight adapters change its parameters for the time of a call, feature adapters its modules' outputs; the bare
    `backbone` stays what it is. So a model serves one thread at a time; threads need copies of it.

    Args:
        backbone: maps ``(B, C, H, W)`` to ``(B, C, H, W)``; it is frozen.
        sites: the places that it declares.
        what: the backbone, for messages.

    Attributes:
        backbone: the bare network.
        sites: the declared places, and the whole backbone.
    """

    def __init__(self, backbone: nn.Module, sites: Sequence[Site], *, what: str = "backbone") -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False).eval()
        self.sites = with_whole(backbone, sites, what=what)
        self._installed = nn.ModuleDict()
        self._active: Combination = ()
        self._running: Runs = ()
        self._stacks: dict[str, tuple[Runs, list[tuple[Stack, int]]]] = {}
        self._hooked: set[str] = set()
        self._folded = VersionCache[dict[str, Tensor]](8)  # nothing is folded again for the next tile
        self._per_image = ParametersPerImage()
        self._indivisible: set[frozenset[str]] = set()
        self._kept: dict[str, Tensor] | None = None
        self.eval()

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of all adapters, active or not."""
        return tuple(_name_of(key) for key in self._installed)

    @property
    def active(self) -> dict[str, float]:
        """The adapters that ``model(x)`` uses, with their strengths."""
        return dict(self._active)

    @property
    def merged(self) -> bool:
        """Whether the active adapters are merged into the base's weights."""
        return self._kept is not None

    def adapter(self, name: str) -> InstalledAdapter:
        """The modules of an adapter.

        Raises:
            UnknownNameError: there is none of that name.
        """
        if _key_of(name) not in self._installed:
            raise UnknownNameError("adapter", name, self.adapters)
        found = self._installed[_key_of(name)]
        assert isinstance(found, InstalledAdapter)
        return found

    def adapter_parameters(self, name: str) -> dict[str, nn.Parameter]:
        """The parameters of an adapter by the names that files use; what an optimiser gets.

        Raises:
            UnknownNameError: there is none of that name.
        """
        return self.adapter(name).named_adapter_parameters()

    def add_adapter(
        self,
        name: str,
        type_name: str,
        options: Mapping[str, Any] | None = None,
        *,
        preset: str | None = None,
        seed: int = 0,
    ) -> InstalledAdapter:
        """Add a new adapter, which is the identity, and make it the active one.

        Args:
            name: what to call it.
            type_name: registered adapter type, such as ``"lora"``.
            options: fields of its configuration that differ from the preset, such as ``{"rank": 8}``.
            preset: named options of the type.
            seed: of its random factors.

        Raises:
            UnknownNameError: there is no such adapter type.
            UsageError: the name is taken, or the options are not valid.
        """
        self.refuse_name(name)
        return self.place_adapter(name, install(type_name, options or {}, self.sites, seed=seed, preset=preset))

    def place_adapter(self, name: str, adapter: InstalledAdapter) -> InstalledAdapter:
        """Put an adapter on the backbone and make it the active one.

        Raises:
            UsageError: the name is taken or not a name, or the model is merged.
        """
        self.refuse_name(name)
        reference = next(self.backbone.parameters(), torch.empty(0))
        # Small deltas would vanish in bfloat16: adapters are kept in at least float32.
        adapter.to(reference.device, torch.promote_types(reference.dtype, torch.float32))
        adapter.train(self.training)
        self._installed[_key_of(name)] = adapter
        self._stacks.clear()
        for site, _ in adapter.feature_parts:
            if site.path not in self._hooked:
                self._hooked.add(site.path)
                self.backbone.get_submodule(site.path).register_forward_hook(_SiteHook(self, site.path))
        self._active = ((name, 1.0),)
        return adapter

    def refuse_name(self, name: str) -> None:
        """Check a new adapter's name.

        Raises:
            UsageError: it is taken or not a name, or the model is merged.
        """
        self._refuse_merged("adding an adapter")
        if not name or "/" in name:
            raise UsageError(expected("adapter name", expected="a name without '/'", got=repr(name)))
        if _key_of(name) in self._installed:
            raise UsageError(
                f"there is already an adapter {name!r}; give another name or remove_adapter({name!r}) first"
            )

    def set_adapters(self, names: str | Sequence[str], weights: Sequence[float] | None = None) -> None:
        """Choose the adapters that ``model(x)`` uses: their changes are added up.

        Args:
            names: of one or several; none for the base alone.
            weights: how much of each, in the same order; 1 by default. 0.5 and 0.5 blend two halves.

        Raises:
            UnknownNameError: there is no such adapter.
            UsageError: names and weights do not fit together, or the model is merged.
        """
        names = [names] if isinstance(names, str) else list(names)
        self._refuse_merged("choosing adapters")
        for name in names:
            self.adapter(name)
        if len(set(names)) != len(names):
            raise UsageError(expected("adapters", expected="each name once", got=", ".join(names)))
        strengths = [1.0] * len(names) if weights is None else [float(weight) for weight in weights]
        if len(strengths) != len(names) or not all(map(math.isfinite, strengths)):
            wanted = f"{len(names)} finite numbers, one for each adapter"
            raise UsageError(expected("adapter weights", expected=wanted, got=strengths))
        self._active = tuple(zip(names, strengths, strict=True))

    def remove_adapter(self, name: str) -> None:
        """Remove an adapter; the others stay as active as they were.

        Raises:
            UnknownNameError: there is none of that name.
            UsageError: the model is merged.
        """
        self._refuse_merged("removing an adapter")
        self.adapter(name)
        del self._installed[_key_of(name)]
        self._stacks.clear()
        self._active = tuple(entry for entry in self._active if entry[0] != name)
        self._indivisible = {names for names in self._indivisible if name not in names}  # another may get the name
        self._forget_folded()

    def forward(self, x: Tensor, adapters: Sequence[Chosen] | None = None) -> Tensor:
        """Restore a batch.

        Args:
            x: ``(B, C, H, W)``, in [0, 1].
            adapters: for each image the adapter that restores it, at full strength, or a blend as ``{name: strength}``,
                or ``None`` for the base alone; without it, the active adapters restore all images. Without gradients
                the images go through the backbone together, where it can be done.

        Returns:
            ``(B, C, H, W)``, not clipped.

        Raises:
            UnknownNameError: there is no such adapter.
            UsageError: there are not as many entries as images, or the model is merged.
        """
        if adapters is None:
            return self._run(x, () if self._kept is not None else self._active)
        self._refuse_merged("choosing an adapter for each image")
        groups = group_images(adapters, len(x))
        names = frozenset(name for combination in groups for name, _ in combination)
        for name in names:
            self.adapter(name)
        apart = torch.is_grad_enabled() or torch.compiler.is_compiling() or names in self._indivisible
        if len(groups) > 1 and not apart:
            try:
                return self._run_together(x, groups)
            except NotPerImageError as error:
                logger.debug("adapters %s run one after the other: %s", sorted(names), error)
                self._indivisible.add(names)
        return run_grouped(self._run, x, groups)

    def merge(self) -> None:
        """Put the active adapters into the base's weights, so that they cost nothing.

        The sum is made in float32 and rounded once; the base's own weights are kept for `unmerge`.

        Raises:
            UsageError: the model is merged already, or an active adapter changes features, not weights.
        """
        self._refuse_merged("merging")
        for name, _ in self._active:
            sites = [site.path for site, _ in self.adapter(name).feature_parts]
            if sites:
                kind = self.adapter(name).choice.name
                raise UsageError(
                    f"adapter {name!r} of type {kind!r} cannot be merged: it changes the features of {listing(sites)}, "
                    f"not weights; choose others with set_adapters first"
                )
        with torch.no_grad():
            changed = fold(self.backbone, self._changes(self._active))
            self._kept = {name: self.backbone.get_parameter(name).clone() for name in changed}
            for name, value in changed.items():
                self.backbone.get_parameter(name).copy_(value)
        self._forget_folded()

    def unmerge(self) -> None:
        """Put the base's own weights back, bit for bit.

        Raises:
            UsageError: the model is not merged.
        """
        if self._kept is None:
            raise UsageError("unmerge: the model is not merged; call merge() first")
        with torch.no_grad():
            for name, value in self._kept.items():
                self.backbone.get_parameter(name).copy_(value)
        self._kept = None

    def train(self, mode: bool = True) -> Self:
        """Set the adapters' mode; the frozen backbone stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        if mode:
            self._forget_folded()
        return self

    def _run(self, x: Tensor, combination: Combination) -> Tensor:
        return self._call(x, self._fold(combination), [(combination, len(x))])

    def _run_together(self, x: Tensor, groups: Mapping[Combination, Sequence[int]]) -> Tensor:
        order, runs, weight_runs = neighbours(groups, self._weights_of)
        folded = [self._fold(weights) for weights, _ in weight_runs]
        parameters = folded[0]
        if len(folded) > 1:
            parameters = self._per_image.get(self.backbone, folded, [count for _, count in weight_runs])
        ordered = x if order == sorted(order) else images_at(x, order)
        return in_order(self._call(ordered, parameters, runs), order)

    def _call(self, x: Tensor, parameters: dict[str, Tensor], runs: Runs) -> Tensor:
        self._running = runs
        try:
            if parameters:
                # `fold` has seen to parameters of several names: to look for them costs a millisecond in every call.
                output = torch.func.functional_call(self.backbone, parameters, (x,), tie_weights=False)
            else:
                output = self.backbone(x)
        finally:
            self._running = ()
        assert isinstance(output, Tensor)
        return output

    def _weights_of(self, combination: Combination) -> Combination:
        return tuple(entry for entry in combination if self.adapter(entry[0]).weight_parts)

    def _changes(self, combination: Combination) -> list[Change]:
        return [
            (site, module, strength)
            for name, strength in combination
            for site, module in self.adapter(name).weight_parts
        ]

    def _fold(self, combination: Combination) -> dict[str, Tensor]:
        changes = self._changes(combination)
        if not changes:
            return {}
        # With gradients, the fold is part of the graph and cannot be reused; the compiler cannot look at versions.
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return fold(self.backbone, changes)
        return self._folded.get(combination, sources(self.backbone, changes), lambda: fold(self.backbone, changes))

    def running_at(self, path: str) -> list[tuple[Stack, int]]:
        """What changes the output of the module at `path` during a call, and for how many images of the batch each."""
        if not self._running:
            return []
        if torch.compiler.is_compiling():  # which would compile again when something has been kept
            return self._collect(path)
        kept = self._stacks.get(path)
        if kept is None or kept[0] != self._running:
            kept = self._stacks[path] = (self._running, self._collect(path))
        return kept[1]

    def _collect(self, path: str) -> list[tuple[Stack, int]]:
        found: list[tuple[Stack, int]] = []
        for combination, count in self._running:
            entries = ((self.adapter(name), strength) for name, strength in combination)
            found.append(([(part, strength) for each, strength in entries for part in each.features_at(path)], count))
        return found

    def _forget_folded(self) -> None:
        self._folded.clear()
        self._per_image.clear()

    def _refuse_merged(self, what: str) -> None:
        if self._kept is not None:
            raise UsageError(f"{what}: the active adapters are merged into the base; call unmerge() first")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._forget_folded()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


class _SiteHook(BranchHook):
    """Adds what the running adapters make of a module's output. A copy of a model has a copy of it, which knows it."""

    def __init__(self, model: AdaptedBackbone, path: str) -> None:
        self._model, self._path = model, path

    @property
    def idle(self) -> bool:
        return not any(stack for stack, _ in self._model.running_at(self._path))

    def add(self, output: Tensor, skip: Tensor | None = None) -> Tensor:
        running = self._model.running_at(self._path)
        if len(running) > 1:
            stacks, counts = zip(*running, strict=True)
            return add_residuals_per_image(output, stacks, counts, skip)
        return add_residuals(output, running[0][0] if running else (), skip)

    def epilogue(self) -> Epilogue | None:
        running = self._model.running_at(self._path)
        if any(len(stack) > 1 for stack, _ in running):
            return None
        entries = [stack[0] if stack else None for stack, _ in running]
        kinds = {type(entry[0]) for entry in entries if entry is not None}
        counts = [count for _, count in running] if len(running) > 1 else []
        return kinds.pop().epilogue(entries, counts) if len(kinds) == 1 else None


def _key_of(name: str) -> str:
    # Module names may neither hold dots nor be attributes of nn.ModuleDict.
    return "adapter:" + name.replace(".", "/")


def _name_of(key: str) -> str:
    return key.removeprefix("adapter:").replace("/", ".")
