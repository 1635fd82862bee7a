"""The study's figures."""

from __future__ import annotations

from pathlib import Path

from adaptation.results import Outcomes, mean
from adaptation.study_plan import STRENGTHS
from adaptation.study_tables import TITLES
from adaptation.tasks import MAIN, TASKS

COLOURS = {"lora": "#1b6ca8", "bottleneck": "#d1495b", "prompt": "#66a182", "full": "#2e4057", "scratch": "#9b9b9b"}


def draw(outcomes: Outcomes, folder: Path) -> dict[str, Path]:
    """Draw what there are results for.

    Returns:
        Title -> file.
    """
    import matplotlib

    matplotlib.use("Agg")
    drawn = {}
    tasks = [name for name in MAIN if outcomes.compared(name, "full") is not None]
    if tasks:
        drawn["Gain over the frozen base against the number of trained parameters"] = _sizes(
            outcomes, tasks, folder / "sizes.png"
        )
    if outcomes.where(part="strengths"):
        drawn["PSNR against the adapter's strength"] = _strengths(outcomes, folder / "strength.png")
    return drawn


def _sizes(outcomes: Outcomes, tasks: list[str], file: Path) -> Path:
    from matplotlib import pyplot

    size = (max(3.2 * len(tasks), 4.5), 3)
    figure, (axes,) = pyplot.subplots(1, len(tasks), figsize=size, squeeze=False, constrained_layout=True)
    for axis, name in zip(axes, tasks, strict=True):
        frozen = outcomes.compared(name, "frozen base")
        axis.set_title(TASKS[name].title, fontsize=9)
        axis.set_xscale("log")
        axis.set_xlabel("trained parameters")
        if frozen is None:
            continue
        level = mean(frozen.images("psnr")).mean
        points: dict[str, list[tuple[int, float]]] = {}
        for outcome in [*outcomes.where(part="methods", task=name, seed=0), *outcomes.where(part="sizes", task=name)]:
            if outcome.training is not None:
                gain = mean(outcome.images("psnr")).mean - level
                kind = outcome.labels["method"].split("-")[0]
                points.setdefault(kind, []).append((outcome.training["parameters"], gain))
        for kind, own in points.items():
            axis.plot(*zip(*sorted(own), strict=True), "o-", color=COLOURS[kind], label=TITLES[kind])
        axis.axhline(0, color="black", linewidth=0.5)
    axes[0].set_ylabel("gain over the frozen base, dB")
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=6, fontsize=7, frameon=False)
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
    return file


def _strengths(outcomes: Outcomes, file: Path) -> Path:
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(4.5, 3), constrained_layout=True)
    found = [(strength, outcomes.one(part="strengths", strength=strength)) for strength in STRENGTHS]
    there = [(strength, outcome) for strength, outcome in found if outcome is not None]
    for label in there[0][1].conditions():
        values = [mean(outcome.images("psnr", condition=label)).mean for _, outcome in there]
        axis.plot([strength for strength, _ in there], values, "o-", label=label, markersize=3)
    axis.set_xlabel("strength of the adapter")
    axis.set_ylabel("PSNR, dB")
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
    return file
