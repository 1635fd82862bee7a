"""The training loop: one for both phases."""

from __future__ import annotations

import math
import shlex
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adair_core.data.seeds import seed_of
from adair_core.errors import Interrupted, RunFolderError, TrainingError
from adair_core.ops.keeping import recomputation
from adair_core.training.callbacks import Callback, Run, RunResult, StepRecord, ValidationRecord
from adair_core.training.checkpoint import Checkpoint, optimizer_tensors, prefixed, restore, restore_optimizer
from adair_core.training.ema import MovingAverage
from adair_core.training.figures import draw_preview
from adair_core.training.loader import Batch, batches
from adair_core.training.losses import LOSSES
from adair_core.training.optimizers import build_optimizer
from adair_core.training.precision import Precision
from adair_core.training.processes import Processes
from adair_core.training.recipe import Recipe
from adair_core.training.run_folder import RunFolder
from adair_core.training.schedule import BatchSchedule, learning_rate
from adair_core.training.stopping import StopRequest
from adair_core.training.validation import Validation


@dataclass(frozen=True)
class Job:
    """What is trained, on what, and what becomes of it.

    Attributes:
        recipe: fully resolved.
        network: ``(B, 3, H, W)`` degraded -> restored.
        parameters: those that train, by name.
        buffers: gives other state of the network that training changes, by name. Asked whenever it is needed: moving a
            network, unlike its parameters, replaces it.
        dataset: ``dataset[n, patch_size]`` is sample n: ``input`` and ``target``, each ``(3, P, P)``, and ``index``, n.
        validation: how the averaged weights are judged.
        identity: hash of the training data.
        export: called at the end with the recipe and the last validation, the averaged weights being in the network;
            writes the result and returns where.
    """

    recipe: Recipe
    network: nn.Module
    parameters: Mapping[str, nn.Parameter]
    buffers: Callable[[], Mapping[str, Tensor]]
    dataset: torch.utils.data.Dataset[dict[str, Any]]
    validation: Validation
    identity: str
    export: Callable[[Recipe, ValidationRecord | None], Path]


@dataclass
class _State:
    """The state of a run that is not tensors."""

    step: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    validated: int | None = None
    last: ValidationRecord | None = None
    best: ValidationRecord | None = None
    scaler: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, values: dict[str, Any]) -> _State:
        records = {
            key: ValidationRecord(**values[key]) if values[key] is not None else None for key in ("last", "best")
        }
        return cls(**{**values, **records})


class Loop:
    """Trains a job to its end, from wherever its checkpoint stands.

    Args:
        job: what to train; its network is moved to the device.
        folder: claimed by the caller.
        processes: that share the run.
        callbacks: that watch; only in the main process.
    """

    def __init__(self, job: Job, folder: RunFolder, processes: Processes, callbacks: Sequence[Callback]) -> None:
        self.job, self.folder, self.processes = job, folder, processes
        self.settings = job.recipe.settings
        self.callbacks = callbacks if processes.is_main else ()
        self.device = processes.device
        self.precision = Precision(self.settings.precision, self.device)
        job.network.to(self.device, self.precision.weights)
        self.forward: Callable[[Tensor], Tensor] = torch.compile(job.network) if self.settings.compile else job.network
        self.loss = LOSSES[self.settings.loss]
        self.trained = list(job.parameters.values())
        self.optimizer = build_optimizer(self.trained, self.settings)
        self.average = MovingAverage(job.parameters, self.settings.ema)
        self.state = _State()
        self.stop = StopRequest()
        self.stopping = False
        if folder.last.exists():
            self._restore(Checkpoint.read(folder.last))
        self.run_view = Run(job.recipe, folder.path, job.network, self.state.step)
        self.schedule = BatchSchedule(
            self.settings, start=self.state.step, process=processes.index, processes=processes.count
        )

    def run(self) -> RunResult:
        """Train.

        Raises:
            TrainingError: the loss or the gradient is not finite; the batch is saved.
            Interrupted: the user stopped the run; a checkpoint is written.
            RunFolderError: a file cannot be written.
        """
        # The global generator is seeded in every step (for networks with dropout); the caller's state is kept.
        devices = [self.device] if self.device.type == "cuda" else []
        try:
            with self.stop, torch.random.fork_rng(devices=devices), _same_convolutions():
                self._tell("on_start", self.run_view)
                self._train()
                result = self._finish()
                self._tell("on_end", self.run_view, result)
        except BaseException:
            for callback, error in self._close_callbacks():  # which does not hide why the run ended
                text = f"{type(callback).__name__}.on_close: {type(error).__name__}: {error}"
                warnings.warn(text, RuntimeWarning, stacklevel=2)
            raise
        for _, error in self._close_callbacks():
            raise error
        return result

    def _close_callbacks(self) -> list[tuple[Callback, Exception]]:
        """Close all of them, whatever one raises; return what they raised."""
        raised = []
        for callback in self.callbacks:
            try:
                callback.on_close()
            except Exception as error:
                raised.append((callback, error))
        return raised

    def _train(self) -> None:
        with batches(self.job.dataset, self.schedule, self.settings.workers, self.device, self.processes) as source:
            while True:
                # What an interruption leaves out is made up for at the resume, before the next step.
                stop = self.stop.requested if self.processes.count == 1 else self.stopping
                interrupted = stop and self.state.step < self.settings.steps
                if not interrupted:
                    self._validate_if_due()
                if interrupted or self._checkpoint_is_due():
                    self._checkpoint()
                if interrupted:
                    raise Interrupted(
                        f"stopped after step {self.state.step} of {self.settings.steps}, the checkpoint is written; go "
                        f"on with: adair {self.job.recipe.phase} --resume --out {shlex.quote(str(self.folder.path))}"
                    )
                if self.state.step == self.settings.steps:
                    return
                self._step(source)

    def _step(self, source: Iterator[Batch]) -> None:
        began = time.perf_counter()
        step, settings = self.state.step, self.settings
        rate = learning_rate(step, settings)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        torch.manual_seed(seed_of("step", settings.seed, step, self.processes.index))
        self.job.network.train()
        whole = settings.stage_at(step).batch_size
        parts, shares, waited = [], [], 0.0
        for _ in range(settings.accumulate):
            asked = time.perf_counter()
            part = next(source)
            waited += time.perf_counter() - asked
            parts.append(part)
            given, target = (self._on_device(part[name]) for name in ("input", "target"))
            with self.precision.autocast(), recomputation(settings.recompute):
                restored = self.forward(given)
            # The mean over the processes of these shares is the mean over the whole batch.
            share = self.loss(restored, target) * (len(given) * self.processes.count / whole)
            self.precision.scaler.scale(share).backward()  # type: ignore[no-untyped-call]
            shares.append(share.detach())
        loss = torch.stack(shares).sum()
        mean_loss, stop = self.processes.mean(torch.stack([loss, loss.new_tensor(self.stop.requested)])).tolist()
        norm = self._apply_gradients(parts, mean_loss, rate)
        self.state.step = step + 1
        self.average.update(step + 1)
        # One process may have had the signal earlier than the others: what all of them saw in this step counts.
        self.stopping = stop > 0
        seconds = time.perf_counter() - began
        self.state.seconds += seconds
        self.state.waited += waited
        self._tell("on_step", self.run_view, StepRecord(step + 1, mean_loss, rate, norm, seconds, waited))

    def _apply_gradients(self, parts: Sequence[Batch], loss: float, rate: float) -> float:
        """Average, check and clip the gradients, and take the optimiser's step; return their norm."""
        scaler = self.precision.scaler
        self.processes.average_gradients(self.trained)
        scaler.unscale_(self.optimizer)
        norm = float(nn.utils.clip_grad_norm_(self.trained, self.settings.clip or torch.inf))
        if not math.isfinite(loss):
            raise self._diverged("loss", loss, rate, parts)
        # A scaled loss may overflow in the gradients: the scaler then leaves the step out and scales less. Below 1 the
        # scale is not what makes them overflow, and every step would be left out.
        if not math.isfinite(norm) and not (scaler.is_enabled() and scaler.get_scale() >= 1):
            raise self._diverged("gradient norm", norm, rate, parts)
        scaler.step(self.optimizer)
        scaler.update()
        return norm

    def _diverged(self, what: str, value: float, rate: float, parts: Sequence[Batch]) -> TrainingError:
        step = self.state.step + 1
        path = self.folder.path / f"diverged-step-{step}-process-{self.processes.index}.safetensors"
        content = {name: torch.cat([part[name] for part in parts]) for name in ("input", "target", "index")}
        found = f"step {step}: expected a finite {what}, got {value} at learning rate {rate:.3g}"
        advice = "train with a lower learning rate, more warm-up or float32; the last checkpoint is from before"
        try:
            Checkpoint(content, {"step": step, "learning_rate": rate}).write(path)
        except RunFolderError as error:  # such as a full disk: what went wrong first is still what to tell
            return TrainingError(f"{found}; its batch could not be kept ({error}); {advice}")
        return TrainingError(f"{found}; its batch is in {path}; look at that batch, or {advice}")

    def _validate_if_due(self) -> None:
        step, every = self.state.step, self.settings.validate_every
        due = step == self.settings.steps or (every and step and step % every == 0)
        if due and self.state.validated != step:
            if self.processes.is_main:
                try:
                    self._validate()
                except Exception:
                    self._checkpoint()  # it may need more memory, or other files, than the steps, which are not lost
                    raise
            self.state.validated = step
            self.processes.wait()

    def _validate(self) -> None:
        network = self.job.network.eval()

        def restored(degraded: Tensor) -> Tensor:
            with self.precision.autocast():
                output: Tensor = network(degraded)
            return output

        with self.average.applied():
            scores = self.job.validation.run(restored, device=self.device, dtype=self.precision.weights)
            best = self.state.best is None or self.job.validation.better(scores.value, self.state.best.value)
            record = ValidationRecord(
                self.state.step, scores.metric, scores.value, scores.conditions, scores.inputs, best
            )
            if best:
                Checkpoint(self._weights(), {"validation": asdict(record)}).write(self.folder.best)
        degraded, output, clean = scores.example
        draw_preview(self.folder, degraded=degraded, restored=output, clean=clean, notes=scores.notes)
        self._tell("on_validation", self.run_view, record)
        # Last: a validation that failed is made up for at the resume, as if it had not begun.
        self.state.last = record
        if best:
            self.state.best = record

    def _finish(self) -> RunResult:
        state, weights = self.state, self.folder.path
        validation = state.best if self.settings.keep == "best" else state.last
        if self.processes.is_main:
            with self.average.applied() if validation == state.last else self._best_applied():
                weights = self.job.export(self.job.recipe, validation)
        self.processes.wait()
        waiting = state.waited / state.seconds if state.seconds else 0.0
        return RunResult(self.folder.path, state.step, weights, validation, state.best, state.seconds, waiting)

    @contextmanager
    def _best_applied(self) -> Iterator[None]:
        """Put the weights that validated best into the network; afterwards its own are back."""
        own = Checkpoint({name: tensor.detach().clone() for name, tensor in self._weights().items()}, {})
        self._take(Checkpoint.read(self.folder.best), source=self.folder.best)
        try:
            yield
        finally:
            self._take(own, source=self.folder.best)

    def _on_device(self, images: Tensor) -> Tensor:
        return images.to(self.device, self.precision.weights, non_blocking=True)

    def _weights(self) -> dict[str, Tensor]:
        return {**prefixed("weights", self.job.parameters), **prefixed("buffers", self.job.buffers())}

    def _checkpoint_is_due(self) -> bool:
        step = self.state.step
        return step > self.run_view.start and (
            step % self.settings.checkpoint_every == 0 or step == self.settings.steps
        )

    def _checkpoint(self) -> None:
        if not self.processes.is_main:
            return
        self._tell("on_checkpoint", self.run_view, self.state.step)
        self.state.scaler = self.precision.scaler.state_dict()
        tensors = {
            **self._weights(),
            **prefixed("average", self.average.averages if self.settings.ema else {}),
            **prefixed("optimizer", optimizer_tensors(self.optimizer, self.job.parameters)),
        }
        Checkpoint(tensors, asdict(self.state)).write(self.folder.last)

    def _restore(self, checkpoint: Checkpoint) -> None:
        source = self.folder.last
        if "last" not in checkpoint.state:
            raise RunFolderError(
                f"checkpoint {source}: expected the state of a run, got weights alone, as best.safetensors has them; "
                f"put the run's own back, or delete it to start the run again with --resume"
            )
        self._take(checkpoint, source=source)
        if self.settings.ema:
            restore(self.average.averages, checkpoint.part("average"), source=source)
        restore_optimizer(self.optimizer, self.job.parameters, checkpoint.part("optimizer"))
        self.state = _State.of(checkpoint.state)
        if self.state.scaler:
            self.precision.scaler.load_state_dict(self.state.scaler)

    def _take(self, checkpoint: Checkpoint, *, source: Path) -> None:
        """Put the weights and the other state of a checkpoint into the network."""
        restore(self.job.parameters, checkpoint.part("weights"), source=source)
        restore(self.job.buffers(), checkpoint.part("buffers"), source=source)

    def _tell(self, event: str, *arguments: object) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(*arguments)


@contextmanager
def _same_convolutions() -> Iterator[None]:
    """Let cuDNN choose only what gives the same bits every time; without a GPU this changes nothing."""
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before
