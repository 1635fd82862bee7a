"""The mean over orientations, against numpy's quarter turns and mirror images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adair_core.errors import UsageError
from adair_core.inference import Settings
from adair_core.model.self_ensemble import self_ensemble

RNG = np.random.default_rng(5)


def mean_of_turns(restore, image):
    """Quarter turns of ``(H, W, C)``, and of its mirror image."""
    results = []
    for mirrored in (False, True):
        for quarters in range(4):
            turned = np.rot90(image[:, ::-1] if mirrored else image, quarters)
            back = np.rot90(restore(np.ascontiguousarray(turned)), -quarters)
            results.append(back[:, ::-1] if mirrored else back)
    return np.mean(results, axis=0)


def test_every_orientation_counts_once(adapted):
    image = RNG.random((24, 17, 3))
    restored = adapted.restore(image, ensemble=True)
    np.testing.assert_allclose(restored, mean_of_turns(adapted.restore, image), rtol=1e-5, atol=1e-6)
    assert np.abs(restored - adapted.restore(image)).max() > 1e-4


def test_in_tiles_and_with_strength_the_network_alone_is_another(adapted):
    image = torch.from_numpy(RNG.random((1, 3, 40, 56)))
    adapted.double()
    parts = {"tile": 24, "overlap": 8}
    restored = adapted.restore(image, ensemble=True, strength=0.7, **parts)
    adapted.backbone.forward = self_ensemble(adapted.backbone.forward)
    torch.testing.assert_close(restored, adapted.restore(image, strength=0.7, **parts), rtol=1e-12, atol=1e-12)


def test_half_precision_is_averaged_in_float32():
    image = torch.full((1, 1, 2, 2), 1.0)
    values = iter((1.0, 1.0078125) * 4)  # neighbours in bfloat16
    averaged = self_ensemble(lambda x: torch.full_like(x, next(values), dtype=torch.bfloat16))(image)
    assert (averaged.dtype, averaged.unique().item()) == (torch.float32, 1.00390625)


def test_not_with_exact(adapted):
    with pytest.raises(UsageError, match=r"exact: expected no self-ensemble, .* got both"):
        adapted.restore(RNG.random((9, 9, 3)), exact=True, ensemble=True)
    with pytest.raises(UsageError, match=r"exact: expected no self-ensemble, .* got both"):
        Settings(exact=True, ensemble=True)
