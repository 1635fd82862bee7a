"""The tiles that an adapter asks for, where nobody else does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adair_core.errors import UsageError, WeightsError
from adair_core.model import AdapterCard, load
from adair_core.model.adapter_files import read_adapter
from adair_core.model.maps import Gathered, Values
from adair_core.model.restoring import restore_image

TILE = 64


@pytest.fixture(scope="module")
def photo() -> Tensor:
    """Larger than a tile."""
    return torch.rand(1, 3, 150, 100, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def restormer(tmp_path):
    """A network whose attention makes tiles give something else than the whole, with adapters that ask for tiles."""
    model = load("restormer-tiny")
    for name, tile in (("whole", None), ("small", TILE), ("larger", 96)):
        model.add_adapter(name, "lora", {"rank": 1})
        model.save_adapter(name, tmp_path / name, card=AdapterCard(tile=tile))
        model.remove_adapter(name)
        model.load_adapter(tmp_path / name)
    return model


def test_restores_in_the_tiles_of_the_card(restormer, photo):
    restormer.set_adapters("small")
    assert restormer.suited_tile == TILE
    restored = restormer.restore(photo)
    assert torch.equal(restored, restormer.restore(photo, tile=TILE))
    whole = restormer.restore(photo, tile=None)
    assert not torch.equal(restored, whole)
    assert torch.equal(restormer.restore(photo, exact=True), load("restormer-tiny").restore(photo, exact=True))
    by_rows = Gathered(photo.shape[-2])
    restormer.restore_rows(Values(photo), by_rows.write)
    assert torch.equal(by_rows.values, restored)
    fits = photo[..., :TILE, :TILE]
    assert torch.equal(restormer.restore(fits), restormer.restore(fits, tile=None))


def test_the_overlap_is_that_of_such_tiles(restormer, photo):
    restormer.set_adapters("small")
    assert torch.equal(restormer.restore(photo, overlap=16), restormer.restore(photo, tile=TILE, overlap=16))
    # At most half a tile of the automatic ones, which may be smaller here.
    assert torch.equal(restormer.restore(photo, overlap=128), restormer.restore(photo, tile=TILE, overlap=TILE // 2))
    with pytest.raises(UsageError, match="overlap of 0 to half a tile"):
        restormer.restore(photo, overlap=129)


def test_several_adapters(restormer):
    suited = {}
    for names, weights in (
        ([], []),
        (["whole"], [1]),
        (["small", "larger"], [1, 0.5]),
        (["small", "whole"], [1, 1]),
        (["small", "whole"], [1, 0]),
    ):
        restormer.set_adapters(names, weights)
        suited[(*names, *weights)] = restormer.suited_tile
    assert list(suited.values()) == [None, None, 96, None, TILE]
    restormer.set_adapters("small")
    restormer.merge()
    assert restormer.suited_tile == TILE


def test_tiles_of_the_card_are_no_larger_than_memory_allows():
    seen: list[tuple[int, ...]] = []

    def network(x: Tensor) -> Tensor:
        seen.append(tuple(x.shape))
        return x

    image = torch.rand(3, 3, 400, 700)
    where = {"device": torch.device("cpu"), "dtype": torch.float32}
    for suited, largest in ((None, 256), (512, 256), (192, 192)):
        seen.clear()
        restored = restore_image(
            network, image, strength=1, tile="auto", overlap=None, suited=suited, affordable=lambda *_: 65_536, **where
        )
        torch.testing.assert_close(restored, image)
        assert max(max(shape[-2:]) for shape in seen) <= largest
        assert max(shape[0] * shape[2] * shape[3] for shape in seen) <= 65_536
    seen.clear()
    restore_image(
        network, image, strength=1, tile="auto", overlap=None, suited=192, affordable=lambda *_: 10**7, **where
    )
    assert {shape[0] for shape in seen} == {3}


def test_saving_keeps_what_was_loaded(restormer, tmp_path):
    restormer.save_adapter("small", tmp_path / "again")
    assert read_adapter(tmp_path / "again").card.tile == TILE
    assert f"tiles of {TILE} pixels" in (tmp_path / "again" / "README.md").read_text()
    restormer.save_adapter("small", tmp_path / "again", card=AdapterCard())
    assert read_adapter(tmp_path / "again").card.tile is None


def test_tiles_that_are_hardly_more_than_overlap_are_refused(restormer, tmp_path):
    with pytest.raises(UsageError, match="expected a whole number of pixels, 64 or more, got 63"):
        AdapterCard(tile=63)
    with pytest.raises(
        WeightsError, match="here: tiles that suit an adapter: expected a whole number of pixels, 64 or more"
    ):
        AdapterCard.from_dict({"tile": 1}, where="here")
    with pytest.raises(UsageError, match=r"expected a whole number of pixels, 64 or more, got 192.5"):
        AdapterCard(tile=192.5)
    with pytest.raises(WeightsError, match="here: card"):
        AdapterCard.from_dict({"tile": "large"}, where="here")
