"""Where ``adair restore`` computes: in its own process, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click

from adair_core.cli.automatic import load_automatic
from adair_core.cli.sequences import AUTO, Restorations, load_restorations
from adair_core.errors import UsageError, expected

if TYPE_CHECKING:
    from adair_core.inference import FileResult, Job, Settings
    from adair_core.inference.file_result import OnResult
    from adair_core.inference.pages import Choose
    from adair_core.model import RestorationModel

RAY = "ray"


def engine_options(function: Any) -> Any:
    """Decorate a command with the options that say where it computes."""
    options = [
        rich_click.option(
            "--engine",
            type=rich_click.Choice(["local", RAY]),
            default="local",
            help="ray: on all machines of a Ray cluster, which see the files under the same paths [default: local]",
        ),
        rich_click.option(
            "--ray-address", metavar="HOST:PORT", help="of the cluster [default: RAY_ADDRESS, or this machine alone]"
        ),
        rich_click.option(
            "--workers",
            type=rich_click.IntRange(min=1),
            metavar="N",
            help="files that the cluster restores at once, with --threads each [default: what it has room for]",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def check_engine(parameters: Mapping[str, Any]) -> None:
    """Refuse options of a cluster without one, and what no cluster has.

    Raises:
        UsageError: ``--ray-address`` or ``--workers`` without ``--engine ray``; a card by its number with it; Ray is
            not installed.
    """
    if parameters["engine"] == RAY:
        if parameters["device"].startswith("cuda:"):
            wanted, hint = "cuda or auto with --engine ray", "Ray gives each worker a card of its own"
            raise UsageError(expected("--device", expected=wanted, got=parameters["device"], hint=hint))
        from adair_core.inference.ray_engine import import_ray

        import_ray()
        return
    for name in ("ray_address", "workers"):
        if parameters[name] is not None:
            raise UsageError(expected(f"--{name.replace('_', '-')}", expected="--engine ray with it", got="none"))


@dataclass(frozen=True)
class Request:
    """What ``adair restore`` was asked for: enough to load the network, here and on a worker.

    Attributes:
        parameters: of the command.
        task: as it was given.
        tasks: that it names.
        options: of each of them.
        settings: with the strength of each step.
    """

    parameters: Mapping[str, Any]
    task: str | None
    tasks: Sequence[str]
    options: Sequence[Mapping[str, Any]]
    settings: Settings

    def load(self) -> tuple[Restorations, Choose | None]:
        """Load what restores, and what chooses adapters if ``--task auto`` says so.

        Raises:
            AdairError: as `load_restorations` and `load_automatic`.
        """
        if self.task == AUTO:
            return load_automatic(self.parameters, self.settings)
        return load_restorations(self.parameters, self.tasks, self.options, self.settings.steps), None

    def load_on_worker(self) -> tuple[RestorationModel, Choose | None]:
        """Load what a worker needs; see `adair_core.inference.ray_engine.Load`."""
        restorations, choose = self.load()
        return restorations.model, choose


def restore_on_cluster(
    request: Request, settings: Settings, jobs: Sequence[Job], on_result: OnResult, *, chooses: bool
) -> list[FileResult]:
    """Restore on the Ray cluster that the options name; every worker loads the network as this process did.

    Args:
        request: what was asked for.
        settings: with all that loading found out.
        jobs: see `adair_core.inference.plan`.
        on_result: told about each file.
        chooses: each image gets its own adapter.

    Raises:
        AdairError: as `adair_core.inference.ray_engine.restore_on_ray`.
    """
    from adair_core.inference.ray_engine import Resources, restore_on_ray
    from adair_core.training.processes import Processes

    parameters = request.parameters
    has_gpu = Processes(parameters["device"]).device.type == "cuda"
    return restore_on_ray(
        replace(request, parameters=_absolute(parameters)).load_on_worker,
        jobs,
        settings,
        chooses=chooses,
        resources=Resources(
            cpus=parameters["threads"] or 1, gpus=1.0 if has_gpu else 0.0, workers=parameters["workers"]
        ),
        address=parameters["ray_address"],
        on_result=on_result,
    )


def _absolute(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Name folders and files as every working directory understands them."""

    def absolute(name: str) -> str:
        is_path = "/" in name or Path(name).exists()
        return str(Path(name).absolute()) if is_path else name

    base = parameters["base"]
    return {
        **parameters,
        "adapters": tuple(map(absolute, parameters["adapters"])),
        "base": None if base is None else absolute(base),
    }
