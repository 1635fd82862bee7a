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
from diagnosing.examples import LARGEST_SIDE, Example, Examples
from diagnosing.findings import FINDINGS

ERROR_WEIGHT = 0.5


@dataclass(frozen=True)
class TrainingSettings:
    """How it is trained.

    The last `settling` of the steps, in which the learning rate falls to 0, see crops of full size, those before of
    `first_side`: a run with other `steps` is the same until then, and can go on from the same state.
    """

    steps: int = 7000
    batch: int = 32
    learning_rate: float = 2e-3
    warm_up: int = 200
    settling: float = 0.3
    first_side: int = 96
    weight_decay: float = 1e-3
    ema: float = 0.998
    calibration: int = 700
    share: float = 0.98

    @property
    def settles_at(self) -> int:
        """The step from which on the learning rate falls."""
        return round((1 - self.settling) * self.steps)

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return self.learning_rate * min(
            1.0, (step + 1) / self.warm_up, (self.steps - step) / (self.steps - self.settles_at)
        )


def train(root: Path, settings: TrainingSettings, out: Path, *, say: Callable[[str], None]) -> Diagnoser:
    """Train, or go on where ``state.pt`` in `out` stopped, and calibrate."""
    torch.manual_seed(0)
    config = DiagnosisNetworkConfig()
    network = DiagnosisNetwork(config, len(FINDINGS)).to(memory_format=torch.channels_last)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    parts = {"network": network, "average": average, "optimizer": optimizer}
    file, done = out / "state.pt", 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        done = state.pop("done")
        for name, part in parts.items():
            part.load_state_dict(state[name])
    small = Examples(root, "training", side=settings.first_side)
    large = small.of_side(LARGEST_SIDE)
    network.train()
    losses: list[float] = []
    for step in range(done, settings.steps):
        examples = large if step >= settings.settles_at else small
        batch = [examples[step * settings.batch + index] for index in range(settings.batch)]
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step)
        loss = _loss(network, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update_parameters(network)
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            say(f"step {step + 1}/{settings.steps} loss {sum(losses[-100:]) / len(losses[-100:]):.4f}")
            torch.save({"done": step + 1, **{name: part.state_dict() for name, part in parts.items()}}, file)
    return calibrated(copy.deepcopy(average.module), config, root, settings, say=say)


def _loss(network: DiagnosisNetwork, batch: list[Example]) -> Tensor:
    crops = torch.stack([example.image for example in batch]).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = network.pool(crops)
    _, logits, error = network(pooled.float())
    known = torch.tensor([example.label is not None for example in batch])
    weights = torch.tensor([0.0 if example.disputed else 1.0 for example in batch])
    losses = functional.cross_entropy(logits, wanted(batch), reduction="none")
    errors = torch.tensor([example.error for example in batch]).log10()
    of_errors = functional.smooth_l1_loss(error[known], errors[known])
    return (losses * weights).sum() / weights.sum() + ERROR_WEIGHT * of_errors


def wanted(batch: list[Example]) -> Tensor:
    """The probability that each finding should have: ``(B, findings)``; all the same where none of them is right."""
    count = len(FINDINGS)
    return torch.stack(
        [
            torch.full((count,), 1 / count)
            if example.label is None
            else functional.one_hot(torch.tensor(example.label), count).float()
            for example in batch
        ]
    )


@torch.no_grad()
def calibrated(
    network: DiagnosisNetwork,
    config: DiagnosisNetworkConfig,
    root: Path,
    settings: TrainingSettings,
    *,
    say: Callable[[str], None],
) -> Diagnoser:
    """Choose temperature and limits by photos that were not trained on."""
    network.eval()
    learned, labels, _ = _judged(network, Examples(root, "training", side=None), 2 * settings.calibration)
    familiar = Familiar.of(learned, labels, share=settings.share)
    described, labels, logits = _judged(network, Examples(root, "calibration", side=None), settings.calibration)
    temperatures = torch.linspace(0.5, 4, 71)
    losses = torch.stack([functional.cross_entropy(logits / t, labels) for t in temperatures])
    temperature = float(temperatures[losses.argmin()])
    found = logits.argmax(dim=1)
    for index, finding in enumerate(FINDINGS):
        own = labels == index
        say(f"{finding.name}: {float((found[own] == index).float().mean()):.1%} of {int(own.sum())} held-out photos")
    say(f"temperature {temperature:.2f}")
    familiar = familiar.limited(described, labels, share=settings.share)
    return Diagnoser(config, network, FINDINGS, familiar, temperature=temperature)


def _judged(network: DiagnosisNetwork, examples: Examples, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Descriptions, labels and logits of the first `count` examples, without those that have no certain label."""
    kept = [example for example in map(examples.__getitem__, range(count)) if not example.disputed]
    kept = [example for example in kept if example.label is not None]
    outputs = [judged(network, _rows_of(example.image), *example.image.shape[1:]) for example in kept]
    labels = torch.tensor([example.label for example in kept])
    return torch.cat([output[0] for output in outputs]), labels, torch.cat([output[1] for output in outputs])


def _rows_of(image: Tensor) -> ReadRows:
    return lambda top, bottom: image[None, :, top:bottom]
