"""What counts as the same image and the same data set."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from adair_core import Condition, DataSet, Protocol
from adair_core.data.images import ImageFile, write_image
from adair_core.errors import DataError
from adair_core.evaluation import evaluate, evaluation_images
from adair_core.evaluation.checksums import data_set_checksum, data_set_remark, image_checksum, known_data_set
from adair_core.evaluation.report import Report

SIZE = {"size": lambda restored, target: float(restored.numel())}


def pixels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)).permute(2, 0, 1)[None]


def measure(images: object, **options: object) -> Report:
    protocol = Protocol.model_validate({"name": "p", "conditions": [Condition(label="real")], **options})
    return evaluate(lambda x: x, protocol, images, metrics=SIZE)


def test_checksum_is_that_of_the_16_bit_values() -> None:
    image = pixels()
    wide = image.astype("<u2") * 257
    expected = hashlib.blake2b(b"5x7:" + wide.transpose(2, 0, 1).tobytes(), digest_size=16).hexdigest()
    assert image_checksum(tensor(image)) == expected
    assert image_checksum(tensor(image.astype(np.uint16) * 257)) == expected


def test_every_pixel_and_the_shape_count() -> None:
    image = pixels()
    other = image.copy()
    other[4, 6, 2] ^= 1
    wide = image.reshape(7, 5, 3)
    assert len({image_checksum(tensor(each)) for each in (image, other, wide)}) == 3


def test_a_lossless_copy_in_another_format_is_the_same(tmp_path: Path) -> None:
    for suffix in (".png", ".tif"):
        (tmp_path / suffix).mkdir()
        write_image(tmp_path / suffix / f"x{suffix}", ImageFile(pixels=pixels()))
    checksums = {image_checksum(evaluation_images(tmp_path / suffix)[0][1]) for suffix in (".png", ".tif")}
    assert checksums == {image_checksum(tensor(pixels()))}


def pairs(count: int = 2) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    return [(f"{index}", tensor(pixels(index)), tensor(pixels(index + 10))) for index in range(count)]


def test_reports_record_images_as_they_were_read() -> None:
    report = measure(pairs(), multiple_of=4)
    assert [image.name for image in report.images] == ["0", "1"]
    assert report.images[0].input == image_checksum(tensor(pixels(0)))
    assert report.images[0].target == image_checksum(tensor(pixels(10)))
    assert report.software["torch"] == torch.__version__


def test_order_and_inputs_count_for_a_data_set_and_names_do_not() -> None:
    usual = measure(pairs()).images
    renamed = [(f"renamed{index}", *rest) for index, (_, *rest) in enumerate(pairs())]
    assert data_set_checksum(measure(renamed).images) == data_set_checksum(usual)
    assert data_set_checksum(measure(pairs()[::-1]).images) != data_set_checksum(usual)
    swapped = [(name, target, given) for name, given, target in pairs()]
    assert data_set_checksum(measure(swapped).images) != data_set_checksum(usual)


def test_data_sets_that_the_protocol_names_are_recognised() -> None:
    known = DataSet(name="Two", images=2, checksum=data_set_checksum(measure(pairs()).images))
    found = measure(pairs(), data_sets=[known])
    assert known_data_set(found.protocol, found.images) == known
    assert "data set: Two, checksum verified" in found.remarks()
    assert '"name": "Two"' in found.to_json()
    changed = pairs()
    changed[1][2][0, 0, 0, 0] = 0.5
    other = measure(changed, data_sets=[known])
    assert known_data_set(other.protocol, other.images) is None
    assert "as many images as Two, but other pixels or another order" in data_set_remark(other.protocol, other.images)
    fewer = measure(pairs(1), data_sets=[known])
    assert "none of those that the protocol knows (Two)" in data_set_remark(fewer.protocol, fewer.images)


def test_a_protocol_may_refuse_all_other_images_before_anything_is_restored() -> None:
    known = DataSet(name="Two", images=2, checksum=data_set_checksum(measure(pairs()).images))
    strict = {"data_sets": [known], "known_data_only": True}
    assert len(measure(pairs(), **strict).rows) == 2
    with pytest.raises(
        DataError, match=rf"expected the images of Two \(2 images, {known.checksum}\), got 1 image with"
    ):
        measure(pairs(1), **strict)
