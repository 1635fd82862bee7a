"""``adair export``: a base and its adapters -> one file for other programs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import rich_click

import adair_core
from adair_core.cli.choices import weights_spec
from adair_core.cli.command import Command
from adair_core.cli.models import Loaded, load_model, weights_options
from adair_core.cli.options import Group
from adair_core.cli.output import print_json, say
from adair_core.cli.sequences import AUTO, options_of_tasks, task_groups, task_names
from adair_core.errors import UsageError, expected
from adair_core.new_folder import check_folder, make_folder

_ENDINGS = {
    "spandrel": (".safetensors", ".pth"),
    "onnx": (".onnx",),
    "adair": (".safetensors",),
    "peft": ("",),
}
"""The endings of each format's files; PEFT's is a folder."""


def _groups(typed: Mapping[str, Any]) -> list[Group]:
    return task_groups(_task(typed.get("task")))


@rich_click.command(
    "export",
    cls=Command,
    groups=_groups,
    examples=[
        "export denoise.onnx --task denoise",
        "export denoise.onnx --adapter runs/denoise-lora/denoise",
        "export denoise.safetensors --adapter runs/denoise-lora/denoise --strength 0.8",
        "export both.safetensors --format adair --adapter runs/a/a --adapter runs/b/b --blend 0.5,0.5",
        "export peft/ --adapter runs/denoise-lora/denoise",
    ],
)
@rich_click.argument("out", type=click.Path(path_type=Path))
@rich_click.option("--task", metavar="NAME", help="what the file restores; chooses the zoo's adapter for it")
@weights_options
@rich_click.option(
    "--scale", type=rich_click.IntRange(min=1), metavar="N", help="of the zoo's adapter for --task super-resolve"
)
@rich_click.option(
    "--format",
    "kind",
    type=click.Choice(list(_ENDINGS)),
    help="spandrel: weights for programs that load Restormer or NAFNet with it; onnx; adair: a base file; peft: a "
    "folder [default: spandrel for .safetensors and .pth, onnx for .onnx, peft for a folder]",
)
@rich_click.option("--strength", type=float, default=1.0, help="0 = the input, 1 = restored [default: 1]")
@rich_click.option("--overwrite", is_flag=True, help="replace what is there")
@rich_click.option("--json", "as_json", is_flag=True, help="print JSON")
def command(
    out: Path,
    task: str | None,
    kind: str | None,
    strength: float,
    overwrite: bool,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Write a base and its adapters as one file for other programs.

    What changes weights (LoRA) is merged. ONNX files hold adapters of every type and are compared with PyTorch before
    they are kept.
    """
    kind = kind or _format_of(out)
    if out.suffix not in _ENDINGS[kind]:
        endings = " or ".join(_ENDINGS[kind]) or "a folder's name, without an ending"
        raise UsageError(expected(f"OUT for --format {kind}", expected=endings, got=repr(str(out))))
    names = _task(task)
    has_adapter = bool(parameters["adapters"]) or "=" in (parameters["blend"] or "")
    if not names and not has_adapter and parameters["base"] is None:
        raise UsageError(
            "what should be exported? give --task NAME, --adapter NAME|DIR, or --base NAME|FILE for a base without an "
            "adapter"
        )
    if names and (has_adapter or parameters["base"] is not None):
        raise UsageError("--task chooses adapter and base itself: leave it out, or --adapter, --blend and --base")
    options = options_of_tasks(names, parameters)
    if parameters["scale"] is not None and not any("scale" in chosen for chosen in options):
        got = f"--task {task}" if names else "no --task"
        raise UsageError(expected("--scale", expected="a --task that enlarges, such as super-resolve", got=got))
    if not (math.isfinite(strength) and strength >= 0):
        raise UsageError(expected("--strength", expected="0 (the input) to 1 (restored), or more", got=strength))
    if out.is_dir() and kind != "peft":
        raise UsageError(expected("OUT", expected="a file", got=f"the folder {str(out)!r}"))
    if not overwrite and out.exists() and (kind != "peft" or not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already; give another name, or --overwrite")
    check_folder(out.parent)  # before the work
    if kind == "onnx":
        from adair_core.model.onnx_file import require_onnx

        require_onnx()
    parameters["device"] = "cpu"
    loaded = load_model(parameters, task=next(iter(names), None), task_options=next(iter(options), None))
    origin = _origin(loaded, strength)
    make_folder(out.parent)
    details = _WRITERS[kind](out, loaded, strength=strength, origin=origin, overwrite=overwrite)
    say(f"wrote {out}: {loaded.title}, {details.pop('note')}")
    if kind != "peft" and loaded.task_options.get("scale", 1) != 1:
        say(
            f"the network enlarges nothing itself: enlarge images {loaded.task_options['scale']} times, bicubic, before"
        )
    tile = loaded.model.suited_tile
    if kind != "peft" and tile is not None:
        say(f"'adair restore' would restore with it in tiles of {tile} pixels; the file does not say so to programs")
    if as_json:
        print_json({"path": str(out), "format": kind, "origin": origin, **details})


def _task(text: str | None) -> tuple[str, ...]:
    """Read ``--task``: one name, or none if it was not given.

    Raises:
        UsageError: it is several, or ``auto``.
        UnknownNameError: no plugin offers a task.
    """
    if text == AUTO or "," in (text or ""):
        hint = "a file holds one restoration, whatever the image"
        raise UsageError(expected("--task", expected="one task", got=repr(text), hint=hint))
    return task_names(text)


def _format_of(out: Path) -> str:
    for kind, endings in _ENDINGS.items():
        if out.suffix in endings:
            return kind
    known = ", ".join(sorted({ending for endings in _ENDINGS.values() for ending in endings if ending}))
    raise UsageError(
        expected("OUT", expected=f"one of the endings {known}, or a folder's name", got=repr(str(out)))
        + "; see --format"
    )


def _origin(loaded: Loaded, strength: float) -> dict[str, str]:
    """What a file should say about where it comes from; texts, as the metadata of all formats are."""
    info = loaded.model.info
    origin = {
        "made_by": f"adair {adair_core.__version__}",
        "backbone": info.backbone.name,
        "backbone_options": json.dumps(info.backbone.options),
        "base": info.name,
        "base_fingerprint": info.fingerprint,
        "adapters": json.dumps(dict(loaded.adapters)),
        "strength": f"{strength:g}",
        "terms": _terms([info.name, *loaded.adapters]),
    }
    if loaded.task is not None:
        origin |= {"task": loaded.task, "task_options": json.dumps(dict(loaded.task_options))}
    if "scale" in loaded.task_options:
        origin["scale"] = str(loaded.task_options["scale"])
    if loaded.model.suited_tile is not None:
        origin["tile"] = str(loaded.model.suited_tile)
    return origin


def _terms(names: list[str]) -> str:
    specs = {name: weights_spec(name) for name in names}
    return "; ".join(f"{name}: {spec.terms if spec else 'not stated'}" for name, spec in specs.items())


def _spandrel(out: Path, loaded: Loaded, *, strength: float, origin: Mapping[str, str], **_: Any) -> dict[str, Any]:
    from adair_core.model.spandrel_file import write_spandrel

    form = write_spandrel(out, loaded.model, strength=strength, metadata=origin)
    note = f"for spandrel as {form.architecture} (package {form.package})"
    return {"note": note, "architecture": form.architecture, "package": form.package}


def _onnx(out: Path, loaded: Loaded, *, strength: float, origin: Mapping[str, str], overwrite: bool) -> dict[str, Any]:
    from adair_core.model.onnx_file import INPUT, OUTPUT, write_onnx

    check = write_onnx(out, loaded.model, strength=strength, metadata=origin, overwrite=overwrite)
    sizes = ", ".join(f"{height} x {width}" for height, width in check.sizes)
    return {
        "note": f"ONNX opset {check.opset}, {INPUT} -> {OUTPUT}; onnxruntime {check.runtime} differs from PyTorch by "
        f"{check.largest_error:.2g} at most at {sizes}",
        "opset": check.opset,
        "onnxruntime": check.runtime,
        "largest_error": check.largest_error,
        "sizes": check.sizes,
    }


def _adair(out: Path, loaded: Loaded, *, strength: float, origin: Mapping[str, str], **_: Any) -> dict[str, Any]:
    from adair_core.model import save_base
    from adair_core.model.merged import merged_weights, weaken

    model = loaded.model
    weights = weaken(merged_weights(model), model, strength)
    info = save_base(out, weights, backbone=model.info.backbone, recipe=model.info.recipe, origin=origin)
    return {"note": f"a base with fingerprint {info.fingerprint}", "fingerprint": info.fingerprint}


def _peft(out: Path, loaded: Loaded, *, strength: float, **_: Any) -> dict[str, Any]:
    from adair_core.model.adapter_files import read_adapter
    from adair_core.model.zoo import find_weights

    model = loaded.model
    if len(model.active) != 1 or strength != 1 or set(model.active.values()) != {1.0}:
        what = "one --adapter, without --strength and --blend"
        got = f"{len(model.active)} adapters, strength {strength:g}, blend {list(model.active.values())}"
        raise UsageError(expected("--format peft", expected=what, got=got, hint="others can be merged: --format adair"))
    (name,), (given,) = model.active, loaded.adapters
    model.export_peft(name, out, card=read_adapter(find_weights(given, kind="adapter").path).card)
    return {"note": "a folder that PEFT loads on the bare backbone"}


_WRITERS: dict[str, Callable[..., dict[str, Any]]] = {
    "spandrel": _spandrel,
    "onnx": _onnx,
    "adair": _adair,
    "peft": _peft,
}
