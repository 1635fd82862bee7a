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


def _compile(device: Device, network: nn.Module, *, tuned: bool = False) -> Callable[[Tensor], Tensor]:
    """torch.compile of a plain network, channels last; a rehearsal leaves the code generator out."""
    how = {"backend": "eager"} if device.rehearsal else {"mode": "max-autotune-no-cudagraphs"} if tuned else {}
    last = network.to(memory_format=torch.channels_last)
    compute: Callable[[Tensor], Tensor] = torch.compile(last, **how)  # type: ignore[call-overload]
    return lambda x: compute(x.contiguous(memory_format=torch.channels_last))


def _first_call(device: Device, run: Callable[[], object]) -> float:
    """Seconds of a first call, in which torch.compile compiles."""
    begun = time.perf_counter()
    run()
    device.wait()
    return time.perf_counter() - begun


def compiled(device: Device, side: int, *, tuned: bool = False) -> dict[str, Any]:
    """torch.compile of the plain form at one size; its compilation may take most of the step's time.

    `tuned`: by max-autotune, which tries many kernels.
    """
    ours, rival, _ = _networks(device)
    x = torch.rand(1, 3, device.side(side), device.side(side), device=device.name)
    own, other = _mixed(device, ours), _mixed(device, _compile(device, rival, tuned=tuned))
    took = _first_call(device, partial(other, x))
    competitors: dict[str, Callable[[], object]] = {"ours": partial(own, x), "compiled": partial(other, x)}
    competitors["ours, in a graph"] = device.captured(own, x)
    wrong = []
    try:
        competitors["compiled, in a graph"] = device.captured(other, x)
    except RuntimeError as error:
        wrong.append(f"torch.compile's kernels cannot be captured: {error}")
    found = device.seconds(competitors, rounds=10)
    return {"ms": {name: 1e3 * value for name, value in found.items()}, "compiled in s": took, "failures": wrong}


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
    other, trained = _plain_with_lora(device, frozen)
    results["adapter, eager"] = step(other, trained)
    peaks = {name: device.peak(step) for name, step in results.items()}
    found = device.seconds(results, rounds=10)
    return {"ms": {name: 1e3 * value for name, value in found.items()}, "peak bytes": peaks, "failures": []}


def compiled_training(device: Device) -> dict[str, Any]:
    """An adapter's step, ours and that of the plain form under torch.compile."""
    batch, patch = (1, 32) if device.rehearsal else (8, 128)
    pair = [torch.rand(batch, 3, patch, patch, device=device.name) for _ in range(2)]
    frozen = our_network("paper", **(dict(SMOKE) if device.rehearsal else {}))
    model = adapted(frozen, [("lora", "lora", {"rank": RANK})]).to(device.name).train()
    own = list(model.adapter_parameters("lora").values())
    other, trained = _plain_with_lora(device, frozen)
    network = torch.compile(other.train(), **({"backend": "eager"} if device.rehearsal else {}))  # type: ignore[call-overload]
    step = training_step(network, trained, trained[:1], pair, "autocast")
    took = _first_call(device, step)
    found = device.seconds({"ours": training_step(model, own, own[:1], pair, "autocast"), "compiled": step}, rounds=10)
    return {"ms": {name: 1e3 * value for name, value in found.items()}, "compiled in s": took, "failures": []}


def _plain_with_lora(device: Device, frozen: nn.Module) -> tuple[nn.Module, list[nn.Parameter]]:
    """The plain form of a frozen network with a LoRA on its 1x1 convolutions, and what is trained of it."""
    network = plain_network(frozen)
    plain.add_lora(network, [path for path, module in network.named_modules() if _is_pointwise(module)], RANK)
    return network.to(device.name), [value for value in network.parameters() if value.requires_grad]


def _is_pointwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)


def mixed_batch(device: Device) -> dict[str, Any]:
    """Four images with four adapters against one adapter for all, and loops over the images, ours and eager."""
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
    again = partial(_mixed(device, lambda images: model.replay(images, adapters=names)), x)
    # Of one adapter: how long an image takes does not depend on whose it is.
    eager = _one_by_one(_mixed(device, _plain_with_lora(device, network)[0].eval()))
    seconds = device.seconds(
        {
            "one adapter": one,
            "an adapter each": each,
            "an adapter each, by model.replay": again,
            "one image after another": loop,
            "eager, one image after another": partial(eager, x),
        },
        rounds=10,
    )
    if not torch.equal(again(), each()):
        wrong.append("a replay differs from the model")
    return {"ms": {name: 1e3 * value for name, value in seconds.items()}, "failures": wrong}


def _one_by_one(network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The images of a batch, one after another."""
    return lambda x: torch.cat([network(image) for image in x.split(1)])


def compiled_mixed_batch(device: Device) -> dict[str, Any]:
    """Four images with four adapters at once, and the plain form with a LoRA under torch.compile, image by image."""
    network = our_network("paper", **(dict(SMOKE) if device.rehearsal else {}))
    names = [f"adapter{index}" for index in range(4)]
    model = adapted(network, [(name, "lora", {"rank": RANK}) for name in names]).to(device.name).eval()
    x = torch.rand(4, 3, device.side(256), device.side(256), device=device.name)
    each = partial(_mixed(device, lambda images: model(images, adapters=names)), x)
    other = _mixed(device, _compile(device, _plain_with_lora(device, network)[0].eval()))
    took = _first_call(device, partial(other, x[:1]))
    found = device.seconds(
        {"ours": each, "compiled, one image after another": partial(_one_by_one(other), x)}, rounds=10
    )
    return {"ms": {name: 1e3 * value for name, value in found.items()}, "compiled in s": took, "failures": []}
