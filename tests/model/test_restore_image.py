from __future__ import annotations

import numpy as np
import pytest
import torch

from adair_core.errors import AdairError, DataError, UsageError
from adair_core.model import SmallerTilesWarning


def network(model, array):
    """What the network makes of (H, W, 3) values, in float64 and with no code of the model's own image path."""
    batch = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1))[None]).double()
    with torch.no_grad():
        output = model.double()(batch)[0].permute(1, 2, 0).numpy()
    model.float()
    return output


def random_array(shape, dtype=np.float64):
    values = np.random.default_rng(0).random(shape)
    return (values * np.iinfo(dtype).max).astype(dtype) if np.issubdtype(dtype, np.integer) else values.astype(dtype)


@pytest.mark.parametrize(("dtype", "scale"), [(np.uint8, 255), (np.uint16, 65535)])
def test_integer_arrays(adapted, dtype, scale):
    image = random_array((13, 9, 3), dtype)
    restored = adapted.restore(image)
    assert restored.dtype == dtype
    wanted = network(adapted, image / scale).clip(0, 1) * scale
    assert np.abs(restored - wanted).max() < 0.51


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_arrays_are_not_clipped(adapted, dtype):
    image = (random_array((13, 9, 3)) * 3 - 1).astype(dtype)
    restored = adapted.restore(image)
    assert restored.dtype == dtype
    np.testing.assert_allclose(restored, network(adapted, image), rtol=1e-4, atol=1e-5)
    assert restored.min() < 0
    assert restored.max() > 1


def test_gray_arrays(adapted):
    image = random_array((13, 9))
    restored = adapted.restore(image)
    assert restored.shape == (13, 9)
    wanted = network(adapted, np.repeat(image[..., None], 3, axis=2)).mean(axis=2)
    np.testing.assert_allclose(restored, wanted, rtol=1e-4, atol=1e-5)


def test_what_alpha_hides_reaches_no_visible_pixel(adapted):
    """Neither its colour nor a fringe: the network sees what is around it, and it comes back as it was."""
    image = random_array((24, 20, 4), np.uint8)
    image[..., 3] = 255
    image[6:18, 5:15, 3] = 0
    restored = []
    for hidden in (0, 255):
        image[6:18, 5:15, :3] = hidden
        restored.append(adapted.restore(image))
        assert np.array_equal(restored[-1][..., 3], image[..., 3])
        assert (restored[-1][6:18, 5:15, :3] == hidden).all()
    visible = image[..., 3] > 0
    assert np.array_equal(restored[0][visible], restored[1][visible])
    assert not np.array_equal(restored[0][visible], image[visible])


def test_alpha_is_put_aside(adapted):
    image = random_array((13, 9, 4), np.uint8)
    image[..., 3] = image[..., 3].clip(min=4)  # everything is visible
    restored = adapted.restore(image)
    assert np.array_equal(restored[..., 3], image[..., 3])
    assert np.array_equal(restored[..., :3], adapted.restore(np.ascontiguousarray(image[..., :3])))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
def test_tensors(adapted, images, dtype):
    batch = (images * 255).round() if dtype == torch.uint8 else images
    restored = adapted.restore(batch.to(dtype))
    assert restored.dtype == dtype
    assert not restored.requires_grad
    expected = adapted(batch / 255 if dtype == torch.uint8 else batch).detach()
    if dtype == torch.uint8:
        expected = expected.clamp(0, 1) * 255
        assert (restored - expected).abs().max() < 0.51
    else:
        torch.testing.assert_close(restored, expected.to(dtype), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_strength_zero_returns_the_bits_without_the_network(adapted, dtype):
    image = random_array((13, 9, 3), dtype)
    calls = adapted.backbone.calls
    restored = adapted.restore(image, strength=0)
    assert adapted.backbone.calls == calls
    assert restored.tobytes() == image.tobytes()
    restored[:] = 1
    assert restored.tobytes() != image.tobytes()


@pytest.mark.parametrize("strength", [0.3, 1.0, 1.7])
def test_strength_is_a_dial(adapted, strength):
    image = random_array((13, 9, 3), np.float32)
    full = network(adapted, image)
    np.testing.assert_allclose(
        adapted.restore(image, strength=strength), image + strength * (full - image), rtol=1e-4, atol=1e-5
    )


def test_tiles_change_nothing_for_a_small_receptive_field(adapted):
    image = random_array((150, 100, 3), np.float32)
    whole = adapted.restore(image, tile=None)
    calls = adapted.backbone.calls
    # The network looks 3 pixels far: within a quarter of the overlap.
    np.testing.assert_allclose(adapted.restore(image, tile=48, overlap=16), whole, rtol=1e-5, atol=1e-6)
    assert adapted.backbone.calls > calls + 6


def test_small_tiles_need_no_overlap_of_ones_own(adapted):
    image = random_array((70, 20, 3), np.float32)
    np.testing.assert_allclose(adapted.restore(image, tile=32), adapted.restore(image, tile=None), rtol=1e-5, atol=1e-6)
    with pytest.raises(UsageError, match="half a tile"):
        adapted.restore(image[:8], tile=32, overlap=17)  # although it fits into one tile


def test_tiles_of_a_half_precision_network_are_blended_in_full_precision(model):
    # 101/256 is exact in bfloat16, and most of its products with the weights of a blend are not.
    model.bfloat16().backbone.forward = lambda x: x
    image = np.full((90, 40, 3), 101 / 256, np.float32)
    np.testing.assert_allclose(model.restore(image, tile=32, overlap=16), image, rtol=1e-6)


def test_the_network_sees_one_tile_at_a_time(model):
    moved = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: moved.append(inputs[0].untyped_storage().nbytes()))
    model.double().restore(random_array((200, 200, 3)), tile=32)
    assert max(moved) <= 3 * 32 * 32 * 8


LACKING = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


class LittleMemory:
    """A network on a device that has room for so many pixels."""

    def __init__(self, network, room, error=LACKING):
        self.network, self.room, self.error, self.sizes = network, room, error, []

    def __call__(self, x):
        self.sizes.append(tuple(x.shape))
        if x.shape[0] * x.shape[2] * x.shape[3] > self.room:
            raise self.error
        return self.network(x)


@pytest.mark.parametrize("tile", [None, 512])
def test_where_memory_runs_out_the_tiles_get_smaller(adapted, tile):
    image = random_array((300, 340, 3), np.float32)
    whole = adapted.restore(image, tile=None)
    little = LittleMemory(adapted.backbone.forward, 150 * 170)
    adapted.backbone.forward = little
    with pytest.warns(SmallerTilesWarning, match="memory ran out; trying again in tiles of") as said:
        restored = adapted.restore(image, tile=tile)
    # 340 -> 160 fits; or 512 -> 256 does not yet, 128 does. The network looks 3 pixels far.
    assert len(said) == (1 if tile is None else 2)
    np.testing.assert_allclose(restored, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError(
            "MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB, max allowed: 9 GB)"
        ),
        RuntimeError("Invalid buffer size: 9.75 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
    ids=str,
)
def test_however_memory_runs_out_the_tiles_get_smaller(adapted, error):
    image = random_array((150, 200, 3), np.float32)
    whole = adapted.restore(image, tile=None)
    adapted.backbone.forward = LittleMemory(adapted.backbone.forward, 128 * 128, error)
    with pytest.warns(SmallerTilesWarning, match="trying again in tiles of 128 pixels"):
        restored = adapted.restore(image, tile=None)
    np.testing.assert_allclose(restored, whole, rtol=1e-5, atol=1e-6)


def test_where_memory_runs_out_a_batch_is_restored_one_by_one(adapted):
    batch = torch.rand(3, 3, 40, 40)
    whole = adapted.restore(batch)
    adapted.backbone.forward = LittleMemory(adapted.backbone.forward, 2000)
    torch.testing.assert_close(adapted.restore(batch), whole)  # and no warning: tests turn those into errors


def test_where_memory_is_too_small_for_any_tile_the_error_remains(adapted):
    adapted.backbone.forward = LittleMemory(adapted.backbone.forward, 100)
    with pytest.warns(SmallerTilesWarning), pytest.raises(torch.OutOfMemoryError):
        adapted.restore(random_array((300, 300, 3)), tile=None)


def test_other_failures_are_not_taken_for_lack_of_memory(adapted):
    def fail(x):
        raise RuntimeError("shapes cannot be multiplied")

    adapted.backbone.forward = fail
    with pytest.raises(RuntimeError, match="multiplied"):
        adapted.restore(random_array((300, 300, 3)))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision(adapted, precision):
    image = random_array((60, 70, 3), np.float32)
    exact = network(adapted, image)
    seen = []
    adapted.backbone.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].dtype))
    mixed, full = (adapted.restore(image, precision=each) for each in (precision, "float32"))
    assert mixed.dtype == np.float32
    assert seen == [torch.float32] * 2  # what the network is given keeps its precision
    error = {each: np.abs(result - exact).max() for each, result in (("mixed", mixed), ("full", full))}
    assert 10 * error["full"] < error["mixed"] < (0.03 if precision == "bfloat16" else 0.004)


def test_unknown_precision_is_refused(adapted):
    with pytest.raises(UsageError, match="one of float32, bfloat16, float16, got 'half'"):
        adapted.restore(random_array((9, 9, 3)), precision="half")


def test_a_network_that_overflows_is_an_error(model):
    with torch.no_grad():
        model.backbone.leave.bias.fill_(float("nan"))
    for dtype in (np.uint8, np.float32):
        with pytest.raises(AdairError, match="finite values"):
            model.restore(random_array((9, 9, 3), dtype))


def test_the_mode_is_put_back(adapted, images):
    adapted.train()
    adapted.restore(images)
    assert adapted.training
    adapted.eval()
    adapted.restore(images)
    assert not adapted.training


@pytest.mark.parametrize("strength", [-0.1, float("nan"), float("inf")])
def test_wrong_strength(adapted, images, strength):
    with pytest.raises(UsageError, match="strength"):
        adapted.restore(images, strength=strength)


def test_wrong_images(adapted):
    for image in ([[0.5]], np.zeros((4, 4, 5)), np.zeros((4, 4, 3), np.int32), np.full((4, 4, 3), np.nan)):
        for strength in (0, 1):
            with pytest.raises(DataError):
                adapted.restore(image, strength=strength)


def test_the_backbones_type_is_used(adapted, images):
    adapted.bfloat16()
    restored = adapted.restore(images)
    assert restored.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(restored, adapted(images.bfloat16()).float(), rtol=0, atol=0)
