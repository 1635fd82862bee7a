"""The same job on a Ray cluster: every machine takes files from one list, and gets its own copy of the network.

Ray Data hands the files out, and out again when a machine is lost on the way. Results are renamed into place when they
are complete, so no attempt leaves half a file.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from adair_core.errors import AdairError, UsageError, expected
from adair_core.inference.file_result import FileResult, OnResult
from adair_core.inference.files import restore_files
from adair_core.inference.outputs import Job, check_jobs
from adair_core.inference.pages import Choose
from adair_core.inference.settings import Settings
from adair_core.model.restoration_model import RestorationModel
from adair_core.tuning import tune_process

TOLD = ("status", "message", "seconds", "is_disk_full")
"""What a worker tells of a `FileResult`."""

Load = Callable[[], tuple[RestorationModel, Choose | None]]
"""Loads the network, and what chooses adapters if something does. It travels to the workers, so it must pickle: a
function of a module, a `functools.partial` of one, or a method of what pickles."""


@dataclass(frozen=True)
class Resources:
    """What each worker takes of its machine.

    Attributes:
        cpus: cores, which are its threads too.
        gpus: GPUs, or a share of one.
        workers: how many there are; ``None`` = as many as the cluster has room for.
    """

    cpus: int = 1
    gpus: float = 0.0
    workers: int | None = None


def import_ray() -> Any:
    """Import Ray.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        hint = "pip install 'adair[ray]' installs it"
        raise UsageError(f"--engine ray needs the package ray, which cannot be imported ({error}); {hint}") from error
    return ray


def restore_on_ray(
    load: Load,
    jobs: Sequence[Job],
    settings: Settings | None = None,
    *,
    chooses: bool = False,
    resources: Resources | None = None,
    address: str | None = None,
    on_result: OnResult | None = None,
) -> list[FileResult]:
    """Restore files on a cluster, as `restore_files` does on one machine.

    All machines must see the files under the same paths, and have adair, its plugins and the weights.

    Args:
        load: see `Load`.
        jobs: what `adair_core.inference.plan` says.
        settings: how; `fail_fast` stops handing out files.
        chooses: whether what `load` gives chooses adapters.
        resources: of each worker.
        address: of the cluster, as `ray.init` takes it; ``None`` = that of ``RAY_ADDRESS``, or this machine alone. A
            cluster that the process is connected to already is used, and stays connected.
        on_result: told about each file, in the order in which they are finished.

    Returns:
        A result for each file, in the order of `jobs`; fewer if it stopped at one that failed.

    Raises:
        UsageError: Ray is not installed, no machine has room for a worker, or what `check_jobs` refuses.
        AdairError: a worker cannot load the network, or the cluster was lost.
    """
    ray = import_ray()
    settings, resources = settings or Settings(), resources or Resources()
    check_jobs(jobs, settings, chooses=chooses)
    with _connected(ray, address), _quiet():
        _require_room(ray.cluster_resources(), resources)
        return _restore(ray, load, jobs, settings, resources, on_result)


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (ConnectionError, ValueError) as error:
        raise AdairError(f"the Ray cluster {address or ''} cannot be reached: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave the progress to our own report of it."""
    log = logging.getLogger("ray.data")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _require_room(cluster: Mapping[str, float], resources: Resources) -> None:
    """Refuse what would wait for ever."""
    for name, wanted in (("CPU", resources.cpus), ("GPU", resources.gpus)):
        if cluster.get(name, 0) < wanted:
            raise UsageError(expected(f"{name}s of a worker", expected=f"at most {cluster.get(name, 0):g}", got=wanted))


def _restore(
    ray: Any,
    load: Load,
    jobs: Sequence[Job],
    settings: Settings,
    resources: Resources,
    on_result: OnResult | None,
) -> list[FileResult]:
    items = [
        {
            "index": index,
            # Pickled, as names need not be UTF-8, which columns of text are.
            "job": pickle.dumps(_absolute(job)),
            # What is there now is somebody's; what is there later is from an attempt whose machine was lost.
            "is_taken": job.output.exists(),
        }
        for index, job in enumerate(jobs)
    ]
    work = partial(_restore_one, pickle.dumps(load), settings, resources.cpus)
    finished = (
        # A block for each file: the unit in which work is handed out, and done again.
        ray.data.from_items(items, override_num_blocks=len(items))
        .map(
            work,
            compute=ray.data.TaskPoolStrategy(size=resources.workers),
            num_cpus=resources.cpus,
            num_gpus=resources.gpus or None,
            max_calls=0,  # a process keeps its network for the next file
        )
        .iter_rows()
    )
    results: dict[int, FileResult] = {}
    for row in finished:
        job = jobs[row["index"]]
        told = FileResult(job.source, job.output, **pickle.loads(row["told"]))
        results[row["index"]] = told
        if on_result is not None:
            on_result(told, len(results), len(jobs))
        if told.is_disk_full or (settings.fail_fast and told.status == "failed"):
            break
    return [results[index] for index in sorted(results)]


def _restore_one(load: bytes, settings: Settings, threads: int, item: Mapping[str, Any]) -> dict[str, Any]:
    model, choose = _loaded(load, threads)
    if not item["is_taken"]:
        settings = replace(settings, overwrite=True, skip_existing=False)
    (result,) = restore_files(model, [pickle.loads(item["job"])], settings, choose=choose)
    return {"index": item["index"], "told": pickle.dumps({name: getattr(result, name) for name in TOLD})}


def _absolute(job: Job) -> Job:
    strength_map = None if job.strength_map is None else job.strength_map.absolute()
    return Job(job.source.absolute(), job.output.absolute(), strength_map)


@lru_cache(maxsize=1)
def _loaded(load: bytes, threads: int) -> tuple[RestorationModel, Choose | None]:
    """The network of this process, which files of one job share."""
    tune_process(threads=threads)
    made: tuple[RestorationModel, Choose | None] = pickle.loads(load)()
    return made
