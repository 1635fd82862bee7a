"""Pictures of a run: its curves, and what the network does to a validation image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from adair_core.training.callbacks import Callback, Run, ValidationRecord
from adair_core.training.metrics_log import read_metrics
from adair_core.training.run_folder import RunFolder, writing

PREVIEW_SIDE = 320
_SMOOTHING = 0.98


class Curves(Callback):
    """Draws loss, learning rate and validation over the steps to ``curves.png``, from ``metrics.jsonl``.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    @override
    def on_validation(self, run: Run, record: ValidationRecord) -> None:
        """Draw what there is so far; the last validation comes after the last step."""
        draw_curves(self._folder)


def draw_curves(folder: RunFolder) -> None:
    """Draw ``curves.png`` from ``metrics.jsonl``.

    Raises:
        RunFolderError: it cannot be written.
    """
    from matplotlib.figure import Figure  # slow to import

    lines = list(read_metrics(folder.metrics))
    steps = [line for line in lines if line["kind"] == "step"]
    validations = [line for line in lines if line["kind"] == "validation"]
    figure = Figure(figsize=(13, 3.6))
    loss, rate, validation = figure.subplots(1, 3)
    # Fixed margins: a layout engine takes seconds on a slow core, at every validation.
    figure.subplots_adjust(left=0.06, right=0.88, top=0.9, bottom=0.15, wspace=0.25)
    numbers = [line["step"] for line in steps]
    losses = [float(line["loss"]) for line in steps]
    loss.plot(numbers, losses, color="0.8", linewidth=0.8)
    loss.plot(numbers, _smoothed(losses), color="C0")
    loss.set(title="training loss", xlabel="step", yscale="log" if any(value > 0 for value in losses) else "linear")
    rate.plot(numbers, [line["learning_rate"] for line in steps], color="C1")
    rate.set(title="learning rate", xlabel="step")
    metric = validations[-1]["metric"] if validations else "validation"
    for label in validations[-1]["conditions"] if validations else ():
        values = [float(line["conditions"].get(label, "nan")) for line in validations]
        validation.plot([line["step"] for line in validations], values, marker=".", label=label)
    validation.set(title=f"validation {metric}", xlabel="step")
    if validations:
        validation.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False)  # beside it: it hides no curve
    _save(figure, folder.curves)


@dataclass(frozen=True)
class Panel:
    """An image of a comparison.

    Attributes:
        label: what it is.
        image: ``(1, 3, H, W)``, float RGB.
        note: printed beside the label, such as its PSNR.
    """

    label: str
    image: Tensor
    note: str = ""


def draw_panels(path: Path, panels: Sequence[Panel]) -> None:
    """Draw images side by side, with their labels: the middle of each.

    Args:
        path: of the PNG file.
        panels: the images.

    Raises:
        RunFolderError: it cannot be written.
    """
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(len(panels) * 3.6, 4.0))
    figure.subplots_adjust(left=0.01, right=0.99, top=0.92, bottom=0.01, wspace=0.02)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        axes.imshow(_middle(panel.image), interpolation="nearest")
        axes.set_title(f"{panel.label}  {panel.note}".strip())
        axes.set_axis_off()
    _save(figure, path)


def draw_preview(
    folder: RunFolder, *, degraded: Tensor, restored: Tensor, clean: Tensor, notes: tuple[str, str]
) -> None:
    """Draw ``preview.png`` of a run: input, restored and clean validation image.

    Args:
        folder: of the run.
        degraded: ``(1, 3, H, W)``, float RGB.
        restored: same shape.
        clean: same shape.
        notes: what to print beside input and restored image, such as their PSNR.

    Raises:
        RunFolderError: it cannot be written.
    """
    panels = (Panel("input", degraded, notes[0]), Panel("restored", restored, notes[1]), Panel("clean", clean))
    draw_panels(folder.preview, panels)


def _middle(image: Tensor) -> Any:
    height, width = image.shape[-2:]
    rows, columns = min(height, PREVIEW_SIDE), min(width, PREVIEW_SIDE)
    top, left = (height - rows) // 2, (width - columns) // 2
    part = image[0, :, top : top + rows, left : left + columns].detach().to("cpu", torch.float32)
    return part.clamp(0, 1).permute(1, 2, 0).numpy()


def _smoothed(values: list[float]) -> list[float]:
    smooth, weight, result = 0.0, 0.0, []
    for value in values:
        smooth = _SMOOTHING * smooth + (1 - _SMOOTHING) * value
        weight = _SMOOTHING * weight + (1 - _SMOOTHING)
        result.append(smooth / weight)
    return result


def _save(figure: Any, path: Any) -> None:
    with writing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
