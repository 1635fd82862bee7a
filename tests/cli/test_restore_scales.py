"""How many times `adair restore` enlarges: what was asked for, or what the adapters were trained for."""

from __future__ import annotations

from pathlib import Path

import pytest

from adair_core.data.images import read_image
from adair_core.model import AdapterCard, load
from adair_core.testing import run_program


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory) -> dict[str, Path]:
    """An adapter of a task that enlarges, at 3, and two of tasks that do not."""
    folder, made = tmp_path_factory.mktemp("trained"), {}
    for task, options in (("super-resolve", {"scale": 3}), ("denoise", {}), ("derain", {})):
        model = load(base)
        model.add_adapter(task, "lora", {"rank": 2})
        made[task] = folder / task
        model.save_adapter(
            task, made[task], card=AdapterCard(task=task, recipe={"task": {"name": task, "options": options}})
        )
    return made


@pytest.fixture
def run(photos):
    """Restore a picture of 40 rows; how many times as many the result has, or what went wrong."""

    def run(*words) -> int | str:
        outcome = run_program("restore", photos / "photo0.png", "-o", "x.png", "--overwrite", *words)
        return outcome.stderr if outcome.exit_code else read_image(Path("x.png")).pixels.shape[0] // 40

    return run


def test_a_blend_of_tasks_takes_the_adapter_of_the_scale(run):
    assert run("--blend", "super-resolve=1") == 2
    assert run("--blend", "super-resolve=1", "--scale", 3) == 3


def test_adapters_of_different_scales_need_to_be_told(trained, run):
    both = [word for name in ("super-resolve", "denoise") for word in ("--adapter", trained[name])]
    for words in (both, ["--adapter", trained["denoise"], "--adapter", trained["super-resolve"]]):
        assert "--scale: expected how many times to enlarge" in run(*words)
    assert "denoise: 1" in run(*both)
    assert run(*both, "--scale", 2) == 2
    assert run("--adapter", trained["derain"], "--adapter", trained["denoise"]) == 1


def test_a_scale_is_a_whole_number_from_1(base, run):
    for scale in ("0", "-2"):
        assert "--scale" in run("--base", base, "--scale", scale)
    assert run("--base", base, "--scale", 2) == 2


def test_a_degradation_in_a_sequence_enlarges_nothing(trained, run):
    adapters = ["--adapter", trained["denoise"], "--adapter", trained["derain"]]
    for name in ("gaussian-noise", "downsample"):  # the second has a scale of its own
        assert run("--task", f"denoise,{name}", *adapters) == 1


def test_a_task_does_not_change_what_an_adapter_does(trained, photos, run):
    assert "leave --task out" in run("--task", "derain", "--blend", "denoise=1")
    outcome = run_program(
        "restore", photos / "photo0.png", "-o", "y.png", "--task", "derain", "--adapter", trained["denoise"]
    )
    assert outcome.exit_code == 0
    assert "the adapter was trained for task 'denoise', and --task derain does not change it" in outcome.stderr
