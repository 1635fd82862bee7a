from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_runs import NOISE, tiny_settings, toy_job, write_photos

from adair_core.data.images import read_image, to_tensor
from adair_core.errors import DataError, UsageError
from adair_core.evaluation.images import unpack
from adair_core.plugins import plugins
from adair_core.specs import Condition
from adair_core.training import Data
from adair_core.training.examples import HELD_OUT_SIDE, gather, with_absolute_paths
from adair_core.training.validation import Validation


def _gathered(data: Data, **settings: object) -> tuple[object, list[str]]:
    said: list[str] = []
    return gather(data, tiny_settings(**settings), plugins().degradation(NOISE), say=said.append), said


def test_held_out_images_are_never_trained_on(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", count=30)
    examples, said = _gathered(Data(images=(photos,)), patch_size=40)
    held_out = {name for name, *_ in examples.validation}
    assert len(held_out) == 2  # 5 % of 30
    assert "28 training images; held out for validation" in said[0]
    assert all(name in said[0] for name in held_out)
    clean = {path.name: to_tensor(read_image(path)) for path in photos.iterdir()}
    turned = {
        name: {tuple(variant.flatten().tolist()) for variant in _symmetries(image[0])} for name, image in clean.items()
    }
    shown = set()
    for index in range(60):
        patch = tuple(examples.training[index, 40]["target"].flatten().tolist())
        shown |= {name for name, variants in turned.items() if patch in variants}
    assert shown == clean.keys() - held_out
    again, _ = _gathered(Data(images=(photos,)), patch_size=40, seed=5)
    assert {name for name, *_ in again.validation} == held_out


def _symmetries(image: torch.Tensor) -> list[torch.Tensor]:
    return [torch.rot90(flipped, turn, (1, 2)) for flipped in (image, image.flip(2)) for turn in range(4)]


def test_only_new_images_take_the_place_of_held_out_ones(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", count=40)
    before = {name for name, *_ in _gathered(Data(images=(photos,)))[0].validation}
    for number, path in enumerate(sorted(write_photos(tmp_path / "more", count=9).iterdir())):
        path.rename(photos / f"more{number}.png")
        after = {name for name, *_ in _gathered(Data(images=(photos,)))[0].validation}
        assert len(after) == len(before) == 2
        assert after <= before | {f"more{other}.png" for other in range(number + 1)}


def test_held_out_images_of_one_name_are_several(tmp_path: Path) -> None:
    for clip in range(20):
        write_photos(tmp_path / f"clip-{clip:02}", count=2)
    examples, said = _gathered(Data(images=(tmp_path,)))
    names = [name for name, *_ in examples.validation]
    assert names == ["clip-00/0.png", "clip-01/0.png"]
    assert "held out for validation: clip-00/0.png, clip-01/0.png; left out, as" in said[-1]


def test_pairs_of_a_held_out_scene_do_not_teach(tmp_path: Path) -> None:
    clean, rainy = write_photos(tmp_path / "clean", count=20), write_photos(tmp_path / "rainy", count=20)
    data = Data(pairs_input=rainy, pairs_target=clean)

    def gathered() -> tuple[object, list[str]]:
        said: list[str] = []
        return gather(data, tiny_settings(), None, say=said.append), said

    ((held_out, *_),) = gathered()[0].validation
    assert gathered()[1][-1] == f"19 training images; held out for validation: {held_out}"
    again = [name for name in ("3.png", "7.png") if name != held_out]
    for name in again:
        (clean / name).write_bytes((clean / held_out).read_bytes())
    examples, said = gathered()
    assert [name for name, *_ in examples.validation] == [held_out]
    assert len(examples.training.source) == 19 - len(again)
    assert said[-1].endswith(f"left out, as their clean images are copies of these: {', '.join(again)}")
    for path in clean.iterdir():  # one scene is all there is
        path.write_bytes((clean / held_out).read_bytes())
    assert len(gathered()[0].training.source) == 19


def test_large_held_out_images_are_cut_to_their_middle(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", count=1, size=HELD_OUT_SIDE + 20)
    examples, said = _gathered(Data(images=(photos,)))
    assert "1 training images; validation on the only training image, 0.png" in said[0]
    _, _, image = unpack(examples.validation[0])
    whole = to_tensor(read_image(photos / "0.png"))
    assert torch.equal(image, whole[..., 10:-10, 10:-10])


def test_a_validation_folder_leaves_all_images_for_training(tmp_path: Path) -> None:
    photos, others = write_photos(tmp_path / "photos", count=3), write_photos(tmp_path / "others", count=2, size=50)
    examples, said = _gathered(Data(images=(photos,), validation=others))
    assert len(examples.training) == 3
    assert [unpack(image)[2].shape[-1] for image in examples.validation] == [50, 50]
    assert said == [f"3 training images; validation on 2 images of {others}"]


def test_damaged_and_small_images_are_named_or_refused(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", count=4)
    (photos / "bad.png").write_bytes(b"")
    write_photos(tmp_path / "small", count=1, size=12)
    _, said = _gathered(Data(images=(photos, tmp_path / "small")))
    assert said[0].startswith("skipped 2 of 6 images")
    assert "bad.png" in said[0]
    with pytest.raises(DataError, match="strict"):
        _gathered(Data(images=(photos,), strict=True))


def test_what_does_not_fit_the_task_is_told_before_training(tmp_path: Path) -> None:
    clean, noisy = write_photos(tmp_path / "clean"), write_photos(tmp_path / "noisy")
    with pytest.raises(UsageError, match="this task makes its inputs from clean images; for real pairs"):
        _gathered(Data(pairs_input=noisy, pairs_target=clean))
    with pytest.raises(UsageError, match="expected a folder of clean validation images with it, got none"):
        _gathered(Data(images=(clean,), validation_input=noisy))
    made, _ = _gathered(Data(images=(clean,), validation=clean, validation_input=noisy))
    real = toy_job().validation.protocol.model_copy(update={"conditions": (Condition(label="real", degradation=None),)})
    with pytest.raises(UsageError, match="comes with an input of its own"):
        Validation(toy_job().validation.protocol, made.validation)
    assert Validation(real, made.validation).protocol == real
    with pytest.raises(UsageError, match="needs real pairs"):
        Validation(real, _gathered(Data(images=(clean,)))[0].validation)


def test_identity_changes_with_the_images(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", count=3)
    before = _gathered(Data(images=(photos,)))[0].identity
    assert _gathered(Data(images=(photos,)))[0].identity == before
    (photos / "0.png").unlink()
    assert _gathered(Data(images=(photos,)))[0].identity != before


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = with_absolute_paths(Data(images=(Path("a"),), validation=Path("b")))
    assert data == Data(images=(tmp_path / "a",), validation=tmp_path / "b")
