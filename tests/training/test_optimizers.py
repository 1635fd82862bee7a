from __future__ import annotations

import pytest
import torch
from torch import nn

from adair_core.training import Settings
from adair_core.training.optimizers import Muon, build_optimizer, nearly_orthogonal


def _random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("shape", [(3, 7, 12), (2, 12, 7), (1, 5, 5)])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e6])
def test_singular_vectors_are_kept_and_values_follow_the_polynomial(shape: tuple[int, ...], scale: float) -> None:
    matrices = scale * _random(*shape, dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    values = values / values.norm(dim=1, keepdim=True)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    torch.testing.assert_close(
        nearly_orthogonal(matrices), left @ torch.diag_embed(values) @ right, rtol=1e-9, atol=1e-9
    )


def test_no_gradient_gives_no_direction() -> None:
    assert torch.equal(nearly_orthogonal(torch.zeros(2, 3, 4)), torch.zeros(2, 3, 4))


def test_matrices_of_any_scale_are_made_orthogonal() -> None:
    # Squares of the smallest and of the largest are 0 and infinite in float32; the last is below its normal numbers.
    matrices = torch.randn(1, 16, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    truth = nearly_orthogonal(matrices)
    for scale, tolerance in ((1e-22, 1e-4), (1e-30, 1e-4), (1e30, 1e-4), (1e-40, 1e-3)):
        found = nearly_orthogonal((scale * matrices).float())
        torch.testing.assert_close(
            found.double(), truth, rtol=0, atol=tolerance, msg=lambda text, s=scale: f"{s}: {text}"
        )
    mixed = torch.cat([matrices, 1e-25 * matrices]).float()
    torch.testing.assert_close(*nearly_orthogonal(mixed), rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (16, 16)])
def test_steps_are_those_of_torch_on_matrices(shape: tuple[int, int]) -> None:
    ours, theirs = (nn.Parameter(_random(*shape)) for _ in range(2))
    optimizers = (
        Muon([ours], lr=0.02, weight_decay=0.1),
        torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
    )
    for seed in range(1, 5):
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = _random(*shape, seed=seed)
            optimizer.step()
    way = theirs - _random(*shape)
    # Theirs computes in bfloat16, with eight bits.
    assert (ours - theirs).norm() < 0.02 * way.norm()


def test_kernels_step_as_the_matrices_that_they_are_alone_or_together() -> None:
    kernels = [nn.Parameter(_random(6, 4, 3, 3, seed=seed)) for seed in range(3)]
    kernels[1].data = kernels[1].data.to(memory_format=torch.channels_last)
    matrices = [nn.Parameter(kernel.detach().flatten(1).clone()) for kernel in kernels]
    together, alone = Muon(kernels, lr=0.1), [Muon([matrix], lr=0.1) for matrix in matrices]
    for step in range(3):
        for seed, (kernel, matrix) in enumerate(zip(kernels, matrices, strict=True)):
            kernel.grad = _random(6, 4, 3, 3, seed=10 * step + seed)
            matrix.grad = kernel.grad.flatten(1)
        together.step()
        for optimizer in alone:
            optimizer.step()
    for kernel, matrix in zip(kernels, matrices, strict=True):
        torch.testing.assert_close(kernel.flatten(1), matrix, rtol=1e-5, atol=1e-5)


def test_what_mixes_no_channels_steps_as_in_adamw() -> None:
    shapes = {"depthwise": (6, 1, 3, 3), "norm": (6,), "temperature": (2, 1, 1), "one output": (1, 6, 3, 3)}
    ours, theirs = ([nn.Parameter(_random(*shape)) for shape in shapes.values()] for _ in range(2))
    optimizers = (Muon(ours, lr=0.3, weight_decay=0.1), torch.optim.AdamW(theirs, lr=0.3, weight_decay=0.1))
    for seed in range(4):
        for parameters, optimizer in zip((ours, theirs), optimizers, strict=True):
            for parameter in parameters:
                parameter.grad = _random(*parameter.shape, seed=seed)
            optimizer.param_groups[0]["lr"] = 0.1 * (seed + 1)
            optimizer.step()
    for name, mine, other in zip(shapes, ours, theirs, strict=True):
        assert torch.equal(mine, other), name


def test_what_has_no_gradient_stays() -> None:
    kernel, still, norm = (nn.Parameter(_random(*shape)) for shape in ((4, 4), (4, 4), (4,)))
    before = still.detach().clone(), norm.detach().clone()
    optimizer = Muon([kernel, still, norm], lr=0.1, weight_decay=0.5)
    kernel.grad = _random(4, 4, seed=1)
    optimizer.step()
    assert torch.equal(still, before[0])
    assert torch.equal(norm, before[1])
    assert not torch.equal(kernel, _random(4, 4))


def test_a_loaded_state_goes_on_to_the_same_bits() -> None:
    def steps(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, seeds: range) -> None:
        for seed in seeds:
            for parameter in parameters:
                parameter.grad = _random(*parameter.shape, seed=seed)
            optimizer.step()

    whole, parts = ([nn.Parameter(_random(5, 3)), nn.Parameter(_random(5))] for _ in range(2))
    steps(whole, Muon(whole, lr=0.1), range(6))
    first = Muon(parts, lr=0.1)
    steps(parts, first, range(3))
    second = Muon(parts, lr=0.7)
    second.load_state_dict(first.state_dict())
    steps(parts, second, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_settings_choose_it() -> None:
    optimizer = build_optimizer([nn.Parameter(torch.ones(2, 2))], Settings(optimizer="muon", weight_decay=0.3))
    assert isinstance(optimizer, Muon)
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [(1e-3, 0.3)]
