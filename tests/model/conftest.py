from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from adair_core.model import BaseInfo, RestorationModel, fingerprint
from adair_core.specs import Choice, Site


class Net(nn.Module):
    """A site of every kind, and a module that is a site of two kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 8, 3, padding=1)
        self.block = nn.ModuleDict({"point": nn.Conv2d(8, 8, 1), "depth": nn.Conv2d(8, 8, 3, padding=1, groups=8)})
        self.branch = nn.Conv2d(8, 8, 1, bias=False)
        self.level = nn.Identity()
        self.leave = nn.Conv2d(8, 3, 3, padding=1)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        features = self.enter(x)
        hidden = torch.relu(self.block["depth"](self.block["point"](features)))
        features = self.level(features + self.branch(hidden))
        return x + self.leave(features)

    def sites(self) -> list[Site]:
        return [
            Site.of(self, "enter", "conv3x3", level=1),
            Site.of(self, "block.point", "conv1x1", level=1),
            Site.of(self, "block.depth", "dwconv", level=1),
            Site.of(self, "branch", "conv1x1", level=1),
            Site.of(self, "branch", "branch", level=1),
            Site.of(self, "level", "stage", level=1, channels=8),
            Site.of(self, "leave", "conv3x3", level=1),
        ]


Make = Callable[[], RestorationModel]


@pytest.fixture
def make_model() -> Make:
    def make(seed: int = 0) -> RestorationModel:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = Net()
        info = BaseInfo(name="net@1", backbone=Choice(name="net"), fingerprint=fingerprint(net.state_dict()))
        return RestorationModel(net, net.sites(), info=info)

    return make


@pytest.fixture
def model(make_model: Make) -> RestorationModel:
    return make_model()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 3, 11, 9, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def randomise() -> Callable[[RestorationModel, str], None]:
    """Give every parameter of an adapter a value, as training would."""

    def randomise(model: RestorationModel, name: str, seed: int = 0, std: float = 0.2) -> None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.adapter_parameters(name).values():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)

    return randomise


@pytest.fixture
def adapted(model: RestorationModel, randomise: Callable[[RestorationModel, str], None]) -> RestorationModel:
    """The model with an adapter that does something."""
    model.add_adapter("a", "lora")
    randomise(model, "a")
    return model
