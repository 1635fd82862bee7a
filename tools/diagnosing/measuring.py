"""How often the network is right, on images of test sets that it has not learned from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adair_core.data.images import find_images, read_image, to_tensor
from adair_core.data.seeds import generator
from adair_core.diagnosis import CLEAN, Diagnoser, Diagnosis
from adair_core.plugins import plugins
from adair_core.specs import Choice
from diagnosing.examples import rounded
from diagnosing.findings import WRONG
from diagnosing.neither import of_levels, squares

CLEAN_TESTS = ("CBSD68/clean", "Kodak24/clean", "GoPro_2/target", "LOL_eval15/target", "SOTS_indoor/target")
DEGRADED = "CBSD68/clean"
REAL = {
    "Rain100L/input": "rain",
    "SOTS_indoor/input": "haze",
    "LOL_eval15/input": "low light",
    "CC15/input": "camera noise",
    "RNI15/input": "camera noise",
    "GoPro_2/input": "motion blur",
    "real_rain/input": "rain",
}


def _salt_and_pepper(image: Tensor) -> Tensor:
    draws = torch.rand(image.shape[-2:], generator=generator(0, "salt"))
    return torch.where(draws < 0.02, 0.0, torch.where(draws > 0.98, 1.0, image))


def _degraded(name: str) -> Callable[[Tensor], Tensor]:
    degradation = plugins().degradation(Choice(name=name))
    return lambda image: degradation(image, generator(0, "unseen", name))


def other() -> Mapping[str, Callable[[Tensor], Tensor]]:
    """What has no name in a diagnosis; `NEITHER` has some of these, the others it has never been shown."""
    return {
        "neither: missing pixels": _degraded("mask"),
        "neither: squares of 6 pixels": lambda image: squares(image[0], 6)[None],
        "neither: 8 levels": lambda image: of_levels(image, 8),
        "neither: negative": lambda image: 1 - image,
        "unseen: snow": _degraded("snow"),
        "unseen: salt and pepper": _salt_and_pepper,
        "unseen: ordered dither": lambda image: (image > _bayer(image)).to(image),
        "unseen: every other row": lambda image: image * (torch.arange(image.shape[2]) % 2)[:, None],
    }


def _bayer(image: Tensor) -> Tensor:
    pattern = torch.tensor([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16 + 1 / 32
    height, width = image.shape[2:]
    return pattern.repeat(height // 4 + 1, width // 4 + 1)[:height, :width]


@dataclass(frozen=True)
class Row:
    """What was found in the images of one kind.

    Attributes:
        kind: what is wrong with them.
        images: which they are.
        counts: what was said -> how many of them.
        psnr: mean absolute error of the expected PSNR, dB; ``None`` where the truth is not known.
    """

    kind: str
    images: str
    counts: Mapping[str, int]
    psnr: float | None = None

    @property
    def total(self) -> int:
        """How many images."""
        return sum(self.counts.values())


def said(diagnosis: Diagnosis) -> str:
    """The finding's name, or ``unknown``."""
    return "unknown" if diagnosis.verdict == "unknown" else diagnosis.finding.name


def measure(diagnoser: Diagnoser, root: Path) -> Iterator[Row]:
    """Diagnose every test image of every kind."""

    def photos(folder: str) -> list[Tensor]:
        return [to_tensor(read_image(file)) for file in find_images(root / "test" / folder)]

    for folder in CLEAN_TESTS:
        yield row(diagnoser, CLEAN.name, folder, [(photo, None) for photo in photos(folder)])
    clean = photos(DEGRADED)
    for wrong in WRONG:
        degradation = plugins().degradation(wrong.degradation)
        cases = [
            (rounded(degradation(photo, generator(0, "measure", index))), photo) for index, photo in enumerate(clean)
        ]
        yield row(diagnoser, wrong.finding.name, f"{DEGRADED}, made", cases)
    for folder, kind in REAL.items():
        yield row(diagnoser, kind, folder, [(photo, None) for photo in photos(folder)])
    for kind, degrade in other().items():
        yield row(diagnoser, kind, f"{DEGRADED}, made", [(rounded(degrade(photo)), None) for photo in clean])


def row(diagnoser: Diagnoser, kind: str, images: str, cases: Sequence[tuple[Tensor, Tensor | None]]) -> Row:
    """Diagnose images ``(1, 3, H, W)``, each with its original where that is known."""
    found = [(diagnoser.diagnose(image), image, target) for image, target in cases]
    errors = [
        abs(diagnosis.psnr + 10 * float((image - target).square().mean().log10()))
        for diagnosis, image, target in found
        if target is not None
    ]
    counts = Counter(said(diagnosis) for diagnosis, *_ in found)
    return Row(kind, images, counts, sum(errors) / len(errors) if errors else None)


def markdown(rows: list[Row]) -> str:
    """The table of docs/diagnosis.md."""
    lines = ["| what is wrong | images | right | else | PSNR off by |", "|---|---|---|---|---|"]
    for row in rows:
        right = "unknown" if row.kind.startswith(("unseen", "neither")) else row.kind
        other = ", ".join(f"{name} {count}" for name, count in Counter(row.counts).most_common() if name != right)
        error = "" if row.psnr is None else f"{row.psnr:.1f} dB"
        lines.append(f"| {row.kind} | {row.images} | {row.counts.get(right, 0)} of {row.total} | {other} | {error} |")
    return "\n".join(lines)
