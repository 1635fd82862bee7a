"""The steps in their order. Each is short, stands alone, and fails alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from gpu_checks import networks, operators, setting_up, tiny
from gpu_checks.device import Device


@dataclass(frozen=True)
class Step:
    """Something to check or to measure.

    Attributes:
        name: unique.
        summary: what it does.
        run: does it, and returns what it found as JSON types, ``failures`` among them.
        limit: seconds after which it is ended.
        first: whether it belongs to the first visit: correctness before speed.
        optional: whether it runs only when it is asked for, as it takes long for what it tells.
        kernels: whether it means nothing without the kernels.
        anew: whether it runs in every run: what it leaves is on the machine, and not in its result.
    """

    name: str
    summary: str
    run: Callable[[Device], dict[str, Any]]
    limit: int = 180
    first: bool = False
    optional: bool = False
    kernels: bool = True
    anew: bool = False

    @property
    def file_name(self) -> str:
        """Of what is kept of it, without the ending."""
        return self.name.replace(" ", "-")


STEPS = {
    step.name: step
    for step in (
        Step("environment", "this machine", setting_up.environment, 60, first=True, kernels=False, anew=True),
        Step("build", "kernels for this card alone", setting_up.build, first=True, kernels=False, anew=True),
        Step("tests", "tests marked gpu", setting_up.tests, first=True),
        Step("errors", "every operator against float64", operators.errors, first=True),
        Step("bits", "every kernel twice gives equal bits", tiny.equal_bits, first=True),
        Step("memcheck", "compute-sanitizer memcheck", partial(setting_up.sanitize, tool="memcheck"), first=True),
        Step("racecheck", "compute-sanitizer racecheck", partial(setting_up.sanitize, tool="racecheck"), first=True),
        Step("operators", "time of every operator", operators.times, first=True),
        Step("block", "a block of level 1, in a CUDA graph", networks.block, first=True),
        *(
            Step(f"inference {side}", f"Restormer at {side}", partial(networks.inference, side=side))
            for side in (256, 512, 1024)
        ),
        Step("training tests", "tests of trainings marked gpu", setting_up.training_tests),
        Step("photo", "12 megapixels by tiles", networks.large_photo),
        Step("training", "adapter and full training step", networks.training),
        Step("mixed batch", "four adapters in one batch", networks.mixed_batch),
        *(
            Step(f"compiled {side}", f"torch.compile at {side}", partial(networks.compiled, side=side))
            for side in (256, 512, 1024)
        ),
        Step("compiled training", "torch.compile of a training step", networks.compiled_training),
        Step("compiled mixed batch", "torch.compile, image by image", networks.compiled_mixed_batch),
        *(
            Step(
                f"max-autotune {side}",
                f"torch.compile with max-autotune at {side}",
                partial(networks.compiled, side=side, tuned=True),
                optional=True,
            )
            for side in (256, 512)
        ),
    )
}

TINY = Step("tiny", "every kernel once, for the sanitizers", tiny.once)
