"""``adair convert``: weights of another project -> a base file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import rich_click

from adair_core.cli.choices import backbone_group, preset_options
from adair_core.cli.command import Command, group_named
from adair_core.cli.options import Group
from adair_core.cli.output import print_json, say
from adair_core.errors import UsageError, WeightsError, expected, listing
from adair_core.plugins import plugins

# Where training programs put the state: BasicSR, PyTorch Lightning, and others; the averaged weights first.
_STATES = ("params_ema", "params", "state_dict", "model_state_dict", "model", "net", "generator")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "net_g.", "backbone.")


def _groups(typed: Mapping[str, Any]) -> list[Group]:
    if not typed.get("backbone"):
        return []
    return [backbone_group(plugins().backbones[typed["backbone"]], typed.get("preset"))]


@rich_click.command(
    "convert",
    cls=Command,
    groups=_groups,
    examples=[
        "convert gaussian_color_denoising_blind.pth --backbone restormer --preset paper --backbone.norm bias-free",
        "convert weights.pth --backbone nafnet --preset width32 --key params_ema",
    ],
)
@rich_click.argument("file", type=click.Path(path_type=Path))
@rich_click.option("--backbone", metavar="NAME", required=True, help="the network that the weights are for")
@rich_click.option("--preset", metavar="NAME", help="named shape of the backbone")
@rich_click.option(
    "--key", metavar="NAME", help=f"where the weights are in the file [default: tries {', '.join(_STATES)}]"
)
@rich_click.option("--out", "-o", type=click.Path(path_type=Path), help="base file [default: FILE's name .safetensors]")
@rich_click.option("--overwrite", is_flag=True, help="replace an existing file")
@rich_click.option("--json", "as_json", is_flag=True, help="print JSON")
def command(
    file: Path, backbone: str, preset: str | None, key: str | None, out: Path | None, **parameters: Any
) -> None:
    """Convert a foreign .pth file to a base file.

    FILE is read without executing anything in it (weights_only). With --backbone, --help lists the backbone's options.
    """
    from adair_core.model import save_base
    from adair_core.model.files import build_with

    out = out or Path(file.with_suffix(".safetensors").name)
    if out.exists() and not parameters["overwrite"]:
        raise UsageError(f"{out} exists already; give another --out, or --overwrite")
    group = group_named("backbone")
    spec = plugins().backbones[backbone]
    options = preset_options("backbone", spec, preset or spec.default_preset)
    choice = group.choice(backbone, group.given(parameters), options)
    state = _without_prefix(_state_in(_read(file), key, file))
    build_with(state, choice, where=str(file))
    info = save_base(out, state, backbone=choice)
    say(f"wrote {out}: {backbone}, {sum(tensor.numel() for tensor in state.values()):,} parameters")
    if parameters["as_json"]:
        print_json({"path": str(out), "backbone": choice.model_dump(mode="json"), "fingerprint": info.fingerprint})


def _read(file: Path) -> Any:
    import safetensors.torch
    import torch

    if not file.is_file():
        raise UsageError(expected("FILE", expected="a weights file", got=f"{str(file)!r}, which does not exist"))
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{file}: not a weights file, or it holds more than tensors and plain values, which is refused because it "
            f"could execute code; save its state_dict alone with the program that made it"
        ) from error
    # The parsers of torch and safetensors raise many kinds of errors on damaged files.
    except Exception as error:
        raise WeightsError(f"{file}: truncated, damaged or not a weights file ({type(error).__name__})") from error


def _state_in(content: Any, key: str | None, file: Path) -> dict[str, Any]:
    import torch

    keys = [str(name) for name in content] if isinstance(content, Mapping) else []
    if key is not None:
        if key not in keys:
            raise UsageError(expected(f"{file}: --key", expected=f"one of {listing(keys, limit=10)}", got=repr(key)))
        content = content[key]
    for _ in range(3):  # {"model": {"state_dict": {...}}}
        nested = [name for name in _STATES if isinstance(content, Mapping) and isinstance(content.get(name), Mapping)]
        if not nested:
            break
        content = content[nested[0]]
    if not isinstance(content, Mapping):
        raise WeightsError(expected(str(file), expected="a mapping of names to tensors", got=type(content).__name__))
    state = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if not state:
        hint = f"it holds {listing(keys, limit=10)}: name the right one with --key" if keys else ""
        raise WeightsError(expected(str(file), expected="tensors", got="none", hint=hint))
    return state


def _without_prefix(state: dict[str, Any]) -> dict[str, Any]:
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            return _without_prefix({name.removeprefix(prefix): tensor for name, tensor in state.items()})
    return state
