"""Training of the network, its calibration, and its file."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from adair_core.diagnosis import Diagnoser, DiagnosisNetwork, DiagnosisNetworkConfig
from adair_core.diagnosis.crops import ReadRows
from adair_core.diagnosis.diagnoser import Familiar, judged
from diagnosing.examples import FINDINGS, Example, Examples

ERROR_WEIGHT = 0.5


@dataclass(frozen=True)
class TrainingSettings:
    """How it is trained."""

    steps: int = 6000
    batch: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    ema: float = 0.998
    calibration: int = 700
    share: float = 0.98


def train(root: Path, settings: TrainingSettings, out: Path, *, say: Callable[[str], None]) -> Diagnoser:
    """Train, or go on where ``state.pt`` in `out` stopped, and calibrate."""
    torch.manual_seed(0)
    config = DiagnosisNetworkConfig()
    network = DiagnosisNetwork(config, len(FINDINGS)).to(memory_format=torch.channels_last)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=settings.steps)
    parts = {"network": network, "average": average, "optimizer": optimizer, "schedule": schedule}
    file, done = out / "state.pt", 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        done = state.pop("done")
        for name, part in parts.items():
            part.load_state_dict(state[name])
    examples = Examples(root, held_out=False)
    network.train()
    losses: list[float] = []
    for step in range(done, settings.steps):
        batch = [examples[step * settings.batch + index] for index in range(settings.batch)]
        loss = _loss(network, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            say(f"step {step + 1}/{settings.steps} loss {sum(losses[-100:]) / len(losses[-100:]):.4f}")
            torch.save({"done": step + 1, **{name: part.state_dict() for name, part in parts.items()}}, file)
    return calibrated(copy.deepcopy(average.module), config, Examples(root, held_out=True), settings, say=say)


def _loss(network: DiagnosisNetwork, batch: list[Example]) -> Tensor:
    crops = torch.stack([example.image for example in batch]).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = network.pool(crops)
    _, logits, error = network(pooled.float())
    labels = torch.tensor([example.label for example in batch])
    errors = torch.tensor([example.error for example in batch]).log10()
    return functional.cross_entropy(logits, labels) + ERROR_WEIGHT * functional.smooth_l1_loss(error, errors)


@torch.no_grad()
def calibrated(
    network: DiagnosisNetwork,
    config: DiagnosisNetworkConfig,
    held_out: Examples,
    settings: TrainingSettings,
    *,
    say: Callable[[str], None],
) -> Diagnoser:
    """Choose temperature and limits by photos that were not trained on."""
    network.eval()
    examples = [held_out[index] for index in range(settings.calibration)]
    labels = torch.tensor([example.label for example in examples])
    outputs = [judged(network, _rows_of(example.image), *example.image.shape[1:]) for example in examples]
    described = torch.cat([output[0] for output in outputs])
    logits = torch.cat([output[1] for output in outputs])
    temperatures = torch.linspace(0.5, 4, 71)
    losses = torch.stack([functional.cross_entropy(logits / t, labels) for t in temperatures])
    temperature = float(temperatures[losses.argmin()])
    found = logits.argmax(dim=1)
    for index, finding in enumerate(FINDINGS):
        own = labels == index
        say(f"{finding.name}: {float((found[own] == index).float().mean()):.1%} of {int(own.sum())} held-out photos")
    say(f"temperature {temperature:.2f}")
    return Diagnoser(
        config, network, FINDINGS, Familiar.of(described, labels, share=settings.share), temperature=temperature
    )


def _rows_of(image: Tensor) -> ReadRows:
    return lambda top, bottom: image[None, :, top:bottom]
