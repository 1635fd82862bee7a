from __future__ import annotations

import torch

from adair_core.model import untrained

SMALL = {"dim": 8, "blocks": (1, 1, 1, 1), "refinement": 1}


def test_every_parameter_has_a_delta():
    model = untrained("restormer", **SMALL)
    own = dict(model.backbone.named_parameters())
    deltas = model.add_adapter("a", "full").named_adapter_parameters()
    assert deltas.keys() == own.keys()
    assert all(deltas[name].shape == own[name].shape and not deltas[name].any() for name in own)


def test_it_reaches_any_weights():
    """The delta between two bases turns one into the other."""
    model, other = untrained("restormer", seed=0, **SMALL), untrained("restormer", seed=1, **SMALL)
    deltas = model.add_adapter("a", "full").named_adapter_parameters()
    own, wanted = dict(model.backbone.named_parameters()), dict(other.backbone.named_parameters())
    with torch.no_grad():
        for name, delta in deltas.items():
            delta.copy_(wanted[name] - own[name])
    x = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(model(x), other(x), rtol=1e-4, atol=1e-5)
