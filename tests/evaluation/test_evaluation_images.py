"""Evaluating the images of a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from adair_core.data.images import ImageFile, write_image
from adair_core.errors import DataError
from adair_core.evaluation import evaluation_images


def save(path: Path, *, value: int = 0, channels: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((4, 6, channels), value, dtype=np.uint8)
    pixels[0, 0] = 255
    write_image(path, ImageFile(pixels=pixels))
    return path


def test_clean_images_come_in_sorted_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "sub/0.webp"):
        save(tmp_path / name, value=51)
    images = evaluation_images(tmp_path)
    assert [image[0] for image in images] == ["a.png", "b.png", "sub/0.webp"]
    name, target = images[0]
    assert target.shape == (1, 3, 4, 6)
    assert target[0, :, 1, 1].tolist() == pytest.approx([0.2] * 3)
    assert [image[0] for image in images[1:]] == ["b.png", "sub/0.webp"]
    assert len(evaluation_images(tmp_path, limit=2)) == 2


def test_gray_images_become_rgb(tmp_path: Path) -> None:
    save(tmp_path / "a.png", value=51, channels=1)
    assert torch.equal(evaluation_images(tmp_path)[0][1][:, 0], evaluation_images(tmp_path)[0][1][:, 2])


def test_images_are_read_when_asked_for(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", value=51)
    images = evaluation_images(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"a\.png"):
        images[0]


def test_unusable_images_are_all_named_before_anything_is_restored(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes()[:50])
    with pytest.raises(DataError, match=r"2 of 3 images cannot be used: .*b\.png.*c\.png"):
        evaluation_images(tmp_path)
    assert len(evaluation_images(tmp_path, limit=1)) == 1


def test_pairs_of_unequal_size_are_named(tmp_path: Path) -> None:
    save(tmp_path / "in" / "x.png")
    write_image(tmp_path / "x.png", ImageFile(pixels=np.zeros((4, 7, 3), np.uint8)))
    (tmp_path / "out").mkdir()
    (tmp_path / "x.png").rename(tmp_path / "out" / "x.png")
    with pytest.raises(DataError, match=r"unequal size \(1\).*in/x\.png \(6 x 4\) and .*out/x\.png \(7 x 4\)"):
        evaluation_images(tmp_path / "out", tmp_path / "in")


def test_pairs_are_matched_by_stem(tmp_path: Path) -> None:
    save(tmp_path / "in" / "x.webp", value=51)
    save(tmp_path / "out" / "x.png", value=102)
    name, degraded, target = evaluation_images(tmp_path / "out", tmp_path / "in")[0]
    assert name == "x.png"
    assert degraded[0, 0, 1, 1].item() == pytest.approx(0.2)
    assert target[0, 0, 1, 1].item() == pytest.approx(0.4)


def test_images_without_a_partner_are_listed(tmp_path: Path) -> None:
    save(tmp_path / "in" / "x.png")
    save(tmp_path / "in" / "only-in.png")
    save(tmp_path / "out" / "x.png")
    save(tmp_path / "out" / "only-out.png")
    with pytest.raises(DataError) as caught:
        evaluation_images(tmp_path / "out", tmp_path / "in")
    assert "only-in" in str(caught.value)
    assert "only-out" in str(caught.value)


def test_two_inputs_of_one_stem_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "in" / "x.png")
    save(tmp_path / "in" / "x.webp")
    save(tmp_path / "out" / "x.png")
    with pytest.raises(DataError, match=r"x\.webp.* the same name as .*x\.png"):
        evaluation_images(tmp_path / "out", tmp_path / "in")


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_missing_and_empty_folders(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=folder):
        evaluation_images(tmp_path / folder)
