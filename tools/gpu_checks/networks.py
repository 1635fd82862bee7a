"""Blocks, whole networks, training steps and mixed batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from adair_core.bench import plain
from adair_core.bench.cases.networks import SMOKE, adapted, our_network, plain_network
from adair_core.bench.cases.training import training_step
from adair_core.model.restoring import restore_image
from gpu_checks.device import Device

RANK = 8


def _networks(device: Device) -> tuple[nn.Module, nn.Module, dict[str, Any]]:
    """Restormer of the paper, ours and the plain form, with the same weights."""
    options = dict(SMOKE) if device.rehearsal else {}
    ours = our_network("paper", **options)
    return ours.to(device.name), plain_network(ours).to(device.name), options


def _mixed(device: Device, network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(device.name, torch.bfloat16):
            return network(x)

    return run


def block(device: Device) -> dict[str, Any]:
    """One block of the first level in bfloat16: eager, and ours inside a CUDA graph; the target is 70 us."""
    ours, rival, _ = _networks(device)
    own, other = ours.get_submodule("encoder_level1.0"), rival.get_submodule("encoder_level1.0")
    channels = rival.get_submodule("patch_embed.proj").out_channels
    x = torch.randn(1, int(channels), device.side(256), device.side(256), device=device.name, dtype=torch.bfloat16)
    x = x.contiguous(memory_format=torch.channels_last)
    own, other = own.to(torch.bfloat16), other.to(torch.bfloat16)
    with torch.no_grad():
        found = device.seconds(
            {
                "ours": lambda: own(x),
                "ours, in a graph": device.captured(own, x),
                "eager": lambda: other(x),
                "eager, in a graph": device.captured(other, x),
            }
        )
    return {"us": {name: 1e6 * value for name, value in found.items()}, "failures": []}


def inference(device: Device, side: int) -> dict[str, Any]:
    """The whole network at one size, mixed precision, against eager PyTorch and in CUDA graphs."""
    ours, rival, _ = _networks(device)
    x = torch.rand(1, 3, device.side(side), device.side(side), device=device.name)
    model = adapted(ours)
    own, again, other = (_mixed(device, network) for network in (model, model.replay, rival))
    found = device.seconds(
        {
            "ours": partial(own, x),
            "ours, in a graph": device.captured(own, x),
            "ours, by model.replay": partial(again, x),
            "eager": partial(other, x),
            "eager, in a graph": device.captured(other, x),
        },
        rounds=10,
    )
    wrong = [] if torch.equal(again(x), own(x)) else ["a replay differs from the model"]
    if not device.rehearsal and not any(told.startswith("replayed") for told in model.replays.values()):
        wrong.append(f"nothing was replayed: {model.replays}")
    peaks = {"ours": device.peak(partial(own, x)), "eager": device.peak(partial(other, x))}
    return {"ms": {name: 1e3 * value for name, value in found.items()}, "peak bytes": peaks, "failures": wrong}


def compiled(device: Device, side: int) -> dict[str, Any]:
    """torch.compile of the plain form at one size; its compilation may take most of the step's time."""
    ours, rival, _ = _networks(device)
    x = torch.rand(1, 3, device.side(side), device.side(side), device=device.name)
    last = rival.to(memory_format=torch.channels_last)
    begun = time.perf_counter()
    how = {"backend": "eager"} if device.rehearsal else {"mode": "max-autotune-no-cudagraphs"}
    network = torch.compile(last, **how)  # type: ignore[call-overload]
    run = partial(_mixed(device, network), x.contiguous(memory_format=torch.channels_last))
    run()
    device.wait()
    took = time.perf_counter() - begun
    found = device.seconds({"ours": partial(_mixed(device, ours), x), "compiled": run}, rounds=10)
    return {"ms": {name: 1e3 * value for name, value in found.items()}, "compiled in s": took, "failures": []}


def large_photo(device: Device) -> dict[str, Any]:
    """A photo of 12 megapixels by tiles that stream from the host: seconds, and the device's peak of memory."""
    model = adapted(_networks(device)[0])
    height, width = device.side(3000, 90), device.side(4000, 110)
    photo = torch.rand(1, 3, height, width)
    place = torch.device(device.name)

    def restore(replay: Callable[[Tensor], Tensor] | None) -> None:
        with torch.no_grad():
            restore_image(
                model,
                photo,
                strength=1.0,
                tile=device.side(512, 64),
                overlap=32,
                device=place,
                dtype=torch.float32,
                precision="bfloat16",
                replay=replay,
            )

    seconds, peaks = {}, {}
    for name, replay in (("kernel by kernel", None), ("in graphs", model.replay)):
        restore(replay)
        begun = time.perf_counter()
        peaks[name] = device.peak(partial(restore, replay))
        seconds[name] = time.perf_counter() - begun
    return {"s": seconds, "pixels": height * width, "peak bytes": peaks, "failures": []}


def training(device: Device) -> dict[str, Any]:
    """An adapter's step on the frozen base against full fine-tuning, ours and eager: ms and peak of memory."""
    batch, patch = (1, 32) if device.rehearsal else (8, 128)
    pair = [torch.rand(batch, 3, patch, patch, device=device.name) for _ in range(2)]

    def step(network: nn.Module, trained: list[nn.Parameter]) -> Callable[[], object]:
        return training_step(network.train(), trained, trained[:1], pair, "autocast")

    results: dict[str, Callable[[], object]] = {}
    ours, rival, options = _networks(device)
    results["full, ours"] = step(ours, list(ours.parameters()))
    results["full, eager"] = step(rival, list(rival.parameters()))
    frozen = our_network("paper", **options)
    model = adapted(frozen, [("lora", "lora", {"rank": RANK})]).to(device.name)
    results["adapter, ours"] = step(model, list(model.adapter_parameters("lora").values()))
    other = plain_network(frozen)
    paths = [path for path, module in other.named_modules() if _is_pointwise(module)]
    plain.add_lora(other, paths, RANK)
    other.to(device.name)
    trained = [value for value in other.parameters() if value.requires_grad]
    results["adapter, eager"] = step(other, trained)
    peaks = {name: device.peak(step) for name, step in results.items()}
    found = device.seconds(results, rounds=10)
    return {"ms": {name: 1e3 * value for name, value in found.items()}, "peak bytes": peaks, "failures": []}


def _is_pointwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)


def mixed_batch(device: Device) -> dict[str, Any]:
    """Four images with four adapters against one adapter for all, and a loop over the images."""
    network = our_network("paper", **(dict(SMOKE) if device.rehearsal else {}))
    names = [f"adapter{index}" for index in range(4)]
    model = adapted(network, [(name, "lora", {"rank": RANK}) for name in names]).to(device.name).eval()
    model.set_adapters(names[-1])
    x = torch.rand(4, 3, device.side(256), device.side(256), device=device.name)
    one = partial(_mixed(device, model), x)
    each = partial(_mixed(device, lambda images: model(images, adapters=names)), x)

    def loop() -> Tensor:
        with torch.no_grad(), torch.autocast(device.name, torch.bfloat16):
            return torch.cat([model(x[i : i + 1], adapters=[name]) for i, name in enumerate(names)])

    wrong = []
    expected, found = loop(), each()
    if not torch.allclose(found.float(), expected.float(), atol=0.05):
        wrong.append("the mixed batch differs from its images one by one")
    seconds = device.seconds({"one adapter": one, "an adapter each": each, "one image after another": loop}, rounds=10)
    return {"ms": {name: 1e3 * value for name, value in seconds.items()}, "failures": wrong}
