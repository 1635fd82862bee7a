"""Restormer in both forms, with the same weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adair_core.bench import plain
from adair_core.model.backbone import build_backbone
from adair_core.model.replaying import ReplayedBackbone
from adair_core.plugins import plugins

BACKBONE = "restormer"
SMOKE: Mapping[str, Any] = {"dim": 8, "blocks": (1, 1, 1, 1), "refinement": 1, "heads": (1, 1, 2, 2)}
"""A network that is as small as it can be."""


def our_network(preset: str, **options: Any) -> nn.Module:
    """Build adair's with random weights, always the same ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_backbone(BACKBONE, preset=preset, **options).eval()


def plain_network(network: nn.Module) -> plain.Restormer:
    """Build the plain form of a network of adair's, with copies of its weights."""
    config: Any = network.config
    built = plain.Restormer(config.dim, config.blocks, config.refinement, config.heads, biased=config.norm == "biased")
    built.load_state_dict(network.state_dict())
    return built.eval()


def adapted(network: nn.Module, adapters: Iterable[tuple[str, str, Mapping[str, Any]]] = ()) -> ReplayedBackbone:
    """Put adapters with random parameters on a network.

    Args:
        network: adair's; it is frozen.
        adapters: name, adapter type and options of each; the last one is active.
    """
    model = ReplayedBackbone(network, plugins().backbones[BACKBONE].sites(network))
    for seed, (name, kind, options) in enumerate(adapters):
        model.add_adapter(name, kind, options, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.adapter_parameters(name).values():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model


def lora_factors(model: ReplayedBackbone, name: str) -> dict[str, tuple[Tensor, Tensor]]:
    """The A and B of a LoRA adapter, by the path of the convolution."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, parameter in model.adapter_parameters(name).items():
        path, _, factor = key.removesuffix(".weight").rpartition(".")
        found.setdefault(path, {})[factor] = parameter.detach()
    return {path: (factors["lora_A"], factors["lora_B"]) for path, factors in found.items()}


def plain_lora(network: plain.Restormer, factors: Mapping[str, tuple[Tensor, Tensor]], rank: int) -> nn.Module:
    """Put LoRA with given factors beside a plain network's convolutions, in place."""
    plain.add_lora(network, factors, rank)
    with torch.no_grad():
        for path, (a, b) in factors.items():
            module = network.get_submodule(path)
            assert isinstance(module, plain.LoraConvolution)
            module.a.weight.copy_(a)
            module.b.weight.copy_(b)
    return network


def peft_available() -> bool:
    """Whether the library PEFT is installed."""
    from importlib.util import find_spec

    return find_spec("peft") is not None


def peft_lora(network: nn.Module, factors: Mapping[str, Mapping[str, tuple[Tensor, Tensor]]], rank: int) -> Any:
    """Put adapters on a plain network by PEFT.

    Args:
        network: changed in place.
        factors: for each adapter, A and B by the path of the convolution.
        rank: of all of them.

    Returns:
        PEFT's model; the first adapter is active.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT and what it imports warn about each other
        import peft

        model: Any = None
        for name, sites in factors.items():
            config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=sorted(sites))
            if model is None:
                model = peft.get_peft_model(network, config, adapter_name=name)
            else:
                model.add_adapter(name, config)
    with torch.no_grad():
        for name, sites in factors.items():
            for path, (a, b) in sites.items():
                layer = model.base_model.model.get_submodule(path)
                layer.lora_A[name].weight.copy_(a)
                layer.lora_B[name].weight.copy_(b)
    model.set_adapter(next(iter(factors)))
    return model.eval()
