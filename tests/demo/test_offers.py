"""What can be chosen, and what a diagnosis chooses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from adair_core.data.images import ImageFile
from adair_core.demo import AUTO, Offer, Restorer, offer_of, zoo_offers
from adair_core.demo.offers import told_apart
from adair_core.diagnosis import CLEAN, Diagnoser, Diagnosis, Finding, Verdict
from adair_core.errors import DataError
from adair_core.model import load
from adair_core.testing import installed, write_package

IMAGE = ImageFile(pixels=np.zeros((9, 9, 3), np.uint8))
NOISE = Finding("noise", "denoise")


def test_an_adapter_s_folder_says_what_it_is_for(folder):
    noise, large = offer_of(str(folder / "denoise")), offer_of(str(folder / "enlarge"))
    assert (noise.label, noise.task, noise.scale) == ("denoise", "denoise", 1)
    assert (large.label, large.task, large.scale) == ("super-resolve", "super-resolve", 2)
    assert noise.fits(load(folder / "tiny.safetensors").info)
    assert not noise.fits(load("restormer-tiny").info)


def test_the_zoo_offers_the_newest_adapter_for_each_task_and_options(folder, tmp_path):
    source = f"""
        from pathlib import Path
        from adair_core import WeightsSpec, hookimpl

        def made(name, version, adapter, task, **options):
            path = Path({str(folder)!r}) / adapter
            common = dict(summary="made up", kind="adapter", terms="CC0")
            return WeightsSpec(name=name, version=version, path=path, task=task, options=options, **common)

        @hookimpl
        def adair_weights():
            return [
                made("own", 98, "denoise", "mask"),
                made("own", 99, "denoise", "mask"),
                made("times-2", 99, "enlarge", "super-resolve", scale=2),
                made("times-4", 99, "enlarge", "super-resolve", scale=4),
            ]
    """
    write_package(tmp_path / "site", "adair-plugin-zoo", {"zoo_plugin": source})
    with installed(tmp_path / "site"):
        offers = {offer.label: (offer.adapter, offer.scale) for offer in zoo_offers()}
    expected = {
        "mask": ("own@99", 1),
        "super-resolve, scale 2": ("times-2@99", 2),
        "super-resolve, scale 4": ("times-4@99", 4),
    }
    assert expected.items() <= offers.items()


def test_labels_are_told_apart():
    offers = told_apart([Offer("denoise", "a"), Offer("denoise", "b"), Offer("deblur", "c"), Offer("deblur", "c")])
    assert [offer.label for offer in offers] == ["denoise (a)", "denoise (b)", "deblur"]


def test_adapters_are_loaded_when_first_needed_and_switched(folder, restorer):
    assert restorer.labels == ["denoise", "super-resolve"]
    assert restorer.model.adapters == ()
    pixels = np.linspace(0, 1, 20 * 24 * 3, dtype=np.float32).reshape(20, 24, 3)
    for offer in (*restorer.offers, *restorer.offers):
        alone = load(folder / "tiny.safetensors")
        alone.load_adapter(offer.adapter)
        with restorer.using(offer) as model:
            assert np.array_equal(model.restore(pixels), alone.restore(pixels))
    assert len(restorer.model.adapters) == 2


@dataclass
class Says:
    """In the place of a diagnoser."""

    verdict: Verdict
    finding: Finding

    def diagnose_rows(self, read, height, width) -> Diagnosis:
        return Diagnosis(self.verdict, self.finding, 0.9, 25.0, {}, 0.5)


@pytest.mark.parametrize(
    ("verdict", "finding", "label", "said"),
    [
        ("wrong", NOISE, "denoise", "Found moderate noise (90%)."),
        ("wrong", Finding("haze", "dehaze"), None, "Found moderate haze (90%), for which there is no adapter here."),
        ("clean", CLEAN, None, "Nothing found that needs restoring: clean (90%). Choose"),
        ("unknown", NOISE, None, "Not sure what is wrong: unknown; most like noise (90%)."),
    ],
)
def test_a_diagnosis_chooses(folder, restorer, verdict, finding, label, said):
    automatic = Restorer(restorer.model, restorer.offers, Says(verdict, finding))
    assert automatic.labels[0] == AUTO
    offer, text = automatic.choose(AUTO, IMAGE)
    assert offer is None if label is None else offer.label == label
    assert text.startswith(said)


def test_without_a_diagnoser_people_choose(restorer):
    with pytest.raises(DataError, match="choose what to restore"):
        restorer.choose(AUTO, IMAGE)


def test_a_diagnosis_takes_the_zoo_s_adapter(folder, zoo, session, photo):
    restorer = Restorer(load(folder / "tiny.safetensors"), zoo_offers(), Diagnoser.load("diagnoser"))
    session.receive(photo)
    shown = session.restore(restorer, AUTO, 1.0)
    assert shown.text.startswith("Found ")
    assert " noise (95%). Restored with denoise in " in shown.text  # 1 / (1 + exp(-3)) = 0.953
    assert list(restorer.model.adapters) == ["demo-0"]
