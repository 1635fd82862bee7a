"""`chain` and `one-of`: the same as their children alone, in the right order and frequency."""

from __future__ import annotations

import json

import pytest
import scipy.stats
import torch

from adair_core.degradation import Degradation
from adair_core.errors import UnknownNameError, UsageError
from adair_core.plugins import plugins
from adair_core.specs import Choice


def build(name: str, degradations: object = None, **options: object) -> Degradation:
    if degradations is not None:
        options["degradations"] = degradations
    return plugins().degradation(Choice(name=name, options=options))


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def images(batch: int) -> torch.Tensor:
    return torch.rand(batch, 3, 16, 20, generator=torch.Generator().manual_seed(0))


MIXTURE = [
    {"name": "gaussian-noise", "options": {"sigma": 25}, "weight": 3},
    {"name": "gaussian-blur", "weight": 1},
    {"name": "haze", "weight": 0},
    {"name": "jpeg", "options": {"quality": [20, 30]}},
]


def test_one_of_draws_by_weight():
    degradation = build("one-of", MIXTURE)
    drawn = [degradation.draw((3, 2, 2), generator)["index"] for generator in seeded(*range(1000))]
    counts = [drawn.count(index) for index in range(4)]
    assert counts[2] == 0
    del counts[2]
    assert scipy.stats.chisquare(counts, [600, 200, 200]).pvalue > 1e-3


def test_one_of_is_its_child_with_the_same_generator():
    degradation, x = build("one-of", MIXTURE), images(12)
    mixed = degradation(x, seeded(*range(12)))
    children = [build(choice["name"], **choice.get("options", {})) for choice in MIXTURE]
    seen = set()
    for i in range(12):
        index = degradation.draw((3, 16, 20), *seeded(i))["index"]
        seen.add(index)
        (generator,) = seeded(i)
        torch.rand((), generator=generator, dtype=torch.float64)  # the choice itself
        assert torch.equal(children[index](x[i : i + 1], generator)[0], mixed[i])
    assert seen == {0, 1, 3}


def test_one_of_runs_each_kind_once(monkeypatch: pytest.MonkeyPatch):
    degradation, batches = build("one-of", "gaussian-noise,haze"), []
    for child in degradation.alternatives:
        original = child.degrade
        monkeypatch.setattr(
            child, "degrade", lambda x, draws, original=original: (batches.append(len(x)), original(x, draws))[1]
        )
    degradation(images(9), seeded(*range(9)))
    assert len(batches) == 2
    assert sum(batches) == 9


def test_chain_is_one_after_another():
    links = [{"name": "gaussian-blur", "options": {"sigma": 2}}, {"name": "gaussian-noise"}, {"name": "jpeg"}]
    degradation, x = build("chain", links), images(3)
    chained = degradation(x, seeded(1, 2, 3))
    draws = [degradation.draw((3, 16, 20), generator)["links"] for generator in seeded(1, 2, 3)]
    expected = x
    for position, link in enumerate(links):
        child = build(link["name"], **link.get("options", {}))
        expected = child.degrade(expected, [draw[position]["draws"] for draw in draws])
    assert torch.equal(chained, expected)
    assert not torch.equal(chained, build("chain", links[::-1])(x, seeded(1, 2, 3)))


def test_chain_applies_with_probability():
    degradation = build("chain", "gaussian-noise:0.3,haze:0,jpeg")
    applied = torch.tensor(
        [[link["applied"] for link in degradation.draw((1, 2, 2), g)["links"]] for g in seeded(*range(500))]
    )
    assert applied[:, 0].sum().item() == pytest.approx(150, abs=45)
    assert not applied[:, 1].any()
    assert applied[:, 2].all()


def test_chain_leaves_images_that_drew_nothing():
    x = images(6)
    half = build("chain", "gaussian-noise:0.5")
    draws = [half.draw((3, 16, 20), generator)["links"][0]["applied"] for generator in seeded(*range(6))]
    assert len(set(draws)) == 2
    for before, after, applied in zip(x, half(x, seeded(*range(6))), draws, strict=True):
        assert torch.equal(before, after) != applied


def test_a_links_options_do_not_change_the_draws_of_another():
    plain = build("chain", [{"name": "rain"}, {"name": "gaussian-noise"}])
    other = build("chain", [{"name": "rain", "options": {"layers": 5}, "probability": 0}, {"name": "gaussian-noise"}])
    first, second = (d.draw((3, 8, 8), *seeded(4))["links"][1]["draws"] for d in (plain, other))
    assert first["sigma"] == second["sigma"]
    assert torch.equal(first["noise"], second["noise"])


def test_mixtures_nest():
    inner = {"degradations": [{"name": "rain"}, {"name": "haze"}]}
    degradation = build("chain", [{"name": "one-of", "options": inner}, {"name": "jpeg"}])
    assert degradation(images(2), seeded(0, 1)).shape == (2, 3, 16, 20)


@pytest.mark.parametrize(("name", "number"), [("one-of", "weight"), ("chain", "probability")])
def test_ways_to_write_a_mixture(name: str, number: str):
    full = [{"name": "gaussian-noise", number: 0.5}, {"name": "jpeg", "options": {"quality": 30}}]
    expected = build(name, full).config
    assert build(name, json.dumps(full)).config == expected
    short = build(name, "gaussian-noise:0.5, jpeg").config.degradations
    assert [(choice.name, getattr(choice, number)) for choice in short] == [("gaussian-noise", 0.5), ("jpeg", 1)]
    assert build(name, ["gaussian-noise:0.5", full[1]]).config == expected


@pytest.mark.parametrize("name", ["one-of", "chain"])
def test_a_recipe_holds_every_option_of_every_part(name: str):
    nested = {"name": "chain", "options": {"degradations": [{"name": "jpeg", "options": {"quality": 30}}]}}
    config = build(name, ["haze", nested]).config
    haze, chain = config.model_dump(mode="json")["degradations"]
    assert haze["options"]["beta"] == [0.6, 1.8]
    expected = {"quality": [30.0, 30.0], "subsampling": "4:2:0", "shifted": 0.0}
    assert chain["options"]["degradations"][0]["options"] == expected
    assert all(part.options for part in build(name).config.degradations)
    assert build(name, config.model_dump(mode="json")["degradations"]).config == config


@pytest.mark.parametrize("name", ["one-of", "chain"])
@pytest.mark.parametrize("wrong", ["", "[", "rain:x", "rain:-1", [], [{"weigth": 1}], 3])
def test_wrong_mixtures(name: str, wrong: object):
    with pytest.raises(UsageError, match=f"degradation '{name}': degradations"):
        build(name, wrong)


def test_weights_must_not_all_be_zero():
    with pytest.raises(UsageError, match="at least one weight above 0"):
        build("one-of", "rain:0,haze:0")


def test_unknown_child():
    with pytest.raises(UnknownNameError, match="did you mean 'rain'"):
        build("one-of", "rian")
