import numpy as np
import pytest
import torch

from adair_core.data.pixels import from_batch, to_batch
from adair_core.errors import DataError

RNG = np.random.default_rng(0)


def values(shape, dtype):
    dtype = np.dtype(dtype)
    if dtype.kind == "u":
        return RNG.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)
    return RNG.normal(0.5, 1.0, shape).astype(dtype)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4), (1, 1, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", ">u2", ">f4"])
def test_an_array_comes_back_to_the_bit(shape, dtype):
    image = values(shape, dtype)
    batch, layout = to_batch(image)
    assert batch.shape == (1, 3, *shape[:2])
    assert batch.dtype == torch.float32
    back = from_batch(batch, layout)
    assert back.dtype == image.dtype
    assert back.shape == image.shape
    assert np.array_equal(back, image)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.bfloat16, torch.float32])
def test_a_tensor_comes_back_to_the_bit(channels, dtype):
    image = torch.from_numpy(values((2, channels, 4, 6), "float32")).clamp(0, 1)
    if not dtype.is_floating_point:
        image = (image * (255 if dtype == torch.uint8 else 65535)).to(torch.int32)
    image = image.to(dtype)
    batch, layout = to_batch(image)
    assert batch.shape == (2, 3, 4, 6)
    back = from_batch(batch, layout)
    assert back.dtype == dtype
    assert torch.equal(back, image)


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_every_level_survives(dtype, top):
    image = np.arange(top + 1, dtype=dtype).reshape(256, -1)
    batch, layout = to_batch(image)
    assert np.array_equal(batch[0, 0].double().numpy(), (image.astype(np.float64) / top).astype(np.float32))
    assert np.array_equal(from_batch(batch, layout), image)


def test_integers_are_rounded_and_clipped_and_floats_are_not():
    batch = torch.tensor([-0.5, 0.5 / 255 - 1e-4, 0.5 / 255 + 1e-4, 1.5]).view(1, 1, 1, 4).expand(1, 3, 1, 4)
    _, eight_bit = to_batch(np.zeros((1, 4, 3), np.uint8))
    assert from_batch(batch, eight_bit)[0, :, 0].tolist() == [0, 0, 1, 255]
    _, floating = to_batch(np.zeros((1, 4, 3), np.float32))
    assert np.array_equal(from_batch(batch, floating)[0, :, 0], batch[0, 0, 0].numpy())


def test_gray_is_the_mean_of_the_channels():
    _, layout = to_batch(np.zeros((1, 1), np.float32))
    back = from_batch(torch.tensor([0.1, 0.2, 0.6]).view(1, 3, 1, 1), layout)
    assert back[0, 0] == pytest.approx(0.3, abs=1e-7)


def test_alpha_is_put_aside():
    image = values((3, 4, 4), "uint8")
    batch, layout = to_batch(image)
    assert np.array_equal(from_batch(1 - batch, layout)[..., 3], image[..., 3])


def test_the_callers_image_is_not_shared():
    image = values((3, 4, 4), "float32")
    kept = image.copy()
    batch, layout = to_batch(image)
    batch.zero_()
    from_batch(batch, layout)[...] = 7
    assert np.array_equal(image, kept)


def test_views_of_all_kinds_are_taken():
    image = values((6, 8, 3), "uint8")
    image.flags.writeable = False
    for view in (image[::-1], image[:, ::-2], image.transpose(1, 0, 2), image[..., ::-1]):
        batch, layout = to_batch(view)
        assert np.array_equal(from_batch(batch, layout), view)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4), np.int32), "uint8, uint16 or floating point"),
        (np.zeros((4, 4), bool), "uint8, uint16 or floating point"),
        (np.zeros((4, 4), np.uint32), "convert it first"),
        (np.zeros((4, 4, 5), np.uint8), r"shape \(4, 4, 5\)"),
        (np.zeros(4, np.uint8), r"shape \(4,\)"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        (torch.zeros(3, 4, 4), r"shape \(3, 4, 4\)"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.int64), "torch.int64"),
        (np.full((2, 2), np.nan, np.float32), "NaN"),
        ([[1, 2]], "got list"),
    ],
)
def test_what_is_no_image_is_refused(image, words):
    with pytest.raises(DataError, match=words):
        to_batch(image)


def test_a_result_of_another_size_cannot_take_the_alpha_channel():
    _, layout = to_batch(values((3, 4, 4), "uint8"))
    with pytest.raises(DataError, match="alpha channel's size"):
        from_batch(torch.zeros(1, 3, 6, 8), layout)
    _, layout = to_batch(values((3, 4, 3), "uint8"))
    assert from_batch(torch.zeros(1, 3, 6, 8), layout).shape == (6, 8, 3)
