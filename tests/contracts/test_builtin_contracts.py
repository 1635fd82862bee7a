"""Everything that is registered passes the contracts: one class of tests for each name."""

from __future__ import annotations

from adair_core.plugins import plugins
from adair_core.testing import AdapterContract, BackboneContract, DegradationContract


def test_there_is_something_of_every_kind():
    assert len(plugins().degradations) >= 13
    assert len(plugins().adapters) >= 4
    assert len(plugins().backbones) >= 2


def _title(name: str) -> str:
    return "".join(part.capitalize() for part in name.replace(".", "-").split("-"))


for _contract, _registry in (
    (DegradationContract, plugins().degradations),
    (AdapterContract, plugins().adapters),
    (BackboneContract, plugins().backbones),
):
    for _name in _registry:
        _class = f"Test{_title(_name)}{_contract.__name__.removesuffix('Contract')}"
        globals()[_class] = type(_class, (_contract,), {"name": _name, "__module__": __name__})
