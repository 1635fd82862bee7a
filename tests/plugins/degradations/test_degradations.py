"""What every built-in degradation keeps, beyond the public contract: bits, draws, channels, workers."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from adair_core.degradation import Degradation
from adair_core.plugins import plugins
from adair_core.specs import Choice
from adair_plugins.degradations import MODULES

NAMES = [module.SPEC.name for module in MODULES]


def build(name: str, **options: object) -> Degradation:
    return plugins().degradation(Choice(name=name, options=options))


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def clean(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def test_all_fourteen_are_offered():
    expected = {
        *("gaussian-noise", "poisson-noise", "gaussian-blur", "motion-blur", "downsample", "jpeg", "rain", "snow"),
        *("haze", "low-light", "mask", "chain", "one-of", "camera-noise"),
    }
    assert set(NAMES) == expected
    assert expected <= set(plugins().degradations)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_same_bits_alone_and_in_a_batch(name: str, channels: int, dtype: torch.dtype):
    # Odd sizes: the ends of vectorised loops, which round differently, fall on other pixels in a batch.
    degradation = build(name)
    for height, width in ((1, 1), (2, 5), (19, 31)):
        images = clean(5, channels, height, width, dtype=dtype)
        together = degradation(images, seeded(*range(5)))
        assert together.shape == images.shape
        assert together.dtype == dtype
        for i in range(5):
            assert torch.equal(degradation(images[i : i + 1], seeded(i))[0], together[i]), f"{height} x {width}"


@pytest.mark.parametrize("name", NAMES)
def test_does_something_that_depends_on_the_generator(name: str):
    images = clean(1, 3, 48, 48)
    degraded = [build(name)(images, seeded(seed)) for seed in range(12)]
    assert sum(not torch.equal(image, images) for image in degraded) >= 10
    distinct = {image.numpy().tobytes() for image in degraded}
    # Downsampling has nothing to draw but one of three scales.
    assert len(distinct) == (3 if name == "downsample" else 12) or name in ("chain", "one-of")
    assert len(distinct) >= 3


@pytest.mark.parametrize("name", NAMES)
def test_same_bits_on_one_and_two_threads(name: str):
    images, threads = clean(1, 3, 150, 230), torch.get_num_threads()
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(build(name)(images, seeded(3)))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


class Degraded(Dataset[torch.Tensor]):
    """One image under every degradation."""

    def __len__(self) -> int:
        return len(NAMES)

    def __getitem__(self, index: int) -> torch.Tensor:
        return build(NAMES[index])(clean(1, 3, 40, 40), seeded(index))[0]


# Python 3.12 warns of any fork of a process with threads, as torch's loader forks.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_same_bits_in_loader_workers():
    dataset = Degraded()
    # Here first: what a codec leaves behind in this process, such as its threads, must not stop the workers.
    here = torch.stack([dataset[i] for i in range(len(dataset))])
    there = torch.cat(list(DataLoader(dataset, batch_size=4, num_workers=1, timeout=120)))
    assert torch.equal(here, there)


# Fields that say how much is drawn: how many things, and how far beyond the picture their centres may lie.
SIZES = {
    "rain": {"layers", "length", "width"},
    "snow": {"layers", "size", "motion"},
    "mask": {"scratches", "holes"},
}
FIXED = [
    (module.SPEC.name, field)
    for module in MODULES
    for field in module.SPEC.config.model_fields
    if field not in SIZES.get(module.SPEC.name, ()) and field not in ("degradations", "subsampling", "small")
]


@pytest.mark.parametrize(("name", "field"), FIXED)
def test_fixing_a_parameter_does_not_shift_other_draws(name: str, field: str):
    usual = getattr(build(name).config, field)
    states = []
    for options in ({}, {field: usual[:1] if isinstance(usual, tuple) else 1 - usual}):
        generator = torch.Generator().manual_seed(5)
        build(name, **options).draw((3, 9, 9), generator)
        states.append(generator.get_state())
    assert torch.equal(*states)


@pytest.mark.parametrize("name", ["rain", "snow", "mask"])
def test_counts_are_whole_numbers(name: str):
    from adair_core.errors import UsageError

    field = "scratches" if name == "mask" else "layers"
    with pytest.raises(UsageError, match="whole numbers"):
        build(name, **{field: "1.5,3"})
    assert getattr(build(name, **{field: "2,3"}).config, field) == (2, 3)
