"""An adapter on a base: one small module for each site that it changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from adair_core.adapter import Adapter, AdapterConfig, FeatureAdapter, WeightAdapter
from adair_core.errors import PluginError, UsageError, expected, listing
from adair_core.model.weights_file import check_fit
from adair_core.plugins import parse_config, plugins
from adair_core.specs import AdapterSpec, Choice, Site


class InstalledAdapter(nn.Module):
    """The modules of one adapter.

    Args:
        choice: the adapter type with every option.
        parts: the adapted sites, each with its module.

    Attributes:
        choice: the adapter type with every option.
        tile: side of the tiles in which it restores best, in pixels; None = it restores whole images best, or nobody
            has measured it.
        sites: the adapted sites.
        weight_parts: the sites whose parameters change, each with its module.
        feature_parts: the sites whose output changes, each with its module.
    """

    def __init__(self, choice: Choice, parts: Sequence[tuple[Site, Adapter]]) -> None:
        super().__init__()
        self.choice = choice
        self.tile: int | None = None
        self.sites = tuple(site for site, _ in parts)
        self.site_modules = nn.ModuleDict({_key(site): module for site, module in parts})
        # Lists are no state of a module, but copies of it have copies of them.
        self.weight_parts = [(site, module) for site, module in parts if isinstance(module, WeightAdapter)]
        self.feature_parts = [(site, module) for site, module in parts if isinstance(module, FeatureAdapter)]
        self._features: dict[str, list[FeatureAdapter]] = {}
        for site, module in self.feature_parts:
            self._features.setdefault(site.path, []).append(module)

    @property
    def parts(self) -> Iterator[tuple[Site, Adapter]]:
        """The adapted sites, each with its module."""
        for site in self.sites:
            yield site, self.site_modules[_key(site)]  # type: ignore[misc]

    def features_at(self, path: str) -> Sequence[FeatureAdapter]:
        """What changes the output of the module at `path`: one for each kind of site that it is."""
        return self._features.get(path, ())

    def tensors(self) -> dict[str, Tensor]:
        """All state by the names that files use: the site's path, then the name inside its module."""
        return {name: tensor for part in self._named("state") for name, tensor in part.items()}

    def named_adapter_parameters(self) -> dict[str, nn.Parameter]:
        """All parameters by the names that files use."""
        named = {name: tensor for part in self._named("parameters") for name, tensor in part.items()}
        return {name: tensor for name, tensor in named.items() if isinstance(tensor, nn.Parameter)}

    def _named(self, what: str) -> Iterator[dict[str, Tensor]]:
        seen: set[str] = set()
        for site, module in self.parts:
            # A module may be a site of two kinds (a branch that ends a stage).
            prefix = f"{site.path}:{site.kind}" if site.path in seen else site.path
            seen.add(site.path)
            values = module.state_dict(keep_vars=True) if what == "state" else dict(module.named_parameters())
            names = module.file_names
            yield {".".join(filter(None, (prefix, names.get(name, name)))): value for name, value in values.items()}

    def load_tensors(self, tensors: Mapping[str, Tensor], *, where: str) -> None:
        """Copy values by the names of `tensors`.

        Raises:
            WeightsError: names or shapes differ; nothing is copied then.
        """
        own = self.tensors()
        check_fit(own, tensors, where=where, what=f"adapter type {self.choice.name!r} with these options")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[name])


def install(
    type_name: str, options: Mapping[str, Any], sites: Sequence[Site], *, seed: int, preset: str | None = None
) -> InstalledAdapter:
    """Build a new adapter: the identity, its random factors a function of the seed.

    Args:
        type_name: registered adapter type.
        options: fields of its configuration that differ from the preset.
        sites: of the backbone.
        seed: of the random factors.
        preset: named options of the adapter type.

    Raises:
        UnknownNameError: there is no such adapter type or preset.
        UsageError: the options are not valid, or leave no site.
        PluginError: the adapter type builds something that is not an adapter of the site.
    """
    spec = plugins().adapters[type_name]
    config = parse_config(spec.config, preset_options(spec, options, preset), what=f"adapter type {type_name!r}")
    fitting = [site for site in sites if site.kind in spec.kinds]
    if not fitting:
        wanted, there = ", ".join(sorted(spec.kinds)), ", ".join(sorted({site.kind for site in sites}))
        raise UsageError(expected(f"adapter type {type_name!r}: sites", expected=f"some of kind {wanted}", got=there))
    chosen = config.select(fitting, sites) if isinstance(config, AdapterConfig) else fitting
    parts: list[tuple[Site, Adapter]] = []
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for site in chosen:
            module = spec.build(config, site)
            if module is not None:
                _check_part(type_name, site, module)
                parts.append((site, module))
    if not parts:
        raise UsageError(f"adapter type {type_name!r} adapts none of the {len(chosen)} chosen sites")
    return InstalledAdapter(Choice(name=type_name, options=config.model_dump(mode="json")), parts)


def preset_options(spec: AdapterSpec, options: Mapping[str, Any], preset: str | None) -> dict[str, Any]:
    """Lay options over those of a preset.

    Raises:
        UsageError: there is no such preset.
    """
    if preset is not None and preset not in spec.presets:
        known = ", ".join(sorted(spec.presets)) or "none"
        raise UsageError(f"adapter type {spec.name!r} has no preset {preset!r}; known: {known}")
    return {**(spec.presets[preset] if preset is not None else {}), **options}


def _key(site: Site) -> str:
    # Neither nn.ModuleDict's attribute names nor the dots of paths may be module names; the colon keeps off the first.
    return f"{site.kind}:{site.path.replace('.', '/')}"


def _check_part(type_name: str, site: Site, module: object) -> None:
    where = f"adapter type {type_name!r}, site {site.path!r}"
    if isinstance(module, FeatureAdapter):
        return
    if not isinstance(module, WeightAdapter):
        raise PluginError(expected(where, expected="a WeightAdapter or a FeatureAdapter", got=type(module).__name__))
    with torch.no_grad():
        for name, delta in module.delta().items():
            wanted = site.shapes.get(name)
            if wanted != tuple(delta.shape):
                known = f"shape {wanted}" if wanted else f"one of the parameters {listing(list(site.shapes))}"
                raise PluginError(expected(f"{where}: delta of {name!r}", expected=known, got=tuple(delta.shape)))
