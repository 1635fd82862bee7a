"""``adair doctor``: what this installation consists of, and what it runs on."""

from __future__ import annotations

import platform
import re
from importlib import metadata

import click
import rich_click
import torch

from adair_core.cli.command import Command
from adair_core.cli.native_build import native_build
from adair_core.cli.output import print_json, print_table
from adair_core.cpu import cpu_name
from adair_core.errors import UsageError
from adair_core.ops.explanation import DTYPES, operators, why_reference
from adair_core.plugins import plugins


@rich_click.command("doctor", cls=Command, examples=["doctor", "doctor --json > report.json"])
@rich_click.option("--json", "as_json", is_flag=True, help="print JSON")
def command(as_json: bool) -> None:
    """Show versions, devices, plugins and kernels.

    For each operator, device and dtype it says which kernel runs, a native one or the reference in PyTorch, and why not
    the native one (for a small image, channels last unless said otherwise); and what to do if the native kernels are
    missing or broken.
    """
    from adair_core.model.cuda_graph import unavailable

    build, no_graphs = native_build(), unavailable()
    versions, devices, states, kernels = _versions(), _devices(), _plugins(), _kernels()
    if as_json:
        report = {"versions": versions, "devices": devices, "no_graphs": no_graphs, "plugins": states}
        print_json({**report, "build": build, "kernels": kernels})
        return
    print_table(("package", "version"), list(versions.items()))
    print_table(("\ndevice", "\ndescription"), list(devices.items()))
    click.echo(f"CUDA graphs: {'none, as ' + no_graphs if no_graphs else 'of tiles and small images that come often'}")
    print_table(("\nplugin", "\nstate"), list(states.items()))
    print_table(("\nnative build", "\nstate"), [(name, text) for name, text in build.items() if name != "advice"])
    columns = list(next(iter(kernels.values())))
    print_table(
        ("\noperator", *(f"\n{column}" for column in columns)),
        [
            (name, *(_NATIVE if reason is None else _REFERENCE for reason in row.values()))
            for name, row in kernels.items()
        ],
    )
    click.echo()
    for reason, names in _reasons(kernels).items():
        click.echo(f"{_REFERENCE}: {reason} ({names})")
    for advice in build["advice"]:
        click.echo(f"to do: {advice}")


_NATIVE, _REFERENCE = "native", "reference"
_CHANNELS_FIRST = "cpu float32, channels first"


def _versions() -> dict[str, str]:
    wanted = [
        re.split(r"[^A-Za-z0-9._-]", line)[0] for line in metadata.requires("adair") or () if "extra ==" not in line
    ]
    versions = {"adair": metadata.version("adair"), "python": platform.python_version()}
    for name in sorted(wanted, key=str.lower):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "missing"
    return versions


def _devices() -> dict[str, str]:
    capability = torch.backends.cpu.get_cpu_capability()
    devices = {"cpu": f"{cpu_name()}, {torch.get_num_threads()} threads, {capability}"}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = f"{properties.total_memory / 2**30:.0f} GiB"
        devices[f"cuda:{index}"] = f"{properties.name}, {memory}, compute {properties.major}.{properties.minor}"
    if torch.backends.mps.is_available():
        devices["mps"] = platform.processor() or "Apple GPU"
    return devices


def _plugins() -> dict[str, str]:
    loaded = plugins()
    states: dict[str, str] = {}
    for registry in loaded.registries.values():
        for name in registry:
            source = registry.provenance(name)
            states[f"{source.package} {source.version}: {source.entry_point}"] = "works"
    for failure in loaded.failures:
        states[f"{failure.source.package} {failure.source.version}: {failure.source.entry_point}"] = (
            f"left out: {failure.reason}"
        )
    return states


def _kernels() -> dict[str, dict[str, str | None]]:
    """For each operator and column: why its reference runs there; ``None`` if a native kernel runs."""
    import adair_core.ops  # noqa: F401 (defines the operators)

    kernels: dict[str, dict[str, str | None]] = {}
    for name in operators():
        kernels[name] = {f"cpu {_short(dtype)}": _why_reference(name, dtype) for dtype in DTYPES}
        kernels[name][_CHANNELS_FIRST] = _why_reference(name, torch.float32, torch.contiguous_format)
        if torch.cuda.is_available():
            for dtype in DTYPES:
                kernels[name][f"cuda {_short(dtype)}"] = _why_reference(name, dtype, device="cuda")
    return kernels


def _why_reference(
    name: str, dtype: torch.dtype, layout: torch.memory_format = torch.channels_last, device: str = "cpu"
) -> str | None:
    try:
        return why_reference(name, dtype, layout, device)
    except UsageError as error:
        return str(error)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _reasons(kernels: dict[str, dict[str, str | None]]) -> dict[str, str]:
    """Each reason, with the operators that it concerns."""
    concerned: dict[str, list[str]] = {}
    for name, row in kernels.items():
        for reason in {reason: None for reason in row.values() if reason is not None}:
            concerned.setdefault(reason, []).append(name)
    return {
        reason: "all operators" if len(names) == len(kernels) else ", ".join(names)
        for reason, names in concerned.items()
    }
