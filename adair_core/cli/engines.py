"""Where ``adair restore`` computes: in its own process, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click

from adair_core.cli.automatic import AUTO, load_automatic
from adair_core.cli.sequences import Restorations, load_restorations
from adair_core.errors import UsageError, expected

if TYPE_CHECKING:
    from adair_core.inference import FileResult, Job, Settings
    from adair_core.inference.files import Choose
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
    """Refuse options of a cluster without one.

    Raises:
        UsageError: ``--ray-address`` or ``--workers`` without ``--engine ray``; Ray is not installed.
    """
    if parameters["engine"] == RAY:
        from adair_core.inference.ray_engine import import_ray

        import_ray()
        return
    for name in ("ray_address", "workers"):
        if parameters[name] is not None:
            raise UsageError(expected(f"--{name.replace('_', '-')}", expected="--engine ray with it", got="none"))


def load_network(
    parameters: Mapping[str, Any],
    task: str | None,
    tasks: Sequence[str],
    options: Sequence[Mapping[str, Any]],
    settings: Settings,
) -> tuple[Restorations, Choose | None]:
    """Load what restores, and what chooses adapters if ``--task auto`` says so.

    Args:
        parameters: of the command.
        task: as it was given.
        tasks: that it names.
        options: of each of them.
        settings: with the strength of each step.

    Raises:
        AdairError: as `load_restorations` and `load_automatic`.
    """
    if task == AUTO:
        return load_automatic(parameters, settings)
    return load_restorations(parameters, tasks, options, settings.steps), None


def restore_on_cluster(
    parameters: Mapping[str, Any],
    task: str | None,
    tasks: Sequence[str],
    options: Sequence[Mapping[str, Any]],
    settings: Settings,
    jobs: Sequence[Job],
    on_result: Callable[[FileResult, int, int], None],
) -> list[FileResult]:
    """Restore on the Ray cluster that the options name; every worker loads the network as this process did.

    Raises:
        AdairError: as `adair_core.inference.ray_engine.restore_on_ray`.
    """
    from adair_core.inference.ray_engine import Resources, restore_on_ray
    from adair_core.training.processes import Processes

    has_gpu = Processes(parameters["device"]).device.type == "cuda"
    return restore_on_ray(
        partial(_load_on_worker, _absolute(parameters), task, tasks, options, settings),
        jobs,
        settings,
        resources=Resources(
            cpus=parameters["threads"] or 1, gpus=1.0 if has_gpu else 0.0, workers=parameters["workers"]
        ),
        address=parameters["ray_address"],
        on_result=on_result,
    )


def _load_on_worker(
    parameters: Mapping[str, Any],
    task: str | None,
    tasks: Sequence[str],
    options: Sequence[Mapping[str, Any]],
    settings: Settings,
) -> tuple[RestorationModel, Choose | None]:
    restorations, choose = load_network(parameters, task, tasks, options, settings)
    return restorations.model, choose


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
