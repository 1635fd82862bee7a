"""``adair doctor``: what this installation consists of, and what it runs on."""

from __future__ import annotations

import platform
import re
from importlib import metadata

import click
import rich_click
import torch

from adair_core.cli.command import Command
from adair_core.cli.output import print_json, print_table
from adair_core.plugins import plugins


@rich_click.command("doctor", cls=Command, examples=["doctor", "doctor --json > report.json"])
@rich_click.option("--json", "as_json", is_flag=True, help="print JSON")
def command(as_json: bool) -> None:
    """Show versions, devices, plugins and kernels.

    For each operator and device it says which kernel runs: a native one, or the reference in PyTorch.
    """
    versions, devices, states, kernels = _versions(), _devices(), _plugins(), _kernels()
    if as_json:
        print_json({"versions": versions, "devices": devices, "plugins": states, "kernels": kernels})
        return
    print_table(("package", "version"), list(versions.items()))
    print_table(("\ndevice", "\ndescription"), list(devices.items()))
    print_table(("\nplugin", "\nstate"), list(states.items()))
    served = list(kernels.values())
    print_table(
        ("\noperator", *(f"\n{device}" for device in served[0])),
        [(operator, *by_device.values()) for operator, by_device in kernels.items()],
    )
    if all(kernel == _REFERENCE for by_device in served for kernel in by_device.values()):
        click.echo("\nEvery operator runs as its PyTorch reference: this version has no native kernels.")


_REFERENCE = "reference"


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
    devices = {"cpu": f"{_cpu()}, {torch.get_num_threads()} threads, {capability}"}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = f"{properties.total_memory / 2**30:.0f} GiB"
        devices[f"cuda:{index}"] = f"{properties.name}, {memory}, compute {properties.major}.{properties.minor}"
    if torch.backends.mps.is_available():
        devices["mps"] = platform.processor() or "Apple GPU"
    return devices


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 (not a file: procfs)
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


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


def _kernels() -> dict[str, dict[str, str]]:
    import adair_core.ops  # noqa: F401 (defines the operators)

    names = sorted(name for name in torch._C._dispatch_get_all_op_names() if name.startswith("adair::"))
    keys = {"cpu": "CPU"} | ({"cuda": "CUDA"} if torch.cuda.is_available() else {})
    return {
        name.removeprefix("adair::"): {
            device: "native" if torch._C._dispatch_has_kernel_for_dispatch_key(name, key) else _REFERENCE
            for device, key in keys.items()
        }
        for name in names
    }
