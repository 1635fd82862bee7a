"""What `adair restore` and `adair evaluate` share: choosing a base and adapters, and loading them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import rich_click

from adair_core.cli.choices import DEFAULT_BASE, base_named, trained_adapter, weights_spec
from adair_core.errors import UnknownNameError, UsageError, WeightsError, expected
from adair_core.plugins import plugins

if TYPE_CHECKING:
    from adair_core.model import RestorationModel
    from adair_core.model.adapter_files import AdapterFile
    from adair_core.model.tiling import Tile

PRECISIONS = ("float32", "bfloat16", "float16")
"""`adair_core.model.restoring.Precision`, which takes PyTorch to import."""


def weights_options(function: Any) -> Any:
    """Decorate a command with the options that say which base and which adapters."""
    options = [
        rich_click.option(
            "--adapter",
            "adapters",
            multiple=True,
            metavar="NAME|DIR",
            help="trained adapter, of the zoo or a folder; several are blended [default: the zoo's for --task]",
        ),
        rich_click.option(
            "--blend",
            metavar="X,...|NAME=X,...",
            help="how much of each --adapter; or of each task or adapter that is named, denoise=0.7,deblur=0.3 "
            "[default: 1 each]",
        ),
        rich_click.option(
            "--base",
            metavar="NAME|FILE",
            help=f"base; without --adapter it restores alone [default: the adapter's, or {DEFAULT_BASE}]",
        ),
        rich_click.option("--accept-unknown-base", is_flag=True, help="use an adapter that does not name its base"),
    ]
    return _with_options(function, options)


def model_options(function: Any) -> Any:
    """Decorate a command with the options that say which network restores, and how."""
    return weights_options(network_options(function))


def network_options(function: Any) -> Any:
    """Decorate a command with the options that say where and how a network restores."""
    options = [
        rich_click.option("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps [default: auto]"),
        rich_click.option(
            "--precision",
            type=click.Choice(PRECISIONS),
            default="float32",
            help="bfloat16 and float16 are mixed precision: faster, half the memory [default: float32]",
        ),
        rich_click.option(
            "--exact",
            is_flag=True,
            help="what --tile none gives, within 2 GiB whatever the image's size: slower than tiles, and without their "
            "errors",
        ),
        rich_click.option(
            "--tile",
            default="auto",
            metavar="N|auto|none",
            help="side of tiles; auto: those that the adapter's card asks for, and of large images those that memory "
            "allows [default: auto]",
        ),
        rich_click.option(
            "--self-ensemble",
            is_flag=True,
            help="average over the eight orientations of the image, or of each tile: a little better, eight times "
            "slower",
        ),
        rich_click.option(
            "--no-graphs", is_flag=True, help="do not capture CUDA graphs of tiles and small images that come often"
        ),
    ]
    return _with_options(function, options)


def _with_options(function: Any, options: Sequence[Any]) -> Any:
    for option in reversed(options):
        function = option(function)
    return function


@dataclass(frozen=True)
class Loaded:
    """A network, ready to restore.

    Attributes:
        model: on its device, with its adapters active.
        title: base and adapters, in a few words.
        adapters: name or folder of each adapter -> how much of it.
        task: that the first adapter was trained for, if it says so.
        task_options: of that task.
        scales: that each adapter was trained for; 1 = the size stays.
    """

    model: RestorationModel
    title: str
    adapters: Mapping[str, float]
    task: str | None
    task_options: Mapping[str, Any]
    scales: tuple[int, ...]


def load_model(
    parameters: Mapping[str, Any], *, task: str | None, task_options: Mapping[str, Any] | None = None
) -> Loaded:
    """Load the network that the options ask for.

    Args:
        parameters: of `model_options`.
        task: chooses the zoo's adapter, where the options name none.
        task_options: of the task, as far as they were given.

    Raises:
        UsageError: the options do not fit together, or nothing says what to restore with.
        AdairError: the weights cannot be used.
    """
    from adair_core.model import load
    from adair_core.training.processes import Processes

    if "=" in (parameters["blend"] or ""):
        names, weights = _named_blend(parameters["blend"], parameters["adapters"], scale=parameters.get("scale"))
    else:
        names = [trained_adapter(name) for name in parameters["adapters"]]
        if not names and parameters["base"] is None:
            names = [adapter_for_task(task, task_options or {})]
        weights = _blend(parameters["blend"], names)
    files = [read_trained(name) for name in names]
    first = files[0] if files else None
    model = load(base_for(parameters["base"], first))
    loaded = [model.load_adapter(name, accept_unknown_base=parameters["accept_unknown_base"]) for name in names]
    model.set_adapters(loaded, weights)
    parts = " + ".join([model.info.name, *loaded])
    return Loaded(
        model=model.to(Processes(parameters["device"]).device),
        title=parts if loaded else f"{parts} without an adapter",
        adapters=dict(zip(names, weights or [1.0] * len(names), strict=True)),
        task=first.card.task if first else None,
        task_options=first.card.task_options if first else {},
        scales=tuple(file.card.task_options.get("scale") or 1 for file in files),
    )


def base_of_adapter(name: str) -> str | None:
    """The base that a trained adapter names; ``None`` if it names none.

    Raises:
        AdairError: as `load_model`.
    """
    return read_trained(trained_adapter(name)).base


def tile_of(text: str) -> Tile:
    """Read ``--tile``.

    Raises:
        UsageError: it is neither a size nor one of the words.
    """
    from adair_core.model.tiling import check_tile

    words: dict[str, Tile] = {"auto": "auto", "none": None}
    try:
        tile = words[text] if text in words else int(text)
    except ValueError:
        raise UsageError(
            expected("--tile", expected="auto, none or a positive number of pixels", got=repr(text))
        ) from None
    check_tile(tile)
    return tile


def adapter_for_task(task: str | None, options: Mapping[str, Any]) -> str:
    """The zoo's adapter for a task, as ``name@version``.

    Raises:
        UsageError: there is none, or no task.
    """
    from adair_core.model.zoo import adapter_for

    if task is None:
        raise UsageError(
            "what should restore? give --task NAME or --adapter NAME|DIR, or --base NAME for a base without an adapter"
        )
    spec = adapter_for(task, options)
    if spec is None:
        own = sorted(Path("runs").glob(f"*/{task}/adapter_config.json"), key=lambda file: file.stat().st_mtime)
        hint = f"use --adapter {own[-1].parent}" if own else f"'adair train --task {task}' makes one"
        raise UsageError(f"the zoo has no adapter for task {task!r}; {hint}, or give --base NAME to use a base alone")
    return spec.versioned_name


def _blend(text: str | None, names: Sequence[str]) -> list[float] | None:
    if text is None:
        return None
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError:
        weights = []
    if len(weights) != len(names):
        numbers = "a number" if len(names) == 1 else f"{len(names)} numbers"
        wanted = f"{numbers}, one for each --adapter, such as {','.join(['0.5'] * max(1, len(names)))}"
        raise UsageError(expected("--blend", expected=wanted, got=repr(text)))
    return weights


def _named_blend(text: str, given: Sequence[str], *, scale: int | None) -> tuple[list[str], list[float] | None]:
    """Read ``denoise=0.7,deblur=0.3``: names of tasks (with this scale, if they have one) or of trained adapters.

    Raises:
        UsageError: it is something else, or ``--adapter`` names adapters too.
        AdairError: as `trained_adapter` and `adapter_for_task`.
    """
    if given:
        raise UsageError("--blend NAME=X names the adapters: leave --adapter out, or give --blend numbers alone")
    parts = [part.rpartition("=") for part in text.split(",")]
    try:
        weights = [float(weight) for _, _, weight in parts]
    except ValueError:
        weights = []
    names = [name.strip() for name, _, _ in parts]
    if not weights or not all(names):
        wanted = "names with numbers, such as denoise=0.7,deblur=0.3"
        raise UsageError(expected("--blend", expected=wanted, got=repr(text)))
    return [_adapter_or_task(name, scale) for name in names], weights


def _adapter_or_task(name: str, scale: int | None) -> str:
    """A trained adapter of that name, or the zoo's for the task of that name."""
    if weights_spec(name) is None and name in {*plugins().tasks, *plugins().degradations}:
        scaled = scale is not None and "scale" in plugins().task(name).config.model_fields
        return adapter_for_task(name, {"scale": scale} if scaled else {})
    return trained_adapter(name)


def read_trained(name: str) -> AdapterFile:
    """Read a trained adapter, of the zoo or a folder.

    Raises:
        AdairError: as `load_model`.
    """
    from adair_core.model.adapter_files import read_adapter
    from adair_core.model.zoo import find_weights

    return read_adapter(find_weights(name, kind="adapter").path)


def base_for(given: str | None, adapter: AdapterFile | None) -> str:
    """The base of ``--base``, or the one that an adapter names, or the default.

    Raises:
        UsageError: the adapter's is not here.
    """
    if given is not None:
        return base_named(given)
    if adapter is None or adapter.base is None:
        return base_named(DEFAULT_BASE)
    try:
        return base_named(adapter.base)
    except (UnknownNameError, UsageError, WeightsError) as error:
        raise UsageError(
            f"adapter {adapter.folder} was trained on base {adapter.base}, which is not here ({error}); use --base"
        ) from error
