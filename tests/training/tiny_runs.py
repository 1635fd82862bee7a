"""Runs that take a second, for the training tests; as a program, a run that kills itself."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adair_core.data.images import ImageFile, write_image
from adair_core.data.seeds import generator
from adair_core.errors import DataError
from adair_core.specs import Choice, Condition, Protocol
from adair_core.training import AdapterRecipe, Callback, Data, PretrainRecipe, RunResult, Settings
from adair_core.training import checkpoint as checkpoint_module
from adair_core.training.loop import Job, Loop
from adair_core.training.processes import Processes
from adair_core.training.run_folder import RunFolder
from adair_core.training.validation import Validation

SMALLEST_RESTORMER = {"dim": 4, "blocks": [1, 1, 1, 1], "refinement": 0, "heads": [1, 1, 1, 1], "norm": "bias-free"}
NOISE = Choice(name="gaussian-noise", options={"sigma": [25, 25]})


class ToyNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.last = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.last(torch.relu(self.first(x)))


class ToyPairs(torch.utils.data.Dataset):
    """Random patches, pure functions of their index."""

    def __init__(self, broken: int | None = None, damaged: int | None = None) -> None:
        self.broken, self.damaged = broken, damaged

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        index, size = key
        if index == self.damaged:
            raise DataError("photo.png: damaged")
        draws = generator("toy", index)
        target = torch.rand(3, size, size, generator=draws)
        degraded = target + 0.1 * torch.randn(3, size, size, generator=draws)
        return {"input": degraded * torch.nan if index == self.broken else degraded, "target": target, "index": index}


def toy_network() -> ToyNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return ToyNetwork()


def toy_job(*, broken: int | None = None, network: nn.Module | None = None, **settings: Any) -> Job:
    network = network or toy_network()
    chosen = Settings(**{"steps": 6, "patch_size": 8, "batch_size": 4, "warmup": 2, "workers": 0, **settings})
    recipe = PretrainRecipe(backbone=Choice(name="toy"), degradation=NOISE, settings=chosen)
    protocol = Protocol(name="toy", conditions=(Condition(label="sigma 25", degradation=NOISE),), metrics=("psnr",))
    images = [("ramp", torch.linspace(0, 1, 3 * 16 * 16).view(3, 16, 16))]
    return Job(
        recipe=recipe,
        network=network,
        parameters=dict(network.named_parameters()),
        buffers=lambda: dict(network.named_buffers()),
        dataset=ToyPairs(broken),
        validation=Validation(protocol, images),
        identity="toy",
        export=lambda *_: Path("nowhere"),
    )


def run_toy(
    out: Path, *, callbacks: Sequence[Callback] = (), resume: bool = False, **options: Any
) -> tuple[dict[str, Tensor], RunResult]:
    """Train a toy in a folder; the trained weights (not averaged) and the result."""
    job = toy_job(**options)
    folder = RunFolder(out)
    with folder.claim(resume=resume):
        result = Loop(job, folder, Processes(job.recipe.settings.device), callbacks).run()
    return {name: parameter.detach().clone() for name, parameter in job.parameters.items()}, result


def write_photos(folder: Path, *, count: int = 6, size: int = 40) -> Path:
    """Write smooth random pictures."""
    folder.mkdir(parents=True)
    for number in range(count):
        coarse = torch.rand(1, 3, 5, 5, generator=generator("photo", number))
        picture = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
        pixels = (picture[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        write_image(folder / f"{number}.png", ImageFile(pixels=pixels))
    return folder


def tiny_settings(**settings: Any) -> Settings:
    usual = {"steps": 12, "batch_size": 2, "patch_size": 16, "warmup": 2, "workers": 0, "device": "cpu"}
    return Settings(**{**usual, "validate_every": 6, "checkpoint_every": 4, "learning_rate": 2e-3, **settings})


def pretrain_recipe(photos: Path, **settings: Any) -> PretrainRecipe:
    return PretrainRecipe(
        backbone=Choice(name="restormer", options=SMALLEST_RESTORMER),
        degradation=NOISE,
        data=Data(images=(photos,)),
        settings=tiny_settings(**settings),
    )


def adapter_recipe(base: Path, photos: Path, **settings: Any) -> AdapterRecipe:
    return AdapterRecipe(
        base=str(base),
        adapter=Choice(name="lora", options={"rank": 2}),
        task=Choice(name="denoise", options={"sigma": [25, 25]}),
        data=Data(images=(photos,)),
        settings=tiny_settings(**settings),
    )


class Interrupt(Callback):
    """Sends the process a signal after a step, as Ctrl-C would."""

    def __init__(self, step: int, number: signal.Signals = signal.SIGINT) -> None:
        self.step, self.number = step, number

    def on_step(self, run: object, record: Any) -> None:
        if record.step == self.step:
            os.kill(os.getpid(), self.number)


class KillAt(Callback):
    """Kills the process after a step, as ``kill -9`` would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, run: object, record: Any) -> None:
        if record.step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def kill_in_checkpoint(number: int) -> None:
    """Let the process die when checkpoint `number` is half written."""
    write, count = checkpoint_module.save_file, 0

    def half(tensors: Any, path: Path, metadata: Any) -> None:
        nonlocal count
        write(tensors, path, metadata)
        count += "last" in Path(path).name
        if count == number and "last" in Path(path).name:
            os.truncate(path, Path(path).stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint_module.save_file = half


def main() -> None:
    """Run ``recipe.json out --kill-at STEP`` or ``--kill-in-checkpoint NUMBER``."""
    from adair_core.training import pretrain, train

    file, out, how, number = sys.argv[1:]
    values = json.loads(Path(file).read_text())
    callbacks = [KillAt(int(number))] if how == "--kill-at" else []
    if how == "--kill-in-checkpoint":
        kill_in_checkpoint(int(number))
    resume = Path(out).exists()
    if values["phase"] == "pretrain":
        pretrain(PretrainRecipe.model_validate(values), out, resume=resume, callbacks=callbacks)
    else:
        train(AdapterRecipe.model_validate(values), out, resume=resume, callbacks=callbacks)


if __name__ == "__main__":
    main()
