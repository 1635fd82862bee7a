"""Classical methods, measured as the networks are: what a reader should expect a model to beat.

BM3D comes from the package ``bm3d`` (its authors' binaries, for non-commercial use), which is not among adair's
dependencies; without it, it is left out, and said so.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from skimage import exposure, restoration
from torch import Tensor

from adair_core.evaluation import evaluate, evaluation_images
from adair_core.plugins import parse_config, plugins
from adaptation.runs import Place
from adaptation.tasks import StudiedTask, TestSet

Pixels = npt.NDArray[np.float64]
"""``(H, W, 3)`` in [0, 1], or outside where noise leaves it."""

Method = Callable[[Pixels, Mapping[str, Any]], Pixels]
"""Restores an image, knowing the options of its degradation (a noise's sigma), as these methods must."""


def non_local_means(image: Pixels, options: Mapping[str, Any]) -> Pixels:
    """Non-local means with the true sigma (Buades et al., CVPR 2005), parameters as scikit-image recommends."""
    sigma = float(np.max(options["sigma"])) / 255
    result: Pixels = restoration.denoise_nl_means(
        image, h=0.6 * sigma, sigma=sigma, patch_size=5, patch_distance=6, fast_mode=True, channel_axis=-1
    )
    return result


def block_matching(image: Pixels, options: Mapping[str, Any]) -> Pixels:
    """CBM3D with the true sigma (Dabov et al., IEEE TIP 2007)."""
    import bm3d

    result: Pixels = bm3d.bm3d_rgb(image, float(np.max(options["sigma"])) / 255)
    return result


def dark_channel(image: Pixels, options: Mapping[str, Any]) -> Pixels:  # noqa: ARG001
    """Dehazing by the dark channel prior, refined with a guided filter.

    Source: He et al., "Single Image Haze Removal Using Dark Channel Prior", IEEE TPAMI 2011, with its parameters:
    patches of 15, omega 0.95, t0 = 0.1; He et al., "Guided Image Filtering", IEEE TPAMI 2013, radius 60, eps 1e-4.
    """
    from scipy import ndimage

    dark = ndimage.minimum_filter(image.min(-1), 15, mode="nearest")
    brightest = np.argsort(dark.ravel())[-max(dark.size // 1000, 1) :]
    candidates = image.reshape(-1, 3)[brightest]
    airlight = candidates[candidates.sum(1).argmax()]
    transmission = 1 - 0.95 * ndimage.minimum_filter((image / airlight).min(-1), 15, mode="nearest")

    def mean(values: Pixels) -> Pixels:
        smooth: Pixels = ndimage.uniform_filter(values, 121, mode="nearest")
        return smooth

    gray = image.mean(-1)
    slope = (mean(gray * transmission) - mean(gray) * mean(transmission)) / (mean(gray**2) - mean(gray) ** 2 + 1e-4)
    offset = mean(transmission) - slope * mean(gray)
    refined = mean(slope) * gray + mean(offset)
    return (image - airlight) / np.maximum(refined, 0.1)[..., None] + airlight


def equalised(image: Pixels, options: Mapping[str, Any]) -> Pixels:  # noqa: ARG001
    """Contrast-limited adaptive histogram equalisation of the luma, scikit-image's defaults."""
    from skimage import color

    ycc = color.rgb2ycbcr(np.clip(image, 0, 1))
    ycc[..., 0] = exposure.equalize_adapthist((ycc[..., 0] - 16) / 219) * 219 + 16
    result: Pixels = color.ycbcr2rgb(ycc)
    return result


def deconvolved(image: Pixels, options: Mapping[str, Any]) -> Pixels:
    """Wiener deconvolution with the true Gaussian kernel and a Laplacian prior, one fixed balance for all."""
    sigma = float(np.max(options["sigma"]))
    reach = int(4 * sigma + 0.5)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = np.outer(taps, taps) / taps.sum() ** 2
    height, width = image.shape[:2]
    # The filter is periodic, and an image beside its mirror images is, too.
    mirrored = np.pad(image, ((0, height), (0, width), (0, 0)), mode="symmetric")
    channels = [restoration.wiener(mirrored[..., c], kernel, 1e-4, clip=False) for c in range(3)]
    result: Pixels = np.stack(channels, -1)[:height, :width]
    return result


METHODS: dict[str, dict[str, Method]] = {
    "denoise": {"non-local means": non_local_means, "CBM3D": block_matching},
    "dehaze": {"dark channel prior": dark_channel},
    "low-light": {"CLAHE": equalised},
    "gaussian-deblur": {"Wiener, true kernel": deconvolved},
}
"""By task. Bicubic enlargement is the input itself of super-resolution."""


def missing(name: str) -> str | None:
    """Why a method cannot be run here; ``None`` if it can."""
    if name == "CBM3D" and importlib.util.find_spec("bm3d") is None:
        return "CBM3D is left out: pip install bm3d (for non-commercial use)"
    return None


def measure(method: Method, task: StudiedTask, test: TestSet, place: Place) -> dict[str, Any]:
    """Judge a method by the task's protocol, one condition after another, because each may tell it other options."""
    spec = plugins().task(task.task)
    options = {**task.options, **({"pairs": True} if test.pairs else {})}
    protocol = spec.protocol(parse_config(spec.config, options, what=task.task))
    folder = place.data / "test" / test.name
    images = (
        evaluation_images(folder / "target", folder / "input") if test.pairs else evaluation_images(folder / "clean")
    )
    rows, begun = [], time.perf_counter()
    for condition in protocol.conditions:
        known = {} if condition.degradation is None else condition.degradation.options

        def restore(x: Tensor, known: Mapping[str, Any] = known) -> Tensor:
            restored = method(x[0].permute(1, 2, 0).double().numpy(), known)
            return torch.from_numpy(np.ascontiguousarray(restored)).permute(2, 0, 1)[None].to(x)

        report = evaluate(restore, protocol.model_copy(update={"conditions": (condition,)}), images)
        rows += [row.model_dump(include={"condition", "image", "input", "restored"}) for row in report.rows]
    return {"protocol": protocol.name, "seconds": time.perf_counter() - begun, "rows": rows}


def summaries(study: Path) -> list[dict[str, Any]]:
    """What the methods reach: the mean PSNR over the images of each condition.

    Args:
        study: folder of the study's runs.
    """
    found: dict[tuple[str, str, str, str], list[float]] = {}
    for file in sorted((study / "baselines").rglob("result.json")):
        document = json.loads(file.read_text(encoding="utf-8"))
        task, method = document["labels"]["task"], document["labels"]["method"]
        for measurement, value in document["measurements"].items():
            name = measurement.removeprefix(f"{task}-")
            for row in value["rows"]:
                found.setdefault((task, name, row["condition"], method), []).append(row["restored"]["psnr"])
    names = ("task", "set", "condition", "method")
    return [
        {**dict(zip(names, key, strict=True)), "psnr": round(sum(values) / len(values), 4), "images": len(values)}
        for key, values in found.items()
    ]
