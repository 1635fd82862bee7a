from __future__ import annotations

from dataclasses import dataclass

import pytest

from adair_core.errors import DuplicateNameError, UnknownNameError
from adair_core.registry import Provenance, Registry


@dataclass
class Record:
    name: str
    value: int = 0


def source(package: str) -> Provenance:
    return Provenance(package, "1.2", "entry", f"{package}_module", f"/site/{package}.py")


@pytest.fixture
def registry() -> Registry[Record]:
    registry: Registry[Record] = Registry("fruit")
    registry.add([Record("pear", 1), Record("apple", 2)], source("orchard"))
    return registry


def test_looks_up_and_lists_by_name(registry):
    assert registry["pear"].value == 1
    assert list(registry) == ["apple", "pear"]
    assert [record.value for record in registry.values()] == [2, 1]
    assert len(registry) == 2
    assert "pear" in registry
    assert "plum" not in registry


def test_remembers_who_offered(registry):
    assert registry.provenance("apple") == source("orchard")
    assert str(registry.provenance("apple")) == "orchard 1.2 (orchard_module)"


def test_duplicate_names_both_packages_and_changes_nothing(registry):
    with pytest.raises(
        DuplicateNameError, match=r"fruit 'apple' is offered by both orchard 1\.2 .* and market 1\.2"
    ) as e:
        registry.add([Record("plum"), Record("apple", 9)], source("market"))
    assert e.value.exit_code == 1
    assert list(registry) == ["apple", "pear"]
    assert registry["apple"].value == 2


def test_the_same_name_twice_in_one_batch(registry):
    with pytest.raises(DuplicateNameError, match="'fig'"):
        registry.add([Record("fig"), Record("fig")], source("market"))
    assert "fig" not in registry


def test_a_batch_that_raises_halfway_adds_nothing(registry):
    def records():
        yield Record("fig")
        raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        registry.add(records(), source("market"))
    assert "fig" not in registry


def test_reserved_names_cannot_be_offered(registry):
    registry.reserve(["melon"], "the shop itself")
    with pytest.raises(DuplicateNameError, match="'melon' is offered by both the shop itself and market"):
        registry.add([Record("melon")], source("market"))
    assert "melon" not in registry


def test_unknown_name_suggests_and_lists(registry):
    with pytest.raises(UnknownNameError) as e:
        registry["aple"]
    assert str(e.value) == "unknown fruit 'aple'; did you mean 'apple'? known: apple, pear"
    with pytest.raises(UnknownNameError):
        registry.provenance("aple")


def test_unknown_name_counts_failed_plugins(registry):
    registry.failed_plugins = 2
    with pytest.raises(UnknownNameError, match="2 plugins failed to load, see 'adair plugins'"):
        registry["zzz"]


def test_own_key():
    registry: Registry[Record] = Registry("fruit", key=lambda record: f"{record.name}@{record.value}")
    registry.add([Record("pear", 1), Record("pear", 2)], source("orchard"))
    assert list(registry) == ["pear@1", "pear@2"]
