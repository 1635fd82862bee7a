"""Each image gets the adapter that is chosen for it, or is left alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from adair_core.data.images import ImageFile, ImageRows, read_image, write_image
from adair_core.diagnosis import CLEAN, Diagnosis, Finding, Verdict
from adair_core.errors import DataError, UsageError
from adair_core.inference import files as files_of_inference
from adair_core.inference import plan, restore_files
from adair_core.inference.diagnosing import AdapterChooser, diagnose_image
from adair_core.inference.pages import Chosen
from adair_core.model import AdapterCard, RestorationModel, load, save_base, untrained
from adair_core.testing import installed, write_package

SHAPE = {"dim": 4, "blocks": (1, 1, 1, 1), "heads": (1, 1, 1, 1), "refinement": 1}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    model = untrained("restormer", **SHAPE)
    path = tmp_path_factory.mktemp("base") / "tiny.safetensors"
    save_base(path, model.backbone, backbone=model.info.backbone)
    return path


@pytest.fixture
def model(base) -> RestorationModel:
    """With adapters of the names ``weak`` and ``strong``."""
    made = load(base)
    for name, value in (("weak", 0.02), ("strong", 0.1)):
        made.add_adapter(name, "lora", {"rank": 2})
        for parameter_name, parameter in made.adapter_parameters(name).items():
            if "lora_B" in parameter_name:
                parameter.data.fill_(value)
    return made


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three images of one value each."""
    for value in (10, 100, 200):
        save(tmp_path / "photos" / f"{value}.png", np.full((20, 24, 3), value, np.uint8))
    return tmp_path / "photos"


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, ImageFile(pixels=pixels))


def by_brightness(image: ImageRows) -> Chosen:
    value = image.rows(0, 1).pixels.max()
    if value == 100:
        return Chosen(None, "it is gray")
    return Chosen("weak" if value < 100 else "strong", f"value {value}")


@pytest.mark.parametrize("whole", [10**9, 0], ids=["whole", "rows"])
def test_each_image_gets_its_own(model, photos, tmp_path, monkeypatch, whole):
    monkeypatch.setattr(files_of_inference, "WHOLE", whole)
    model.set_adapters(["strong"], [0.5])
    results = restore_files(model, plan([photos], tmp_path / "out"), choose=by_brightness)
    assert model.active == {"strong": 0.5}
    assert [(result.source.name, result.status) for result in results] == [
        ("10.png", "restored"),
        ("100.png", "left alone"),
        ("200.png", "restored"),
    ]
    assert [result.message for result in results] == ["value 10", "it is gray", "value 200"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["10.png", "200.png"]
    for value, adapter in ((10, "weak"), (200, "strong")):
        model.set_adapters([adapter])
        expected = model.restore(np.full((20, 24, 3), value, np.uint8))
        assert np.array_equal(read_image(tmp_path / "out" / f"{value}.png").pixels, expected)


def test_an_image_that_cannot_be_looked_at_does_not_stop_the_others(model, photos, tmp_path):
    def fails(image: ImageRows) -> Chosen:
        if image.rows(0, 1).pixels.max() == 10:
            raise DataError("is upside down")
        return by_brightness(image)

    results = restore_files(model, plan([photos], tmp_path / "out"), choose=fails)
    assert [result.status for result in results] == ["failed", "left alone", "restored"]
    assert results[0].message == f"{photos / '10.png'}: is upside down"


def test_videos_are_refused_before_anything_is_restored(model, photos, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(UsageError, match=r"expected images, where each gets its own adapter, got videos: .*clip\.mp4"):
        restore_files(model, plan([photos, tmp_path / "clip.mp4"], tmp_path / "out"), choose=by_brightness)
    assert not (tmp_path / "out").exists()


@dataclass
class Says:
    """In the place of a diagnoser: what it is told to say, and what it was shown."""

    verdict: Verdict
    finding: Finding
    seen: torch.Tensor | None = None

    def diagnose_rows(self, read, height, width) -> Diagnosis:
        self.seen = torch.cat([read(top, min(top + 7, height)) for top in range(0, height, 7)], dim=2)
        return Diagnosis(self.verdict, self.finding, 0.9, 25.0, {}, 0.5)


def test_what_is_shown_to_the_diagnoser():
    gray = np.linspace(0, 8, 30 * 11, dtype=np.float32).reshape(30, 11)
    says = Says("clean", CLEAN)
    diagnose_image(says, ImageFile(pixels=gray[:, :, None]), white=4.0)
    expected = torch.from_numpy(gray / 4).expand(1, 3, 30, 11)
    assert torch.allclose(says.seen, expected)


NOISE = Finding("noise", "denoise")


@pytest.fixture
def zoo(base, tmp_path):
    """A zoo that has an adapter for noise."""
    maker = load(base)
    maker.add_adapter("noise", "lora", {"rank": 2})
    maker.save_adapter("noise", tmp_path / "noise", card=AdapterCard(task="denoise"))
    source = f"""
        from pathlib import Path
        from adair_core import WeightsSpec, hookimpl

        @hookimpl
        def adair_weights():
            common = dict(summary="x", version=99, kind="adapter", path=Path({str(tmp_path / "noise")!r}), terms="CC0")
            return [WeightsSpec(name="own-noise", task="mask", **common)]
    """
    write_package(tmp_path / "site", "adair-plugin-zoo", {"zoo_plugin": source})
    with installed(tmp_path / "site"):
        yield


@pytest.mark.parametrize(
    ("verdict", "finding", "why"),
    [
        ("clean", CLEAN, "clean (90%)"),
        ("unknown", NOISE, "unknown; most like noise (90%); name its task to restore it"),
        (
            "wrong",
            Finding("rain of frogs", "poisson-noise"),
            "moderate rain of frogs (90%); the zoo has no adapter for that",
        ),
    ],
)
def test_when_an_image_is_left_alone(base, zoo, verdict, finding, why):
    chosen = AdapterChooser(load(base), Says(verdict, finding))(ImageFile(pixels=np.zeros((9, 9, 3), np.uint8)))
    assert chosen == Chosen(None, why)


def test_an_adapter_is_loaded_when_it_is_first_needed(base, zoo):
    model = load(base)
    choose = AdapterChooser(model, Says("wrong", Finding("missing pixels", "mask")))
    image = ImageFile(pixels=np.zeros((9, 9, 3), np.uint8))
    assert model.adapters == ()
    assert choose(image) == choose(image) == Chosen("own-noise", "moderate missing pixels (90%)")
    assert list(model.adapters) == ["own-noise"]
