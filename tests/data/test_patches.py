import multiprocessing.util
import tempfile

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch.nn.functional import conv2d
from torch.utils.data import DataLoader

from adair_core.data.patches import PatchPairs
from adair_core.data.sources import CleanImages, PairedImages
from adair_core.data.workers import worker_context
from adair_core.degradation import Degradation, uniform
from adair_core.errors import DataError, UsageError

SIZES = [(20, 23), (24, 18), (19, 22), (17, 17), (21, 24)]


class NoisyBlur(Degradation):
    """Random numbers and arithmetic, as the real ones have."""

    def draw(self, shape, generator):
        return {"sigma": uniform((0, 0.2), generator), "noise": torch.randn(shape, generator=generator)}

    def degrade(self, images, draws):
        kernel = torch.full((3, 1, 3, 3), 1 / 9)
        noise = torch.stack([draw["sigma"] * draw["noise"] for draw in draws])
        return conv2d(images, kernel, padding=1, groups=3) + noise


class Identity(Degradation):
    def draw(self, shape, generator):
        return {}

    def degrade(self, images, draws):
        return images


@pytest.fixture(autouse=True)
def _temporary_folder(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    # Chosen once for the process: its sockets need a short path, and a folder that outlives this test.
    multiprocessing.util.get_temp_dir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


def coordinates(height, width, image):
    """An image whose every pixel says where it is: (row, column, image)."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, image)], axis=2).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for index, size in enumerate(SIZES):
        Image.fromarray(coordinates(*size, index)).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def source(folder):
    return CleanImages.from_folders([folder])


def levels(tensor):
    """(3, P, P) in [0, 1] -> (P, P, 3) of 255."""
    return (tensor * 255).round().to(torch.int64).permute(1, 2, 0).numpy()


def symmetries(patch):
    turned = [np.rot90(patch, quarters) for quarters in range(4)]
    return turned + [np.fliplr(each) for each in turned]


def test_a_patch_is_a_turned_or_mirrored_window(source):
    samples = PatchPairs(source, seed=0, degradation=Identity())
    corners, found = {image: set() for image in range(len(SIZES))}, set()
    for index in range(500):
        target = levels(samples[index, 16]["target"])
        image = int(target[0, 0, 2])
        top, left = target[..., 0].min(), target[..., 1].min()
        window = coordinates(*SIZES[image], image)[top : top + 16, left : left + 16]
        (symmetry,) = [number for number, each in enumerate(symmetries(window)) if np.array_equal(each, target)]
        found.add(symmetry)
        corners[image].add((int(top), int(left)))
    assert found == set(range(8))
    # every row and column of windows is drawn, up to the edge
    for image, (height, width) in enumerate(SIZES):
        assert {top for top, _ in corners[image]} == set(range(height - 15))
        assert {left for _, left in corners[image]} == set(range(width - 15))


def test_every_epoch_shows_every_image_once_in_an_order_of_its_own(source):
    samples = PatchPairs(source, seed=0, degradation=Identity())
    shown = [int(levels(samples[index, 8]["target"])[0, 0, 2]) for index in range(40)]
    epochs = [tuple(shown[start : start + 5]) for start in range(0, 40, 5)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len(set(epochs)) > 4
    assert len(samples) == 5


def equal(one, other):
    same = torch.equal(one["input"], other["input"]) and torch.equal(one["target"], other["target"])
    return same and int(one["index"]) == int(other["index"])


def test_a_sample_is_a_function_of_seed_and_index(folder, source):
    samples = PatchPairs(source, seed=5, degradation=NoisyBlur())
    first = [samples[index, 16] for index in range(12)]
    torch.manual_seed(1)
    again = PatchPairs(CleanImages.from_folders([folder], cache_bytes=0), seed=5, degradation=NoisyBlur())
    for index in reversed(range(12)):
        torch.rand(3)
        assert equal(again[index, 16], first[index])
    other = PatchPairs(source, seed=6, degradation=NoisyBlur())
    assert not any(torch.equal(other[index, 16]["input"], first[index]["input"]) for index in range(12))


def test_sampling_leaves_the_global_generators_alone(source):
    samples = PatchPairs(source, seed=5, degradation=NoisyBlur())
    state, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()
    samples[3, 16]
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(legacy, np.random.get_state()[1])


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")  # on one core
def test_workers_and_prefetching_change_nothing(source):
    samples = PatchPairs(source, seed=5, degradation=NoisyBlur())
    batches = [[(index, 8 if index < 12 else 16) for index in range(start, start + 4)] for start in range(0, 24, 4)]
    expected = [sample for batch in batches for sample in (samples[key] for key in batch)]
    torch.manual_seed(99)  # what the loader seeds its workers with
    loader = DataLoader(
        samples, batch_sampler=batches, num_workers=2, prefetch_factor=3, multiprocessing_context=worker_context()
    )
    loaded = [{key: batch[key][row] for key in batch} for batch in loader for row in range(4)]
    assert len(loaded) == 24
    assert all(equal(one, other) for one, other in zip(loaded, expected, strict=True))


def test_types_and_ranges(source):
    sample = PatchPairs(source, seed=0, degradation=NoisyBlur())[7, 16]
    assert sample["index"] == 7
    for name in ("input", "target"):
        assert sample[name].shape == (3, 16, 16)
        assert sample[name].dtype == torch.float32
        assert sample[name].is_contiguous()
    assert sample["target"].min() >= 0
    assert sample["target"].max() <= 1


@pytest.mark.parametrize(("dtype", "scale"), [("uint16", 65535), ("float32", 1)])
def test_deep_and_gray_images(tmp_path, dtype, scale):
    pixels = (np.random.default_rng(0).random((8, 8)) * scale).astype(dtype)
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="minisblack")
    target = PatchPairs(CleanImages([tmp_path / "x.tif"]), seed=0, degradation=Identity())[0, 8]["target"]
    assert torch.equal(target[0], target[1])
    assert torch.equal(target[0], target[2])
    expected = np.sort((pixels.astype(np.float64) / scale).astype(np.float32).ravel())
    assert np.array_equal(np.sort(target[0].numpy().ravel()), expected)


def test_floats_are_clipped_to_the_unit_interval(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.array([[-1, 2], [0.5, 1]], np.float32), photometric="minisblack")
    target = PatchPairs(CleanImages([tmp_path / "x.tif"]), seed=0, degradation=Identity())[0, 2]["target"]
    assert sorted(target[0].ravel().tolist()) == [0, 0.5, 1, 1]


def test_pairs_are_cut_alike(tmp_path):
    for kind, offset in (("input", 100), ("target", 0)):
        (tmp_path / kind).mkdir()
        for index, size in enumerate(SIZES):
            Image.fromarray(coordinates(*size, index) + np.uint8(offset)).save(tmp_path / kind / f"{index}.png")
    samples = PatchPairs(PairedImages(tmp_path / "input", tmp_path / "target"), seed=0)
    for index in range(20):
        sample = samples[index, 16]
        assert np.array_equal(levels(sample["input"]), levels(sample["target"]) + 100)


def test_the_next_image_takes_the_place_of_a_damaged_one(folder, source):
    plain = PatchPairs(source, seed=0, degradation=Identity())
    shown = [int(levels(plain[index, 8]["target"])[0, 0, 2]) for index in range(10)]
    tifffile.imwrite(folder / "2.tif", coordinates(19, 22, 2), photometric="rgb")
    (folder / "2.tif").write_bytes((folder / "2.tif").read_bytes()[:900])
    (folder / "2.png").unlink()
    damaged = CleanImages.from_folders([folder])
    assert damaged.survey.rejected == ()
    for _ in range(2):
        samples = PatchPairs(damaged, seed=0, degradation=Identity())
        replaced = [int(levels(samples[index, 8]["target"])[0, 0, 2]) for index in range(10)]
        for start in (0, 5):
            epoch = shown[start : start + 5]
            after = epoch[(epoch.index(2) + 1) % 5]
            assert replaced[start : start + 5] == [after if image == 2 else image for image in epoch]
    assert [rejected.path.name for rejected in damaged.rejected()] == ["2.tif"]


def test_nothing_that_can_be_decoded(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", coordinates(40, 40, 0), photometric="rgb")
    (tmp_path / "x.tif").write_bytes((tmp_path / "x.tif").read_bytes()[:900])
    samples = PatchPairs(CleanImages([tmp_path / "x.tif"]), seed=0, degradation=Identity())
    with pytest.raises(DataError, match=r"none of 1 images can be decoded; the last: .*x\.tif"):
        samples[0, 8]


def test_a_patch_larger_than_the_image(source):
    samples = PatchPairs(source, seed=0, degradation=Identity())
    with pytest.raises(DataError, match="at least 64 x 64"):
        samples[0, 64]


def test_clean_images_need_a_degradation(source):
    with pytest.raises(UsageError, match="clean images need a degradation"):
        PatchPairs(source, seed=0)[0, 8]


class Noise(Degradation):
    def draw(self, shape, generator):
        return {"noise": torch.randn(shape, generator=generator)}

    def degrade(self, images, draws):
        return images + torch.stack([draw["noise"] for draw in draws])


def test_a_gray_image_has_gray_noise_and_a_coloured_one_has_not(tmp_path):
    """As in the files that people restore: a gray file has one noise, whatever number of channels the network sees."""
    (tmp_path / "data").mkdir()
    gray = np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)
    for mode, is_gray in (("L", True), ("RGB", False)):
        file = tmp_path / "data" / "0.png"
        Image.fromarray(gray).convert(mode).save(file)
        sample = PatchPairs(CleanImages([file]), seed=0, degradation=Noise())[0, 16]
        assert sample["input"].shape == sample["target"].shape == (3, 16, 16)
        assert torch.equal(sample["target"][0], sample["target"][1])
        assert torch.equal(sample["input"][0], sample["input"][1]) == is_gray


def test_a_share_of_the_samples_is_their_luma(tmp_path, folder):
    source = CleanImages.from_folders([folder])
    some, plain = (PatchPairs(source, seed=1, degradation=Noise(), gray_share=share) for share in (0.25, 0))
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(3, 1, 1)
    changed = 0
    for index in range(400):
        one, other = some[index, 8], plain[index, 8]
        if torch.equal(one["target"], other["target"]):
            assert torch.equal(one["input"], other["input"])
            continue
        changed += 1
        for side in ("input", "target"):
            luma = (other[side].double() * weights).sum(0).expand(3, -1, -1)
            torch.testing.assert_close(one[side].double(), luma, atol=1e-6, rtol=0)
            assert torch.equal(one[side][0], one[side][2])
    assert changed / 400 == pytest.approx(0.25, abs=0.09)


def test_a_gray_image_in_gray_is_itself(tmp_path):
    file = tmp_path / "gray.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)).save(file)
    source = CleanImages([file])
    always, never = (PatchPairs(source, seed=1, degradation=Noise(), gray_share=share)[0, 16] for share in (1, 0))
    assert all(torch.equal(always[side], never[side]) for side in ("input", "target"))
