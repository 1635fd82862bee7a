"""The tiny calls that sanitizers watch on a GPU: which kernels they launch, seen on a pretended device."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pretended_device import CSRC, DEVICE, Elsewhere, PretendedDevice, kernels_declared

from adair_core.ops.native import library

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from gpu_checks import tiny
from gpu_checks.device import Device

pytestmark = pytest.mark.skipif(not library().loaded, reason="the native library, which declares kernels, is not built")

NAMES = {torch.float32: "float", torch.bfloat16: "__nv_bfloat16", torch.float16: "__half"}
Call = tuple[str, dict[str, Any]]


IMAGES = {
    "bottleneck": ("x", "base", "y"),
    "bottleneck_backward": ("x", "gradient", "to_x"),
    "depthwise": ("y", "x"),
    "depthwise_gradients": ("gradient", "x"),
    "depthwise_gate": ("y", "x", "convolved"),
    "depthwise_gate_backward": ("gradient", "convolved", "x", "to_x"),
    "layer_norm2d": ("x", "y"),
    "layer_norm2d_backward": ("x", "gradient", "to_x"),
}
"""Those that decide whether a kernel reads and writes 16 bytes at a time; the rows of the first are looked at."""


@pytest.fixture(scope="module")
def calls() -> Iterator[list[Call]]:
    with pytest.MonkeyPatch.context() as patch, kernels_declared():
        enabled = torch.is_autocast_enabled
        patch.setattr(torch, "is_autocast_enabled", lambda kind=None: kind != DEVICE.type and enabled(kind))
        with PretendedDevice() as device:
            for problem in tiny.forms(Device("cpu")):
                # As they are: a copy would begin where an allocation does.
                there = replace(problem, tensors=tuple(Elsewhere(value) for value in problem.tensors))
                there.step(there.ours)
        yield [(name, named(name, given)) for name, given in device.calls]


def named(kernel: str, given: tuple[Any, ...]) -> dict[str, Any]:
    schema = getattr(torch.ops.adair_native, kernel).default._schema
    return dict(zip((argument.name for argument in schema.arguments), given, strict=True))


def instance(kernel: str, given: dict[str, Any]) -> str:
    """The first kernel that a call launches, as csrc/resources.tsv names it, by its first parameters."""
    images = [given[name] for name in IMAGES[kernel] if given[name] is not None]
    size = images[0].element_size()
    first = kernel.startswith("layer_norm2d") and not given["channels_last"]
    row = images[0].shape[-2:].numel() if first else images[0].shape[-1]
    whole = row * size % 16 == 0 and all(value.storage_offset() * size % 16 == 0 for value in images)
    dtype, width = NAMES[images[0].dtype], 16 // size if whole else 1
    if kernel.startswith("bottleneck"):
        rank = next(rank for rank in (16, 32, 64) if given["down"].shape[-4] <= rank)
        return f"{kernel}<{dtype}, {rank}, {str(whole).lower()}>"
    if kernel.startswith("layer_norm2d"):
        return f"{kernel}_{'first' if first else 'last'}<{dtype}, {width}>"
    return f"{kernel}<{dtype}, {str(given['channels_last']).lower()}, {width}>"


def listed(kernels: Collection[str]) -> set[str]:
    """The instances of kernels, without those for float16, which take the roads of bfloat16."""
    names = re.findall(r"^(\S+<[^\t]*>)\t", (CSRC / "resources.tsv").read_text(encoding="utf-8"), re.M)
    return {name for name in names if name.partition("<")[0] in kernels and "__half" not in name}


def test_every_instance_is_launched(calls: list[Call]) -> None:
    found = {instance(*call) for call in calls if call[0] in IMAGES}
    kernels = {f"{name}{end}" for name in IMAGES for end in ("", "_last", "_first")}
    wanted = listed(kernels)
    assert {name.partition("<")[0] for name in wanted} >= {
        "bottleneck",
        "depthwise_gate_backward",
        "layer_norm2d_first",
    }
    assert wanted - found == set()
    assert {name for name in found if "__half" not in name} <= wanted


def test_every_entry_is_called_with_all_it_may_have(calls: list[Call]) -> None:
    given_once = {(kernel, name) for kernel, given in calls for name, value in given.items() if value is not None}
    assert {(kernel, name) for kernel, given in calls for name in given} == given_once
    entries = re.findall(r'm\.impl\("(\w+)"', "".join(path.read_text("utf-8") for path in CSRC.glob("*/cuda.cu")))
    assert {kernel for kernel, _ in calls} == set(entries)
    widths = {given["x"].shape[-1] for kernel, given in calls if kernel == "feed_forward_in_tiles"}
    assert min(widths) <= 48 < max(widths) <= 96


def test_launches_are_few_enough_for_three_minutes_of_a_sanitizer(calls: list[Call]) -> None:
    """A call launches ten kernels at most; a launch that is watched takes some milliseconds."""
    assert len(calls) <= 1000
