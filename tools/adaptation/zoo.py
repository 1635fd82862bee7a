"""The adapters that come with the package: how each is trained and measured, and how it gets there.

An entry is trained, stored as the package holds it with the tiles that suit it, and only then measured, beside the
frozen base alone; the card has these numbers. A version never changes meaning: an adapter that is trained anew, or
restores in other tiles, gets the next one.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from adair_core.errors import AdairError
from adair_core.evaluation import Report
from adair_core.evaluation.statistics import Statistic
from adair_core.evaluation.tile_choice import LARGEST, choose_tile
from adair_core.model import AdapterCard, fingerprint, load
from adair_core.model.adapter_files import AdapterFile, read_adapter
from adair_core.model.weights_file import to_storage
from adair_core.specs import Choice
from adair_core.training.adapter_training import held_out
from adair_core.training.recipe import AdapterRecipe, Settings
from adaptation.package_index import add, newest
from adaptation.runs import Measurement, Place, Run, perform, portable, weights_of
from adaptation.tasks import SCENES, TASKS, StudiedTask, TestSet, clean_images

TERMS = "research use: several of its training sets are for non-commercial research"
STORED = "float16"
METRICS = ("psnr", "ssim")


@dataclass(frozen=True)
class Entry:
    """An adapter of the zoo.

    Attributes:
        name: in the zoo, and of the studied task that it is for.
        summary: one line for tables.
        limits: what its card says that it was not made for, and what it was seen to fail at.
        options: of adair's task by which it is chosen among the task's adapters.
        settings: training settings that differ from `SETTINGS`.
        damage: options of the task in training alone, where it learns more than it is measured on.
        seen: what was known of its test set when its recipe was settled; empty = nothing.
        also: sets that it is measured on besides those of the task.
        whole: whether it restores whole images, however much better it does in tiles.
        before: settings, as `settings`, of the trainings on synthetic damage before the one on pairs, each from the
            last one's weights; none for most.
    """

    name: str
    summary: str
    limits: str
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    damage: Mapping[str, Any] = field(default_factory=dict)
    seen: str = ""
    also: tuple[TestSet, ...] = ()
    whole: bool = False
    before: tuple[Mapping[str, Any], ...] = ()

    @property
    def task(self) -> StudiedTask:
        """What it learns, and where it is measured."""
        return TASKS[self.name]


ADAPTER = Choice(name="lora", options={"rank": 16})
SETTINGS: Mapping[str, Any] = {
    "steps": 2000,
    "batch_size": 8,
    "patch_size": 64,
    "optimizer": "muon",  # docs/base.md, "What keeps LoRA behind full fine-tuning"
    "learning_rate": 1e-2,
    "flat_share": 0.05,
    "gray_share": 0.1,
    "precision": "bfloat16",
    "workers": 0,
    "device": "cpu",
    "validate_every": 250,
}

_SYNTHETIC = "trained on synthetic damage only"
_LARGE_PATCHES: Mapping[str, Any] = {"patch_size": 96, "batch_size": 4}
_WHOLE: Mapping[str, Any] = {"flat_share": 0, "gray_share": 0}
"""Where the damage is the whole picture's, an exact grey in it is no border, and its colours tell."""
ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            "denoise",
            "removes Gaussian noise of unknown strength, sigma up to 55",
            f"{_SYNTHETIC}, the same in every pixel and independent of its neighbours; real-denoise is for cameras' "
            "noise",
            settings={"steps": 3000, "stages": "0:128:2,0.5:192:1", "learning_rate": 3e-3},
            damage={"sigma": [0, 55], "shared": 0.15, "stored": 0.25},
            seen="2,000 steps at a rate of 1e-2, the first with patches of 64, had 31.23 dB on CBSD68 at sigma 25, and "
            "the base alone, which last learned just this, 31.24; tiles of 128 pixels had been seen to take it to "
            "31.30 and Kodak24 from 32.08 to 32.17 when its tiles were chosen, on training images held out",
            also=(TestSet("Kodak24"),),
        ),
        Entry(
            "real-denoise",
            "removes camera noise from finished pictures",
            f"{_SYNTHETIC}; of strong noise coarse grains are left",
            settings={"learning_rate": 3e-3},
            whole=True,  # in tiles a photo of the night sky kept more grain in one than in the next, which is seen
            seen="with the noise of a sensor alone and AdamW, a rate of 1e-2 had 35.07 dB on CC15, and 1e-3 35.47; the "
            "colour matrix and the camera's own denoising were added for what is known of cameras, before any figure "
            "with them",
        ),
        Entry("gaussian-deblur", "removes Gaussian blur", _SYNTHETIC, {"kind": "gaussian"}, _LARGE_PATCHES),
        Entry(
            "motion-deblur",
            "removes the blur of a shaken camera",
            f"{_SYNTHETIC}; it sharpens edges after a short shake, and leaves most of a long one",
            {"kind": "motion"},
            _LARGE_PATCHES,
        ),
        Entry(
            "derain",
            "removes rain streaks",
            "trained on 33 pairs, whose streaks are synthetic; of real rain it takes the fine streaks only in part, "
            "and leaves drops and mist",
            settings={**_LARGE_PATCHES, "learning_rate": 5e-3},
            seen="a first training had 29.96 dB on Rain100L, below the base alone; its rate was then chosen on "
            "training pairs held out",
            also=(TestSet("Rain100L", pairs=True, rgb=True),),
            before=(_LARGE_PATCHES,),  # docs/training.md, "Start from a trained adapter"
        ),
        Entry(
            "dehaze",
            "removes haze",
            "trained on 42 pairs of rooms, whose haze is synthetic; it takes pale surfaces that are near for haze and "
            "darkens them, and darkens a photo that has no haze",
            settings={**_WHOLE, "steps": 1600, "stages": "0:128:4,0.25:256:1,0.6:448:1", "learning_rate": 3e-3},
            seen="the patches grow because its first version was seen on SOTS indoor to do better in tiles than whole; "
            "a training on pairs alone at a rate of 1e-2 had 21.43 dB there, and 26.91 on pairs held out of training; "
            "on a base that had last learned noise alone, with 1,000 steps on synthetic haze before, it had 22.77, and "
            "with 2,000 22.46; its synthetic haze was then chosen on training pairs of ten rooms held out; with the "
            "first 3,000 steps of it alone it had 23.78, and more were added because the rooms held out had gained "
            "from more",
            damage={"airlight": [0.9, 1.0], "tint": [0, 0.02]},
            before=(
                {**_WHOLE, "steps": 3000, "stages": "0:128:4,0.5:256:1"},
                {**_WHOLE, "steps": 2500, "patch_size": 256, "batch_size": 1, "learning_rate": 5e-3},
            ),
        ),
        *(
            Entry(
                f"super-resolve-x{scale}",
                f"enlarges {scale} times",
                "trained on images that were reduced bicubically, without noise or JPEG artefacts; hybrid is for those",
                {"scale": scale},
                _LARGE_PATCHES,
                also=(TestSet("Kodak24"),),
            )
            for scale in (2, 3, 4)
        ),
        Entry(
            "dejpeg",
            "removes JPEG artefacts of unknown quality, 10 to 90",
            f"{_SYNTHETIC}; at the lowest qualities smooth areas keep some of their steps",
            seen="a training with AdamW at a rate of 1e-2 lost on held-out images what it had learned in its first "
            "steps, and had 27.07 dB on Kodak24 at quality 10",
            also=(TestSet("classic5"),),
        ),
        Entry(
            "low-light",
            "brightens and denoises",
            "trained on 60 pairs of one camera",
            settings={**_LARGE_PATCHES, **_WHOLE, "steps": 800, "learning_rate": 3e-3},
            before=({**_LARGE_PATCHES, **_WHOLE, "steps": 1000},),
            seen="a first training had 19.58 dB on LOL eval15; its rate was then chosen on training pairs of "
            "other scenes, and its length: 2,000 steps had 21.38 dB on held-out pairs after 750 and 19.79 at the end, "
            "and 20.53 on LOL eval15; on a base that had last learned noise alone, a training on pairs alone had 19.30",
        ),
        Entry("hybrid", "enlarges small, noisy JPEG photos 2 times", _SYNTHETIC, {"scale": 2}, _LARGE_PATCHES),
    )
}


def training(entry: Entry, place: Place, base: str) -> Run:
    """The run that trains an entry, and what it starts from."""
    task, labels = entry.task, {"part": "zoo", "task": entry.name}
    recipe = AdapterRecipe(
        data=task.data(place.data, place.out),
        settings=Settings(**{**SETTINGS, **entry.settings}),
        base=base,
        adapter=ADAPTER,
        task=Choice(name=task.task, options={**task.options, **entry.damage}),
    )
    after: tuple[Run, ...] = ()
    start: dict[str, str] = {}
    for number, settings in enumerate(entry.before, 1):
        synthetic = {
            "data": clean_images(place.data),
            "settings": Settings(**{**SETTINGS, **settings}),
            "task": Choice(name=task.task, options={**task.options, **entry.damage, "pairs": False}),
            **start,
        }
        run = Run(f"{entry.name}/synthetic-{number}", recipe.model_copy(update=synthetic), base, (), labels, after)
        after, start = (run,), {"start_from": str(weights_of(run, place))}
    return Run(f"{entry.name}/trained", recipe.model_copy(update=start), base, (), labels, after)


def make(entry: Entry, place: Place, base: str) -> Path:
    """Train and measure an entry, or go on where that stopped.

    Returns:
        Folder of the adapter, with its card.
    """
    run = training(entry, place, base)
    last = perform(run, place)["training"]
    before = [perform(each, place)["training"] for each in _earlier(run)]
    trained = weights_of(run, place)
    card = AdapterCard(
        task=entry.task.task,
        recipe=portable(read_adapter(trained).card.recipe or {}, place),
        notes=_notes(entry, last, before),
    )
    return _measured(entry, place, base, trained, card)


def measure(entry: Entry, place: Place, base: str, package: Path) -> Path:
    """Measure an entry as it is published anew, such as after a change of how images are restored.

    Returns:
        Folder of the adapter, with its card.

    Raises:
        AdairError: it is not published, or `place` holds another adapter of that name.
    """
    version, known = newest(package, entry.name)
    if not version:
        raise AdairError(f"{entry.name}: not published yet; run and publish first")
    card = read_adapter(known).card
    return _measured(entry, place, base, known, replace(card, notes=f"{card.notes.rpartition(_PARAGRAPH)[0]}{_ALONE}"))


def _measured(entry: Entry, place: Place, base: str, weights: Path, card: AdapterCard) -> Path:
    """Store an entry as the package does, choose its tiles on images that its training held out, and measure it.

    Args:
        entry: what it is.
        place: where.
        base: that it is for.
        weights: folder of the adapter.
        card: task, recipe and notes.
    """
    stored = place.folder(entry.name) / "adapter"
    if not (stored / "adapter_model.safetensors").exists():
        tile = None if entry.whole else _suited_tile(entry, place, base, weights)
        _store(weights, stored, base, replace(card, tile=tile))
    there = read_adapter(stored)
    if not _holds(there, read_adapter(weights)):
        raise AdairError(f"{stored}: holds another adapter than {weights}; give another --out")
    card = replace(card, tile=there.card.tile)
    tiles = () if card.tile is None else ("--tile", str(card.tile))
    measured = Run(
        f"{entry.name}/measured",
        None,
        base,
        tuple(Measurement(entry.task, test) for test in (*entry.task.tests, *entry.also)),
        {"part": "zoo", "task": entry.name},
        restore=("--adapter", str(stored), *tiles),
    )
    alone = replace(measured, name=f"{entry.name}/frozen", restore=tiles)
    for each in (measured, alone):
        perform(each, place)
    protocols = dict.fromkeys(_report(place, measured, each).protocol.name for each in measured.measurements)
    _store(weights, stored, base, replace(card, metrics=_rows(place, measured, alone), protocol=", ".join(protocols)))
    return stored


def _suited_tile(entry: Entry, place: Place, base: str, weights: Path) -> int | None:
    recipe = training(entry, place, base).recipe
    assert isinstance(recipe, AdapterRecipe)
    model = load(base)
    model.load_adapter(weights)
    return choose_tile(model, *held_out(recipe, side=LARGEST)).side


def _holds(stored: AdapterFile, weights: AdapterFile) -> bool:
    wanted = to_storage(weights.tensors, STORED, where=str(weights.folder))
    return fingerprint(wanted) == fingerprint(stored.tensors)


def _restores_as(one: AdapterFile, other: AdapterFile) -> bool:
    return one.fingerprint == other.fingerprint and one.card.tile == other.card.tile


def _earlier(run: Run) -> list[Run]:
    """The trainings before a run, the first one first."""
    return [found for each in run.after for found in (*_earlier(each), each)]


def publish(entry: Entry, place: Place, package: Path) -> str | None:
    """Put an entry into the package, as its next version.

    Args:
        entry: that was made.
        place: where.
        package: folder of the zoo with its ``index.json``.

    Returns:
        Its name with the version; ``None`` if the newest version restores with these weights and tiles already: it
        gets the card.

    Raises:
        AdairError: it was not made yet.
    """
    source = place.folder(entry.name) / "adapter"
    if not (source / "adapter_model.safetensors").exists() or place.result(f"{entry.name}/measured") is None:
        raise AdairError(f"{entry.name}: not trained and measured yet; run first")
    version, known = newest(package, entry.name)
    # The file's own bytes hold the card, too. With other tiles it restores otherwise, and is another version.
    if version and _restores_as(read_adapter(known), read_adapter(source)):
        shutil.copytree(source, known, dirs_exist_ok=True)
        return None
    name = f"{entry.name}@{version + 1}"
    shutil.copytree(source, package / name)
    add(
        package,
        name=entry.name,
        version=version + 1,
        kind="adapter",
        path=name,
        task=entry.task.task,
        options=dict(entry.options),
        summary=entry.summary,
        terms=TERMS,
    )
    return name


def _store(trained: Path, folder: Path, base: str, card: AdapterCard) -> None:
    model = load(base)
    name = model.load_adapter(trained)
    model.save_adapter(name, folder, card=card, dtype=STORED)


def _report(place: Place, run: Run, each: Measurement) -> Report:
    report = Report.from_json((place.folder(run) / each.name / "report.json").read_text(encoding="utf-8"))
    return report.with_scene(SCENES.get(each.test.name))


def _rows(place: Place, measured: Run, alone: Run) -> list[dict[str, str | int | float | None]]:
    """A row for each set and condition: input, frozen base and adapter, the last with its 95 % interval."""
    rows: list[dict[str, str | int | float | None]] = []
    for each in measured.measurements:
        ours, base = _report(place, measured, each), _report(place, alone, each)
        for condition in ours.conditions:
            row: dict[str, str | int | float | None] = {"set": each.test.title, "condition": condition}
            for metric in METRICS:
                statistic = ours.statistic(metric, condition=condition)
                row |= {
                    f"{metric} input": _rounded(ours.mean(metric, condition=condition, side="input")),
                    f"{metric} base alone": _rounded(base.mean(metric, condition=condition)),
                    metric: _rounded(statistic.mean),
                    f"{metric}, 95 %": _interval(statistic),
                }
            rows.append({**row, "images": len({found.image for found in ours.rows})})
    return rows


def _rounded(value: float) -> float:
    return round(value, 4)


def _interval(statistic: Statistic) -> str:
    return f"{statistic.low:.4g} to {statistic.high:.4g}"


def _notes(entry: Entry, last: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> str:
    task = entry.task
    clean = [] if task.pairs and not entry.before else [path.name for path in clean_images(Path()).images]
    without = f" without {' and '.join(task.left_out)}, whose scenes are in the test set" if task.left_out else ""
    images = [*clean, *([f"the pairs of {task.pairs}{without}"] if task.pairs else [])]
    others = f"The pairs that it is measured on are others{', in a split of our own' if task.own_split else ''}. "
    return (
        f"Limits: {entry.limits}.\n\n"
        f"Training images: {', '.join(images)}. {others if task.pairs else ''}{_blindness(entry)}\n\n"
        f"{_duration(last, before)}"
        f"Terms: {TERMS}. They are not those of the code.\n\n"
        f"{_ALONE}"
    )


_PARAGRAPH = "`base alone` is the frozen base"
_ALONE = (
    f"{_PARAGRAPH} without an adapter, in the same tiles if the adapter has some; intervals are over the images of a "
    "set, or over its scenes where it has several images of some."
)


def _duration(last: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> str:
    """How long it trained, and when it was nearly as good; its paragraph."""
    cores = "one core" if last["environment"]["threads"] == 1 else f"{last['environment']['threads']} cores"
    synthetic = "".join(f" after {_amount(each)} on synthetic damage" for each in reversed(before))
    near = ""
    if "near_steps" in last:
        near = (
            f" After {last['near_steps']:,} steps{' of its last training' if before else ''}, "
            f"{last['near_seconds'] / 60:.1f} minutes, it was within 0.1 dB of its last PSNR on training images that "
            "are held out."
        )
    return f"Training: {_amount(last)}{synthetic}, on {cores} of a CPU.{near}\n\n"


def _amount(training: Mapping[str, Any]) -> str:
    return f"{training['steps']:,} steps in {training['seconds'] / 60:.1f} minutes"


def _blindness(entry: Entry) -> str:
    if not entry.seen:
        return "Nothing of a test set was trained on or chosen by."
    return (
        f"Nothing of a test set was trained on, but its figures were known when the recipe was settled: {entry.seen}."
    )
