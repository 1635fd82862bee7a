"""Backbones by name: resolving options, building the bare module, listing its sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from adair_core.errors import PluginError, UnknownNameError
from adair_core.plugins import completed, parse_config, plugins
from adair_core.specs import BackboneSpec, Choice, Site


@dataclass(frozen=True, kw_only=True)
class BaseInfo:
    """What is known about a base: its architecture and where its weights come from.

    Attributes:
        name: versioned zoo name (``restormer-tiny@1``), a file, or a word for weights that have neither.
        backbone: the architecture, with every option.
        fingerprint: of the weights, see `adair_core.model.weights_file.fingerprint`.
        recipe: of the training that made them.
    """

    name: str
    backbone: Choice
    fingerprint: str
    recipe: dict[str, Any] | None = None


def resolve_backbone(name: str, *, preset: str | None = None, **options: Any) -> Choice:
    """Resolve a backbone's preset and options to all fields of its configuration.

    Args:
        name: registered name.
        preset: named shape; ``None`` is the backbone's default.
        options: fields that differ from the preset.

    Raises:
        UnknownNameError: no plugin offers the backbone.
        UsageError: there is no such preset, or an option is not valid.
    """
    spec = plugins().backbones[name]
    chosen = spec.default_preset if preset is None else preset
    if chosen is not None and chosen not in spec.presets:
        raise UnknownNameError(f"preset of backbone {name}", chosen, spec.presets)
    merged = {**(spec.presets[chosen] if chosen is not None else {}), **options}
    return completed(Choice(name=name, options=merged), spec.config, what="backbone")


def build_backbone(name: str, *, preset: str | None = None, **options: Any) -> nn.Module:
    """Build a bare backbone with random weights (from torch's global generator).

    Args:
        name: registered name, such as ``"restormer"``.
        preset: named shape; ``None`` is the backbone's default.
        options: fields of its configuration that differ from the preset, such as ``norm="bias-free"``.

    Returns:
        A module that maps ``(B, in_channels, H, W)`` to ``(B, out_channels, H, W)``.

    Raises:
        UnknownNameError: no plugin offers the backbone.
        UsageError: there is no such preset, or an option is not valid.
    """
    return build_resolved(resolve_backbone(name, preset=preset, **options))


def build_resolved(choice: Choice) -> nn.Module:
    """Build the backbone of a `Choice` that holds every option (`resolve_backbone`).

    Raises:
        UnknownNameError: no plugin offers the backbone.
        UsageError: an option is not valid.
    """
    spec = plugins().backbones[choice.name]
    return spec.build(parse_config(spec.config, choice.options, what=f"backbone {choice.name!r}"))


def declared_sites(spec: BackboneSpec, backbone: nn.Module) -> tuple[Site, ...]:
    """List the sites that a backbone declares, in forward order, and the whole of it.

    Raises:
        PluginError: two sites share path and kind, or a path is not in the module.
    """
    return with_whole(backbone, spec.sites(backbone), what=f"backbone {spec.name!r}")


def with_whole(backbone: nn.Module, sites: Sequence[Site], *, what: str) -> tuple[Site, ...]:
    """Add the site of kind ``whole``, which every backbone has, and check the others.

    Args:
        backbone: the module.
        sites: what its plugin declares.
        what: the backbone, for messages.

    Raises:
        PluginError: two sites share path and kind, or a path is not in the module.
    """
    modules = dict(backbone.named_modules(remove_duplicate=False))
    seen: set[tuple[str, str]] = set()
    for site in sites:
        if site.path not in modules:
            raise PluginError(f"{what}: site {site.path!r}: there is no such module")
        if (site.path, site.kind) in seen:
            raise PluginError(f"{what}: site {site.path!r} of kind {site.kind} is declared twice")
        seen.add((site.path, site.kind))
    if any(site.kind == "whole" for site in sites):
        return tuple(sites)
    shapes = {name: tuple(parameter.shape) for name, parameter in backbone.named_parameters()}
    return (*sites, Site("", "whole", channels=0, level=1, shapes=shapes))
