"""The trained network with all that is needed to judge with it, and its file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adair_core.diagnosis.crops import ReadRows, crops_of
from adair_core.diagnosis.diagnosis import Diagnosis, Finding, Verdict
from adair_core.diagnosis.network import DiagnosisNetwork, DiagnosisNetworkConfig
from adair_core.errors import UsageError, WeightsError, expected
from adair_core.model.weights_file import (
    check_fit,
    parse_json_object,
    read_tensors,
    to_storage,
    write_tensors,
)
from adair_core.model.zoo import find_weights

FORMAT = "adair-diagnoser"
SIDE = 128
MOST_CROPS = 16
LEAST_CONFIDENCE = 0.6
"""Chosen on photos kept back: of 194 clean images 6 would be restored (8 at 0.5, 6 at 0.7), of 610 damaged ones 439 are
found (443, 425), and 51 images are taken for damaged in a way that they are not (63, 38)."""


@dataclass(frozen=True)
class Familiar:
    """What the network has learned to describe: the descriptions of each finding, as Gaussians of equal covariance.

    The distance of a new description from the nearest of them, over the distance that all but a few of the known ones
    keep, is how strange it is (Lee et al., "A simple unified framework for detecting out-of-distribution samples and
    adversarial attacks", NeurIPS 2018).

    Attributes:
        means: ``(findings, hidden)``.
        precision: ``(hidden, hidden)``, the inverse of their common covariance.
        limits: ``(findings,)``, Mahalanobis distance from each mean that counts as 1.
    """

    means: Tensor
    precision: Tensor
    limits: Tensor

    @classmethod
    def of(cls, described: Tensor, labels: Tensor, *, share: float) -> Familiar:
        """Fit to examples of every finding.

        Args:
            described: ``(N, hidden)``.
            labels: ``(N,)``, index of the finding.
            share: of a finding's examples that lie within its limit.
        """
        described = described.double()
        count = int(labels.max()) + 1
        means = torch.stack([described[labels == label].mean(dim=0) for label in range(count)])
        apart = described - means[labels]
        covariance = apart.T @ apart / len(apart)
        ridge = 1e-3 * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)
        made = cls(means, torch.linalg.inv(covariance + ridge), torch.ones(count, dtype=torch.float64))
        made = made.limited(described, labels, share=share)
        return cls(*(tensor.float() for tensor in (made.means, made.precision, made.limits)))

    def limited(self, described: Tensor, labels: Tensor, *, share: float) -> Familiar:
        """Choose the limits by other examples than those that it was fitted to, which lie closer.

        Args:
            described: ``(N, hidden)``.
            labels: ``(N,)``, index of the finding; each has some.
            share: of a finding's examples that lie within its limit.
        """
        free = replace(self, limits=torch.ones_like(self.limits))
        distances = free.distances(described)
        limits = [torch.quantile(distances[labels == label, label], share) for label in range(len(self.means))]
        return replace(self, limits=torch.stack(limits))

    def distances(self, described: Tensor) -> Tensor:
        """Return ``(N, findings)``, Mahalanobis distances over the limits."""
        apart = described.to(self.means)[:, None] - self.means
        squares = torch.einsum("nfi,ij,nfj->nf", apart, self.precision, apart)
        return squares.clamp(min=0).sqrt() / self.limits


def judged(network: DiagnosisNetwork, read: ReadRows, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Judge one image by its crops.

    Args:
        network: judges.
        read: gives rows in [0, 1].
        height: of the image.
        width: of the image.

    Returns:
        As `DiagnosisNetwork.forward`, of one image.
    """
    crops = crops_of(read, height, width, side=SIDE, most=MOST_CROPS)
    output: tuple[Tensor, Tensor, Tensor] = network(network.pool(crops).mean(dim=0, keepdim=True))
    return output


class Diagnoser:
    """Tells what is wrong with an image.

    Args:
        config: shape of the network.
        network: trained.
        findings: what its scores stand for; the first is `CLEAN`.
        familiar: what it has learned.
        temperature: that its logits are divided by, so that confidences are frequencies.
    """

    def __init__(
        self,
        config: DiagnosisNetworkConfig,
        network: DiagnosisNetwork,
        findings: Sequence[Finding],
        familiar: Familiar,
        *,
        temperature: float = 1.0,
    ) -> None:
        self.config, self.network, self.findings = config, network.eval(), tuple(findings)
        self.familiar, self.temperature = familiar, temperature

    @classmethod
    def load(cls, name_or_path: str | Path = "diagnoser") -> Diagnoser:
        """Read one of the zoo, or a file.

        Raises:
            UnknownNameError: the zoo has no such diagnoser.
            WeightsError: the file cannot be used.
        """
        path = find_weights(name_or_path, kind="diagnoser").path
        tensors, metadata = read_tensors(path)
        if metadata.get("format") != FORMAT:
            raise WeightsError(expected(f"{path}: format", expected=FORMAT, got=metadata.get("format")))
        told = parse_json_object(metadata.get("diagnoser", ""), where=f"{path}: metadata")
        try:
            config = DiagnosisNetworkConfig(**told["network"])
            findings = [Finding(**finding) for finding in told["findings"]]
            temperature = float(told["temperature"])
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{path}: metadata: expected those of a diagnoser, got {error!r}") from error
        network = DiagnosisNetwork(config, len(findings))
        wanted = {**_floats(network.state_dict()), **_empty_familiar(len(findings), config.hidden)}
        check_fit(wanted, tensors, where=str(path), what="a diagnoser")
        tensors = {name: tensor.float() for name, tensor in tensors.items()}
        familiar = Familiar(**{name: tensors.pop(f"familiar.{name}") for name in ("means", "precision", "limits")})
        network.load_state_dict(tensors, strict=False)
        return cls(config, network, findings, familiar, temperature=temperature)

    def save(self, path: Path, *, recipe: Mapping[str, Any]) -> None:
        """Write the file that `load` reads; the network is stored in float16.

        Raises:
            WeightsError: it cannot be written.
        """
        told = {
            "network": self.config.model_dump(mode="json"),
            "findings": [asdict(finding) for finding in self.findings],
            "temperature": self.temperature,
        }
        stored = to_storage(_floats(self.network.state_dict()), "float16", where=str(path))
        stored |= {f"familiar.{name}": tensor for name, tensor in vars(self.familiar).items()}
        metadata = {"format": FORMAT, "diagnoser": json.dumps(told), "recipe": json.dumps(recipe)}
        write_tensors(path, stored, metadata)

    def diagnose(self, image: Tensor) -> Diagnosis:
        """Tell what is wrong with an image.

        Args:
            image: ``(1, 3, H, W)``, float, in [0, 1], at full resolution: what noise and blur are is lost in a preview.

        Raises:
            UsageError: the image has another shape.
        """
        if image.ndim != 4 or image.shape[:2] != (1, 3) or 0 in image.shape:
            raise UsageError(expected("image", expected="a tensor (1, 3, H, W)", got=tuple(image.shape)))
        return self.diagnose_rows(lambda top, bottom: image[:, :, top:bottom], *image.shape[2:])

    @torch.no_grad()
    def diagnose_rows(self, read: ReadRows, height: int, width: int) -> Diagnosis:
        """Tell what is wrong with an image that is perhaps larger than memory.

        Args:
            read: gives rows, as `diagnose` takes an image; asked for `SIDE` of them at most, in their order.
            height: of the image.
            width: of the image.
        """

        def usable(top: int, bottom: int) -> Tensor:
            return read(top, bottom).detach().to("cpu", torch.float32).clamp(0, 1)

        described, logits, error = judged(self.network, usable, height, width)
        probabilities = (logits[0] / self.temperature).softmax(dim=0)
        best = int(probabilities.argmax())
        strangeness = float(self.familiar.distances(described).min())
        confidence = float(probabilities[best])
        return Diagnosis(
            verdict=self._verdict(best, confidence, strangeness),
            finding=self.findings[best],
            confidence=confidence,
            psnr=-10 * float(error[0]),
            scores={finding.name: float(p) for finding, p in zip(self.findings, probabilities, strict=True)},
            strangeness=strangeness,
        )

    def _verdict(self, best: int, confidence: float, strangeness: float) -> Verdict:
        if not math.isfinite(strangeness) or strangeness >= 1 or confidence < LEAST_CONFIDENCE:
            return "unknown"
        return "clean" if self.findings[best].task is None else "wrong"


def _floats(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the counters of batches, which nothing needs."""
    return {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}


def _empty_familiar(findings: int, hidden: int) -> dict[str, Tensor]:
    return {
        "familiar.means": torch.empty(findings, hidden),
        "familiar.precision": torch.empty(hidden, hidden),
        "familiar.limits": torch.empty(findings),
    }
