"""Areas of one exact colour on training patches, beside the patches without them."""

import numpy as np
import pytest
import torch
from PIL import Image

from adair_core.data.flat_areas import DARK, FlatArea
from adair_core.data.patches import PatchPairs
from adair_core.data.seeds import generator
from adair_core.data.sources import CleanImages, PairedImages
from adair_core.degradation import Degradation

COUNT = 400
SIZE = 12


class Noise(Degradation):
    """Changes every value."""

    def draw(self, shape, generator):
        return {"noise": 0.1 + torch.rand(shape, generator=generator)}

    def degrade(self, images, draws):
        return images + torch.stack([draw["noise"] for draw in draws])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for index in range(3):
        values = np.random.default_rng(index).integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(values).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def both(folder):
    """Samples with an area each, and the same without."""
    source = CleanImages.from_folders([folder])
    with_area, plain = (PatchPairs(source, seed=4, degradation=Noise(), flat_share=share) for share in (1, 0))
    return [(with_area[index, SIZE], plain[index, SIZE]) for index in range(COUNT)]


def test_an_area_is_a_rectangle_of_one_colour_and_all_else_is_as_without_it(both):
    for sample, plain in both:
        changed = (sample["target"] != plain["target"]).any(0)
        rows, columns = changed.any(1).nonzero().ravel(), changed.any(0).nonzero().ravel()
        top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
        colours = sample["target"][:, top:bottom, left:right].flatten(1)
        assert torch.equal(colours, colours[:, :1].expand_as(colours))  # or a pixel outside has changed
        steps = colours[:, 0] * 255
        torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)
        outside = sample["input"].clone()
        outside[:, top:bottom, left:right] = plain["input"][:, top:bottom, left:right]
        assert torch.equal(outside, plain["input"])


def test_half_of_the_areas_are_exact_and_half_are_damaged_like_the_photo(both):
    exact = 0
    for sample, plain in both:
        changed = (sample["target"] != plain["target"]).any(0)
        added = (sample["input"] - sample["target"])[:, changed]
        noise = (plain["input"] - plain["target"])[:, changed]
        if not added.any():
            exact += 1
        else:
            torch.testing.assert_close(added, noise, atol=1e-6, rtol=0)
    assert abs(exact / COUNT - 0.5) < 0.1  # 4 deviations


def test_borders_whole_patches_and_colours_of_every_kind():
    areas = [FlatArea.draw(SIZE, generator(0, index)) for index in range(2000)]
    sides = [(area.top, area.bottom, area.left, area.right) for area in areas]
    assert all(0 <= top < bottom <= SIZE and 0 <= left < right <= SIZE for top, bottom, left, right in sides)
    assert (0, SIZE, 0, SIZE) in sides
    assert {top for top, *_ in sides} == {left for _, _, left, _ in sides} == set(range(SIZE))
    assert {bottom for _, bottom, *_ in sides} == {right for *_, right in sides} == set(range(1, SIZE + 1))
    steps = [tuple((area.colour * 255).round().int().ravel().tolist()) for area in areas]
    dark = [colour for colour in steps if len(set(colour)) == 1 and colour[0] <= DARK]
    light = [colour for colour in steps if len(set(colour)) == 1 and colour[0] >= 255 - DARK]
    assert {colour[0] for colour in dark} == set(range(DARK + 1))
    assert {255 - colour[0] for colour in light} == set(range(DARK + 1))
    assert len(dark) / 2000 == pytest.approx(1 / 3, abs=0.05)
    assert len(light) / 2000 == pytest.approx(1 / 3, abs=0.05)


def test_the_share(folder):
    source = CleanImages.from_folders([folder])
    some, plain = (PatchPairs(source, seed=1, degradation=Noise(), flat_share=share) for share in (0.25, 0))
    changed = sum(not torch.equal(some[index, 8]["target"], plain[index, 8]["target"]) for index in range(COUNT))
    assert changed / COUNT == pytest.approx(0.25, abs=0.09)


def test_pairs_have_areas_that_are_exact_in_both_images(folder):
    source = PairedImages(folder, folder)
    with_area, plain = (PatchPairs(source, seed=2, flat_share=share) for share in (1, 0))
    for index in range(20):
        sample = with_area[index, SIZE]
        assert torch.equal(sample["input"], sample["target"])
        assert not torch.equal(sample["target"], plain[index, SIZE]["target"])
