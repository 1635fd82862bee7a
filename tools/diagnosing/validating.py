"""How often a network is right on photos of the training sets that were kept back: choices are made by this."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from adair_core.data.seeds import generator
from adair_core.diagnosis import CLEAN, Diagnoser
from adair_plugins.degradations.camera_processing import blurred
from diagnosing.examples import NOTHING_TO_GAIN, Example, Examples, rounded
from diagnosing.findings import CAMERA, WRONG
from diagnosing.measuring import Row, row
from diagnosing.neither import NEITHER

KIND = 60
"""Photos of each kind."""


def validate(diagnoser: Diagnoser, root: Path) -> Iterator[Row]:
    """Diagnose kept photos of every kind."""
    kept = Examples(root, "validation", side=None)

    def made(make: Callable[[torch.Generator], Example], *key: str) -> list[tuple[Tensor, Tensor | None]]:
        examples = [make(generator(0, "validate", *key, index)) for index in range(KIND)]
        return [
            (example.image[None], None)
            for example in examples
            if example.label is None or example.error > NOTHING_TO_GAIN
        ]

    def photos(chosen: list[Tensor]) -> list[tuple[Tensor, Tensor | None]]:
        return [(photo[None].float() / 255, None) for photo in chosen]

    targets = [target for pairs in kept.pairs.values() for _, target in pairs]
    yield row(diagnoser, CLEAN.name, "as they are", photos([*kept.clean, *targets]))
    varied = [kept.unharmed(generator(0, "validate", CLEAN.name, index)) for index in range(2 * KIND)]
    yield row(diagnoser, CLEAN.name, "varied and saved", [(example.image[None], None) for example in varied])
    for which, wrong in enumerate(WRONG):
        name = wrong.finding.name
        yield row(diagnoser, name, "made", made(lambda draws: kept.wrong(which, draws, real=False), name))  # noqa: B023
        if wrong.pairs is not None:
            yield row(diagnoser, name, wrong.pairs, photos([degraded for degraded, _ in kept.pairs[name]]))
    camera = WRONG[CAMERA].finding.name
    yield row(
        diagnoser, camera, "denoised by a camera", made(lambda draws: kept.wrong(CAMERA, draws, real=True), "own")
    )
    yield row(diagnoser, camera, "of dark photos", [(noisy, None) for noisy in noise_of_dark_photos(root)])
    for kind in NEITHER:
        yield row(diagnoser, f"neither: {kind}", "made", made(lambda draws: kept.neither(kind, draws), kind))  # noqa: B023


def noise_of_dark_photos(root: Path) -> Iterator[Tensor]:
    """Make noise that nothing was trained on: that of LOL's dark photos, added to their bright ones at 31 to 37 dB."""
    for part in ("training", "validation"):
        for index, (dark, bright) in enumerate(Examples(root, part, side=None).pairs["low light"]):
            dark, bright = dark.float() / 255, bright.float() / 255
            # How much brighter each area and colour is; what then differs between neighbours is noise.
            gain = blurred(bright, 4) / blurred(dark, 4).clamp(min=1 / 255)
            noise = (dark - blurred(dark, 4)) * gain - (bright - blurred(bright, 4))
            wanted = 10 ** (-(31 + 2 * (index % 4)) / 20)
            yield rounded(bright + noise * wanted / noise.square().mean().sqrt())[None]
