"""LoRA files in PEFT's form: its ``adapter_config.json`` and its tensor names.

PEFT holds factors of ungrouped convolutions; it can neither merge nor, for most ranks, build those of grouped ones.

Source: https://huggingface.co/docs/peft/developer_guides/checkpoint
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from adair_core.adapter import LowRankAdapter, PeftFactors
from adair_core.errors import UsageError, WeightsError, expected, listing
from adair_core.model.installed_adapter import InstalledAdapter
from adair_core.plugins import plugins
from adair_core.specs import Choice, Site

PREFIX = "base_model.model."
_KEY = re.compile(r"base_model\.model\.(?P<path>.+)\.(?P<name>lora_[AB]\.weight)")
_UNSUPPORTED = ("use_dora", "use_qalora", "modules_to_save", "rank_pattern", "alpha_pattern", "lora_bias")


def peft_problem(adapter: InstalledAdapter) -> str:
    """Say why PEFT cannot hold an adapter; empty if it can."""
    parts = list(adapter.parts)
    if plugins().adapters[adapter.choice.name].from_peft is None:
        return f"adapters of type {adapter.choice.name!r} have no form in PEFT"
    grouped = [site.path for site, _ in parts if site.groups > 1]
    if grouped:
        return (
            f"PEFT has no factors of grouped (depthwise) convolutions, and this adapter has {len(grouped)}: "
            f"{listing(grouped)}"
        )
    scales = {(module.rank, module.scale) for _, module in parts if isinstance(module, LowRankAdapter)}
    if len(scales) != 1 or not all(isinstance(module, LowRankAdapter) for _, module in parts):
        return "expected low-rank factors of one rank and one scale at all sites"
    return ""


def refuse_outside_peft(adapter: InstalledAdapter, *, name: str) -> None:
    """Check that PEFT can hold an adapter.

    Args:
        adapter: its modules.
        name: the adapter, for messages.

    Raises:
        UsageError: it cannot; the message says why.
    """
    problem = peft_problem(adapter)
    if problem:
        raise UsageError(f"adapter {name!r} cannot be exported to PEFT: {problem}")


def peft_config(adapter: InstalledAdapter, *, base: str) -> dict[str, Any]:
    """Make the ``adapter_config.json`` of an adapter without `peft_problem`.

    Args:
        adapter: its factors are of one rank and one scale.
        base: name of the base.
    """
    module = next(module for _, module in adapter.parts if isinstance(module, LowRankAdapter))
    return {
        "peft_type": adapter.choice.name.upper(),
        "task_type": None,
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": module.rank,
        "lora_alpha": module.scale * module.rank,
        "lora_dropout": 0.0,
        # PEFT takes a list's entries for the ends of paths; a text is a pattern of whole ones.
        "target_modules": "|".join(re.escape(site.path) for site in adapter.sites),
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
    }


def read_peft(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], sites: Sequence[Site], *, where: str
) -> tuple[Choice, dict[str, Tensor]]:
    """Understand what PEFT wrote.

    Args:
        config: its ``adapter_config.json``.
        tensors: its ``adapter_model.safetensors``.
        sites: of the backbone.
        where: the adapter, for messages.

    Returns:
        The adapter type with its options, and the tensors by adair's names.

    Raises:
        UsageError: it is of a type, or uses options, that adair does not have.
        WeightsError: names or shapes are not those of factors of this backbone's convolutions.
    """
    kind = str(config.get("peft_type"))
    registry = plugins().adapters
    known = [spec.name.upper() for spec in registry.values() if spec.from_peft is not None]
    if kind not in known:
        raise UsageError(expected(f"{where}: peft_type", expected=f"one of {listing(known)}", got=kind))
    spec = registry[kind.lower()]
    assert spec.from_peft is not None
    used = [name for name in _UNSUPPORTED if config.get(name)]
    if config.get("bias", "none") != "none":
        used.append("bias")
    if used:
        raise UsageError(f"{where}: adair has nothing like PEFT's {', '.join(used)}")
    matches = {key: _KEY.fullmatch(key) for key in tensors}
    strange = [key for key, match in matches.items() if match is None]
    if strange or not tensors:
        wanted = f"{PREFIX}PATH.lora_A.weight and lora_B.weight"
        raise WeightsError(expected(f"{where}: tensor names", expected=wanted, got=listing(strange) or "none"))
    paths = {match["path"] for match in matches.values() if match}
    found = tuple(site for site in sites if site.path in paths and site.kind in spec.kinds)
    unknown = sorted(paths - {site.path for site in found})
    if unknown:
        sited = f"sites such as {listing([site.path for site in sites if site.kind in spec.kinds])}"
        raise WeightsError(expected(f"{where}: modules", expected=sited, got=listing(unknown)))
    grouped = [site.path for site in found if site.groups > 1]
    if grouped:
        raise WeightsError(f"{where}: PEFT's factors of grouped convolutions cannot be read: {listing(grouped)}")
    rank, alpha = _number(config, "r", where), _number(config, "lora_alpha", where)
    if config.get("use_rslora"):
        alpha *= math.sqrt(rank)
    options = spec.from_peft(PeftFactors(rank=int(rank), alpha=alpha, sites=found))
    return Choice(name=spec.name, options=dict(options)), {
        key.removeprefix(PREFIX): tensor for key, tensor in tensors.items()
    }


def _number(config: Mapping[str, Any], name: str, where: str) -> float:
    value = config.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0 or not math.isfinite(value):
        raise WeightsError(expected(f"{where}: adapter_config.json: {name}", expected="a positive number", got=value))
    return float(value)
