"""`adair restore --task a,b`: one after the other, with the options of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adair_core.data.images import read_image
from adair_core.inference import Step, restore_sequence
from adair_core.model import AdapterCard, RestorationModel, load, save_base, untrained
from adair_core.model import restoration_model as loading
from adair_core.testing import installed, run_program, write_package

SHAPE = {"dim": 4, "blocks": (1, 1, 1, 1), "heads": (1, 1, 1, 1), "refinement": 1}


@pytest.fixture(scope="module")
def adapters(base, tmp_path_factory) -> dict[str, Path]:
    """Adapters that do something, each something else; those of a super-resolution at scale 3 among them."""
    made = {}
    for value, task in ((0.05, "derain"), (-0.08, "denoise"), (0.02, "super-resolve"), (0.03, "deblur")):
        model = load(base)
        model.add_adapter(task, "lora", {"rank": 2})
        for name, parameter in model.adapter_parameters(task).items():
            if "lora_B" in name:
                parameter.data.fill_(value)
        made[task] = tmp_path_factory.mktemp(task) / "adapter"
        options = {"scale": 3} if task == "super-resolve" else {}
        card = AdapterCard(task=task, recipe={"task": {"name": task, "options": options}})
        model.save_adapter(task, made[task], card=card)
    return made


def model_with(base: Path, adapters: dict[str, Path]) -> RestorationModel:
    model = load(base)
    for name, folder in adapters.items():
        model.load_adapter(folder, name=name)
    return model


def steps(*names: str, strengths: tuple[float, ...] = (1.0, 1.0), scales: tuple[int, ...] = (1, 1)) -> list[Step]:
    parts = zip(names, strengths, scales, strict=True)
    return [Step(adapters={name: 1.0}, strength=strength, scale=scale) for name, strength, scale in parts]


def pixels(path: str | Path) -> np.ndarray:
    return read_image(Path(path)).pixels


def test_two_tasks_with_adapters_of_ones_own(adapters, base, photos, monkeypatch):
    read, install = [], loading.install_read
    monkeypatch.setattr(loading, "install_read", lambda file, *a, **k: read.append(file) or install(file, *a, **k))
    own = ["--adapter", adapters["derain"], "--adapter", adapters["denoise"]]
    outcome = run_program("restore", photos, "-o", "out", "--task", "derain,denoise", *own)
    assert outcome.exit_code == 0, outcome.stderr
    assert "adapter, then adapter 2" in outcome.stderr
    assert len(list(Path("out").iterdir())) == 3
    assert len(read) == 2  # whatever the number of images
    model = model_with(base, adapters)
    for name in ("photo0.png", "photo2.png"):
        wanted = restore_sequence(model, pixels(photos / name), steps("derain", "denoise"))
        assert np.array_equal(pixels(Path("out") / name), wanted)
        assert not np.array_equal(wanted, restore_sequence(model, pixels(photos / name), steps("denoise", "derain")))


def test_strengths_and_scale(adapters, base, photos):
    run = ["restore", photos / "photo0.png", "--task", "denoise, super-resolve"]
    run += ["--adapter", adapters["denoise"], "--adapter", adapters["super-resolve"]]
    model, image = model_with(base, adapters), pixels(photos / "photo0.png")
    for number, (options, strengths, scale) in enumerate(
        [
            ((), (1.0, 1.0), 3),  # as the adapter was trained
            (("--strength", "0.5"), (0.5, 0.5), 3),
            (("--strength", "0.5,0.25", "--scale", "2"), (0.5, 0.25), 2),
            (("--strength", "0,1"), (0.0, 1.0), 3),
        ]
    ):
        outcome = run_program(*run, *options, "-o", f"{number}.png")
        assert outcome.exit_code == 0, outcome.stderr
        wanted = restore_sequence(
            model, image, steps("denoise", "super-resolve", strengths=strengths, scales=(1, scale))
        )
        assert np.array_equal(pixels(f"{number}.png"), wanted)


def test_the_zoos_adapters_and_their_options(adapters, photos, workplace):
    source = f"""
        from pathlib import Path
        from adair_core import WeightsSpec, hookimpl

        @hookimpl
        def adair_weights():
            paths = { ({task: str(path) for task, path in adapters.items()})!r}
            def spec(name, task, **options):
                # Newer, or for more options, than the package's own.
                return WeightsSpec(name=name, task=task, options=options, version=99, kind="adapter",
                                   path=Path(paths[task]), terms="CC0", summary="x")
            return [spec("rainless", "derain", pairs=False), spec("sharp-gaussian", "deblur", kind="gaussian"),
                    spec("sharp-motion", "deblur", kind="motion"),
                    spec("x2", "super-resolve", scale=2), spec("x3", "super-resolve", scale=3)]
    """
    write_package(workplace / "site", "adair-plugin-zoo", {"zoo_plugin": source})
    run = ["restore", photos / "photo0.png", "--task"]
    with installed(workplace / "site"):
        for tasks, options, side in [
            ("derain,deblur", [], 40),
            ("derain,deblur", ["--task.kind", "motion"], 40),
            ("deblur,super-resolve", ["--task.kind", "motion", "--task.scale", "3"], 120),
            ("super-resolve,deblur", ["--scale", "2"], 80),
            ("super-resolve,super-resolve", ["--scale", "2"], 160),
        ]:
            outcome = run_program(*run, tasks, *options, "-o", "x.png", "--overwrite")
            assert outcome.exit_code == 0, outcome.stderr
            assert pixels("x.png").shape[0] == side
        assert "--task.kind" in run_program("restore", "--task", "derain,deblur", "--help").stdout
        wrong = run_program(*run, "derain,deblur", "--task.kind", "x", "-o", "y.png")
        assert wrong.exit_code == 2
        none = run_program(*run, "derain,snow", "-o", "y.png")
        assert "the zoo has no adapter for task 'snow'" in none.stderr


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        ("derain,", [], "--task: expected a task, or several with commas between them, such as derain,denoise, got"),
        (",", [], "--task: expected a task, or several"),
        ("auto,denoise", [], "--task: expected auto alone, or tasks by their names, got 'auto,denoise'"),
        ("derain,denois", [], "unknown task 'denois'; did you mean 'denoise'?"),
        ("derain,denoise", ["--blend", "1,1"], "--blend mixes adapters in one restoration, and --task names several"),
        ("derain,denoise,deblur", [], "--adapter: expected 3, one for each task (derain, denoise, deblur), or none"),
        ("derain,denoise", ["--strength", "1,1,1"], "--strength: expected a number, or 2, one for each task"),
        ("derain,denoise", ["--strength", "1,x"], "--strength: expected a number, or 2, one for each task"),
        ("derain,denoise", ["--strength", "1,-1"], "strength: expected 0"),
        ("derain,denoise", ["--scale", "2"], "--scale: expected a task that enlarges, got derain, denoise"),
        ("hybrid,super-resolve", ["--scale", "2"], "--scale: expected one task that has it, got hybrid, super-resolve"),
    ],
)
def test_wrong_requests(tasks, options, message, adapters, photos):
    own = ["--adapter", adapters["derain"], "--adapter", adapters["denoise"]]
    outcome = run_program("restore", photos / "photo0.png", "-o", "x.png", "--task", tasks, *own, *options)
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert not Path("x.png").exists()


def test_bases_alone_and_of_several_kinds(adapters, base, photos, workplace):
    run = ["restore", photos / "photo0.png", "-o", "x.png", "--task", "derain,denoise"]
    outcome = run_program(*run, "--base", base)
    assert outcome.exit_code == 2
    assert "--base: alone it does the same for each of derain, denoise" in outcome.stderr
    other = untrained("restormer", seed=1, **SHAPE)
    save_base(workplace / "other.safetensors", other.backbone, backbone=other.info.backbone)
    model = load(workplace / "other.safetensors")
    model.add_adapter("denoise", "lora", {"rank": 2})
    model.save_adapter("denoise", workplace / "foreign")
    outcome = run_program(*run, "--adapter", adapters["derain"], "--adapter", "./foreign")
    assert outcome.exit_code == 2
    assert "a sequence needs adapters of one base: " in outcome.stderr
