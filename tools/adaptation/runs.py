"""One training and its measurements, in processes of their own, done once.

Every run has a folder with everything that came out of it, and ends with ``result.json``: where that exists, or where
its result is published already, nothing is done again. A process of its own tells each training's peak of memory, and
an interrupted one resumes.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from threading import Event
from typing import Any

import click

from adair_core.atomic_file import write_atomically
from adair_core.errors import AdairError, UsageError, expected
from adair_core.evaluation import Report
from adair_core.model.load import load
from adair_core.training.recipe import AdapterRecipe, PretrainRecipe
from adaptation import published
from adaptation.tasks import StudiedTask, TestSet


@dataclass(frozen=True)
class Measurement:
    """A test set, judged as a task."""

    task: StudiedTask
    test: TestSet

    @property
    def name(self) -> str:
        """Of its folder: the task and the set."""
        return f"{self.task.name}-{self.test.name}{'-rgb' if self.test.rgb else ''}"


@dataclass(frozen=True)
class Run:
    """A training, or none, and what is measured with the result.

    Attributes:
        name: of its folder.
        recipe: of the training; ``None`` measures the base as it is.
        base: zoo name or file of the base that is measured; ``None`` = the one that a pre-training makes.
        measurements: what is measured.
        labels: what the tables need to know: the method, the budget, ...
        after: runs whose weights this one uses; they are trained first if they are not there.
        restore: more options of ``adair evaluate``, such as a strength.
        may_diverge: whether a training that diverges is a result, and not a failure: of a learning rate that is tried.
    """

    name: str
    recipe: AdapterRecipe | PretrainRecipe | None
    base: str | None
    measurements: tuple[Measurement, ...]
    labels: dict[str, Any] = field(default_factory=dict)
    after: tuple[Run, ...] = ()
    restore: tuple[str, ...] = ()
    may_diverge: bool = False


class DivergedError(AdairError):
    """A loss or a gradient is not finite."""


@dataclass(frozen=True)
class Place:
    """Where everything is.

    Attributes:
        data: root of the image sets.
        out: folder of the runs' folders.
        threads: that each process computes with.
        published: folder of results that were made elsewhere or before; those of the same plan are not made again.
    """

    data: Path
    out: Path
    threads: int
    published: Path | None = None

    def folder(self, run: Run | str) -> Path:
        """A run's folder."""
        return self.out / (run if isinstance(run, str) else run.name)

    def result(self, run: Run | str) -> dict[str, Any] | None:
        """What a run came to here, if it is done."""
        file = self.folder(run) / "result.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    def outcome(self, run: Run) -> dict[str, Any] | None:
        """What a run came to, here or as published; what another plan came to under this name does not count."""
        found = self.result(run)
        if found is None and self.published is not None:
            found = published.read(self.published, run.name)
        return found if found is not None and completed(found["plan"]) == plan_of(run, self) else None


def at_once(work: Iterable[Callable[[], object]], jobs: int) -> None:
    """Do all of it, `jobs` at a time, begun in the given order; after a failure nothing more is begun."""
    ended = Event()

    def unless_ended(each: Callable[[], object]) -> None:
        if not ended.is_set():
            try:
                each()
            except BaseException:
                ended.set()
                raise

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(unless_ended, each) for each in work]
        try:
            for future in futures:
                future.result()
        except BaseException:  # such as an interrupt, which comes here and to the running processes, not to the threads
            ended.set()
            raise


def perform(run: Run, place: Place) -> dict[str, Any]:
    """Train and measure, or go on where that stopped; nothing, if it is done.

    Raises:
        UsageError: the folder holds a run of another plan.
        AdairError: a process failed.
    """
    with alone(place.folder(run)):
        return _perform(run, place)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until nobody else, in this process or another, makes what is in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _perform(run: Run, place: Place) -> dict[str, Any]:
    folder, plan = place.folder(run), plan_of(run, place)
    _refuse_another(folder, plan)
    done = place.outcome(run)
    if done is not None:
        return done
    for needed in run.after:
        trained(needed, place)
    training, diverged = None, False
    try:
        training = _train(run, place)
    except DivergedError:
        if not run.may_diverge:
            raise
        diverged = True
    measurements = {each.name: _measure(run, each, folder, place) for each in run.measurements}
    result = {
        "run": run.name,
        "labels": run.labels,
        "plan": plan,
        "revision": revision(),
        "base_fingerprint": None if run.base is None else load(run.base).info.fingerprint,
        "training": training,
        **({"diverged": True} if diverged else {}),
        "measurements": measurements,
    }
    write_atomically(folder / "result.json", json.dumps(result, indent=1).encode())
    return result


def revision() -> str | None:
    """The commit of the code that runs, with ``+`` where files differ from it; ``None`` outside of a clone."""
    git = ("git", "-C", str(Path(__file__).parent))
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}{'+' if changed.stdout else ''}"


def weights_of(run: Run, place: Place) -> Path:
    """The base file, or the adapter's folder, that a run writes."""
    if isinstance(run.recipe, PretrainRecipe):
        return place.folder(run) / "base.safetensors"
    assert run.recipe is not None
    return place.folder(run) / "training" / run.recipe.task.name


def plan_of(run: Run, place: Place) -> dict[str, Any]:
    """What is done, in words that are the same wherever the images and the runs are."""
    plan = {
        "recipe": None if run.recipe is None else run.recipe.model_dump(mode="json", exclude={"environment"}),
        "base": run.base,
        "measurements": [each.name for each in run.measurements],
        "restore": list(run.restore),
        **({"after": [plan_of(each, place) for each in run.after]} if run.after else {}),
    }
    return portable(plan, place)


def completed(plan: dict[str, Any]) -> dict[str, Any]:
    """A plan that was written down, with the options that recipes have got since, which it did without."""
    recipe, found = plan["recipe"], dict(plan)
    if recipe is not None:
        kind = AdapterRecipe if recipe["phase"] == "train" else PretrainRecipe
        found["recipe"] = kind.model_validate(recipe).model_dump(mode="json", exclude={"environment"})
    if "after" in plan:
        found["after"] = [completed(each) for each in plan["after"]]
    return found


def portable(document: dict[str, Any], place: Place) -> dict[str, Any]:
    """Name the folders of the images and of the runs IMAGES and RUNS, so that a document is the same everywhere."""
    text = json.dumps(document)
    for folder, name in ((place.data, "IMAGES"), (place.out, "RUNS")):
        text = text.replace(json.dumps(f"{folder}/")[:-1], f'"{name}/')
    found: dict[str, Any] = json.loads(text)
    return found


def _refuse_another(folder: Path, plan: dict[str, Any]) -> None:
    file = folder / "plan.json"
    if file.exists() and completed(json.loads(file.read_text(encoding="utf-8"))) != plan:
        hint = "remove the folder, or choose another --out"
        raise UsageError(expected(str(folder), expected="a run of this plan", got="one of another", hint=hint))


def trained(run: Run, place: Place) -> Path:
    """Train, and what it starts from before it, unless that was done here; a published result has no weights.

    Returns:
        `weights_of` the run.
    """
    for needed in run.after:
        trained(needed, place)
    with alone(place.folder(run)):
        _train(run, place)
    return weights_of(run, place)


def _train(run: Run, place: Place) -> dict[str, Any] | None:
    """Train, if the run does.

    Returns:
        What it took.

    Raises:
        DivergedError: a loss or a gradient was not finite.
        AdairError: it failed otherwise.
    """
    folder, plan, recipe = place.folder(run), plan_of(run, place), run.recipe
    _refuse_another(folder, plan)
    write_atomically(folder / "plan.json", json.dumps(plan, indent=2).encode())
    if recipe is None:
        return None
    training, outcome = folder / "training", folder / "training.json"
    if not outcome.exists():
        file = folder / "recipe.json"
        write_atomically(file, recipe.model_dump_json(indent=2).encode())
        command = "train" if isinstance(recipe, AdapterRecipe) else "pretrain"
        begun = (training / "recipe.json").exists()
        words = [command, "--json", "--out", str(training), *(["--resume"] if begun else ["--recipe", str(file)])]
        try:
            printed, peak = _adair(words, folder / "training.log", place)
        except AdairError as error:
            if any(training.glob("diverged-step-*")):
                raise DivergedError(str(error)) from error
            raise
        found = json.loads(printed)
        if isinstance(recipe, PretrainRecipe):
            shutil.copyfile(found["weights"], weights_of(run, place))
        # A resumed run's peak is that of its last sitting, which lacks nothing but the start.
        summary = {
            "steps": found["step"],
            "seconds": found["seconds"],
            "waiting": found["waiting"],
            "peak_bytes": peak,
            **_median_step(training),
            "validation": _last_validation(training),
            **nearly_done(training),
        }
        write_atomically(outcome, json.dumps(summary).encode())
    summary = json.loads(outcome.read_text(encoding="utf-8"))
    weights = weights_of(run, place)
    files = [weights] if weights.is_file() else sorted(weights.glob("*.safetensors"))
    environment = json.loads((training / "recipe.json").read_text(encoding="utf-8"))["environment"]
    checkpoints = training / "checkpoints"
    if checkpoints.exists():
        shutil.rmtree(checkpoints)  # nothing resumes from them any more
    return {
        **summary,
        "parameters": sum(_parameters(file) for file in files),
        "bytes": sum(file.stat().st_size for file in files),
        "environment": environment,
    }


def _median_step(training: Path) -> dict[str, float]:
    """What a step takes, and waits for images, in seconds: medians of the later half, when most were read once."""
    steps = _logged(training, "step")
    later = steps[len(steps) // 2 :]
    return {
        "step_seconds": median(step["seconds"] - step["waited"] for step in later),
        "step_waiting": median(step["waited"] for step in later),
    }


def _last_validation(training: Path) -> float | None:
    """Mean PSNR, in dB, over the held-out training images; ``None`` if there were none."""
    found = _logged(training, "validation")
    return float(found[-1]["value"]) if found else None


def nearly_done(training: Path, margin: float = 0.1) -> dict[str, float]:
    """From when on no validation is further than `margin`, in dB, below the last: steps, and seconds that they took.

    What else took time, such as the validations themselves, is not in the seconds. Empty without validations
    on the way.
    """
    validations = _logged(training, "validation")
    if len(validations) < 2:
        return {}
    near = validations[-1]
    for each in reversed(validations):
        if each["value"] < validations[-1]["value"] - margin:
            break
        near = each
    seconds = sum(step["seconds"] for step in _logged(training, "step") if step["step"] <= near["step"])
    return {"near_steps": near["step"], "near_seconds": seconds}


def _logged(training: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of a training's log that are of one kind."""
    lines = (training / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if line["kind"] == kind]


def _parameters(file: Path) -> int:
    from safetensors import safe_open

    with safe_open(str(file), "pt") as tensors:
        return sum(_product(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118


def _product(shape: Sequence[int]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


def _measure(run: Run, each: Measurement, folder: Path, place: Place) -> dict[str, Any]:
    out = folder / each.name
    seconds_file = out / "seconds"
    if not seconds_file.exists():
        words = [
            "evaluate",
            *each.task.arguments(each.test),
            *each.test.arguments(place.data),
            *run.restore,
            "--report",
            str(out / "report.json"),
        ]
        words += ["--base", run.base or str(weights_of(run, place))]
        if isinstance(run.recipe, AdapterRecipe):
            words += ["--adapter", str(weights_of(run, place))]
        begun = time.perf_counter()
        _adair(words, folder / f"{each.name}.log", place)
        write_atomically(seconds_file, f"{time.perf_counter() - begun:.1f}".encode())
    report = Report.from_json((out / "report.json").read_text(encoding="utf-8"))
    rows = [
        {"condition": row.condition, "image": row.image, "input": row.input, "restored": row.restored}
        for row in report.rows
    ]
    return {"protocol": report.protocol.name, "seconds": float(seconds_file.read_text()), "rows": rows}


def _adair(words: list[str], log: Path, place: Place) -> tuple[str, int]:
    """Run a command.

    Returns:
        What it printed, and the peak of its memory in bytes.
    """
    command = [str(Path(sys.executable).with_name("adair")), *words, "--threads", str(place.threads)]
    click.echo(f"$ adair {' '.join(words)}")
    printed = log.with_suffix(".out")
    with log.open("ab") as errors, printed.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=errors)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except KeyboardInterrupt:
            process.wait()
            raise
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    if code:
        tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise AdairError(f"adair {words[0]} ended with {code}: {' '.join(tail)}; see {log}")
    text = printed.read_text(encoding="utf-8")
    printed.unlink()
    return text, usage.ru_maxrss * 1024
