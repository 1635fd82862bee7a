"""Judging with a network, and its file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.spatial.distance import mahalanobis

from adair_core.diagnosis import Diagnoser
from adair_core.diagnosis.diagnoser import Familiar
from adair_core.errors import UsageError, WeightsError


def photo(height: int = 300, width: int = 200) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_distances_are_those_of_scipy_over_the_limits():
    generator = torch.Generator().manual_seed(0)
    described = torch.randn(400, 6, generator=generator) @ torch.randn(6, 6, generator=generator)
    labels = torch.arange(400) % 2
    described[labels == 1] += 3
    familiar = Familiar.of(described, labels, share=0.9)
    distances = familiar.distances(described)
    inverse = familiar.precision.double().numpy()
    expected = mahalanobis(described[7].numpy(), familiar.means[1].numpy(), inverse) / familiar.limits[1]
    assert distances[7, 1].item() == pytest.approx(float(expected), rel=1e-3)
    own = distances[torch.arange(400), labels]
    assert (own <= 1).float().mean().item() == pytest.approx(0.9, abs=0.01)


def test_the_common_covariance_is_that_of_the_findings_without_their_means():
    generator = torch.Generator().manual_seed(0)
    described = torch.randn(20_000, 3, generator=generator) * torch.tensor([1.0, 2.0, 0.5])
    labels = torch.arange(20_000) % 4
    familiar = Familiar.of(described + 10 * labels[:, None], labels, share=0.5)
    assert torch.allclose(familiar.precision.diagonal(), torch.tensor([1, 0.25, 4]), rtol=0.05)


def test_limits_can_be_those_of_other_examples():
    described = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    familiar = Familiar(torch.zeros(1, 2), torch.eye(2), torch.tensor([7.0]))
    limited = familiar.limited(described * torch.tensor([[1.0], [2], [3], [4]]), torch.zeros(4).long(), share=1.0)
    # The furthest of them is 4 from the mean, whatever the limit was before.
    assert limited.limits.tolist() == [4]
    assert limited.distances(described * 8).tolist() == [[2]] * 4


def test_pooled_are_mean_and_deviation_of_each_crop(diagnoser):
    crops = torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(2))
    network, seen = diagnoser.network, []
    for stage in network.stages:
        stage.register_forward_hook(lambda module, inputs, output: seen.append(output.double().flatten(2).numpy()))
    with torch.no_grad():
        pooled = network.pool(crops).double().numpy()
    expected = np.concatenate([part for x in seen for part in (x.mean(-1), np.sqrt(x.var(-1) + 1e-4))], axis=1)
    np.testing.assert_allclose(pooled, expected, atol=1e-4)


def test_probabilities_are_softened_by_the_temperature(diagnoser):
    sharp = diagnoser.diagnose(photo())
    diagnoser.temperature = 1e6
    assert list(diagnoser.diagnose(photo()).scores.values()) == pytest.approx([1 / 3] * 3, abs=1e-4)
    assert sum(sharp.scores.values()) == pytest.approx(1)
    assert sharp.confidence == max(sharp.scores.values())


@pytest.mark.parametrize(
    ("logits", "limit", "verdict"),
    [
        ((9.0, 0, 0), 100.0, "clean"),
        ((0, 9.0, 0), 100.0, "wrong"),
        ((0, 0, 0), 100.0, "unknown"),
        ((0, 9.0, 0), 1e-9, "unknown"),
    ],
)
def test_verdict(diagnoser, logits, limit, verdict):
    with torch.no_grad():
        diagnoser.network.scores.weight.zero_()
        diagnoser.network.scores.bias.copy_(torch.tensor(logits))
    diagnoser.familiar.limits.fill_(limit)
    assert diagnoser.diagnose(photo()).verdict == verdict


def test_expected_psnr_is_of_the_mean_squared_error(diagnoser):
    with torch.no_grad():
        diagnoser.network.error.weight.zero_()
        diagnoser.network.error.bias.fill_(-2.5)
    found = diagnoser.diagnose(photo())
    assert (found.psnr, found.severity) == (25, "moderate")


def test_a_file_says_the_same(diagnoser, tmp_path):
    path = tmp_path / "own.safetensors"
    diagnoser.save(path, recipe={"steps": 0})
    read = Diagnoser.load(path)
    before, after = diagnoser.diagnose(photo()), read.diagnose(photo())
    assert read.findings == diagnoser.findings
    assert after.confidence == pytest.approx(before.confidence, abs=1e-3)
    assert after.strangeness == pytest.approx(before.strangeness, rel=1e-2)


def test_a_file_of_something_else_is_refused(diagnoser, tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "else.safetensors")
    with pytest.raises(WeightsError, match="expected adair-diagnoser"):
        Diagnoser.load(tmp_path / "else.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "empty.safetensors", {"format": "adair-diagnoser"})
    with pytest.raises(WeightsError, match="metadata"):
        Diagnoser.load(tmp_path / "empty.safetensors")


def test_other_shapes_are_refused(diagnoser):
    with pytest.raises(UsageError, match=r"expected a tensor \(1, 3, H, W\), got \(3, 8, 8\)"):
        diagnoser.diagnose(torch.zeros(3, 8, 8))
