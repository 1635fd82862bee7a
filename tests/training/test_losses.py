from __future__ import annotations

import numpy as np
import torch

from adair_core.training.losses import LOSSES, charbonnier, l1


def _pair() -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(1)
    shape = (2, 3, 5, 4)
    return (
        torch.rand(shape, generator=draws, dtype=torch.float64, requires_grad=True),
        torch.rand(shape, generator=draws, dtype=torch.float64),
    )


def test_l1_is_torchs() -> None:
    restored, target = _pair()
    torch.testing.assert_close(l1(restored, target), torch.nn.functional.l1_loss(restored, target))


def test_charbonnier_is_its_equation() -> None:
    restored, target = _pair()
    difference = restored.detach().numpy() - target.numpy()
    wanted = np.sqrt(difference**2 + 1e-6).mean()
    np.testing.assert_allclose(charbonnier(restored, target).item(), wanted, rtol=1e-14)


def test_gradients() -> None:
    restored, target = _pair()
    for loss in LOSSES.values():
        assert torch.autograd.gradcheck(lambda x, loss=loss: loss(x, target), restored)


def test_charbonnier_has_a_gradient_where_the_images_are_equal() -> None:
    image = torch.full((1, 3, 2, 2), 0.5, requires_grad=True)
    charbonnier(image, image.detach()).backward()
    assert torch.equal(image.grad, torch.zeros_like(image))
