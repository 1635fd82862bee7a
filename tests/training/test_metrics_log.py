from __future__ import annotations

import json
import math
import resource
import threading
import time
from pathlib import Path

import pytest
from tiny_runs import run_toy, toy_job, toy_network

from adair_core.errors import RunFolderError
from adair_core.training import StepRecord, ValidationRecord
from adair_core.training.callbacks import Run
from adair_core.training.metrics_log import MetricsLog, TensorBoard, read_metrics
from adair_core.training.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("without_pictures")


def _run(folder: RunFolder, start: int) -> Run:
    return Run(toy_job().recipe, folder.path, toy_network(), start)


def _step(number: int, loss: float = 0.5) -> StepRecord:
    return StepRecord(number, loss, 1e-3, 2.0, 0.1, 0.01)


def test_lines_of_a_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    run_toy(tmp_path, callbacks=[MetricsLog(folder)], steps=2)
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [(line["kind"], line["step"]) for line in lines] == [("step", 1), ("step", 2), ("validation", 2), ("end", 2)]
    assert lines[0]["learning_rate"] == 5e-4
    assert 0 < lines[0]["waited"] < lines[0]["seconds"]
    assert lines[2]["metric"] == "psnr"
    assert lines[2]["value"] == lines[2]["conditions"]["sigma 25"]
    assert 0 < lines[3]["waiting"] < 1


def test_a_finished_run_that_is_resumed_ends_once(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for resume in (False, True, True):
        run_toy(tmp_path, callbacks=[MetricsLog(folder)], steps=2, resume=resume)
    kinds = [line["kind"] for line in read_metrics(folder.metrics)]
    assert kinds == ["step", "step", "validation", "end"]


def test_steps_after_the_checkpoint_are_dropped_at_a_resume(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    log = MetricsLog(folder)
    log.on_start(_run(folder, 0))
    for number in (1, 2, 3):
        log.on_step(_run(folder, 0), _step(number))
    log.on_close()
    with folder.metrics.open("a") as file:
        file.write('{"kind": "step", "st')  # a killed run's last line
    log = MetricsLog(folder)
    log.on_start(_run(folder, 2))
    log.on_step(_run(folder, 2), _step(3, loss=0.25))
    log.on_close()
    assert [(line["step"], line["loss"]) for line in read_metrics(folder.metrics)] == [(1, 0.5), (2, 0.5), (3, 0.25)]


def test_a_validation_that_is_done_again_is_one_line(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for start, steps in ((0, (1, 2)), (2, (2, 4))):
        log = MetricsLog(folder)
        log.on_start(_run(folder, start))
        for step in steps:
            log.on_validation(_run(folder, start), ValidationRecord(step, "psnr", 30.0, {}, {}, True))
        log.on_close()
    assert [line["step"] for line in read_metrics(folder.metrics)] == [1, 2, 4]


def test_a_run_without_a_checkpoint_starts_its_log_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.metrics.write_text('{"kind": "step", "step": 1}\n')
    log = MetricsLog(folder)
    log.on_start(_run(folder, 0))
    log.on_close()
    assert folder.metrics.read_text() == ""


def test_numbers_that_json_does_not_have(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    log = MetricsLog(folder)
    log.on_start(_run(folder, 0))
    record = ValidationRecord(1, "psnr", math.inf, {"a": math.nan}, {"a": 1.0}, True)
    log.on_validation(_run(folder, 0), record)
    log.on_close()

    def refuse(name: str) -> None:
        raise AssertionError(name)

    line = json.loads(folder.metrics.read_text(), parse_constant=refuse)
    assert (line["value"], line["conditions"]) == ("inf", {"a": "nan"})


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    import resource

    folder = RunFolder(tmp_path)
    log = MetricsLog(folder)
    log.on_start(_run(folder, 0))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limit[1]))
    try:
        with pytest.raises(RunFolderError, match=r"metrics\.jsonl: cannot be written .*--resume"):
            log.on_step(_run(folder, 0), _step(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    log.on_close()


def test_a_full_disk_is_one_error_of_tensorboards_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, hook = RunFolder(tmp_path), threading.excepthook
    board, run = TensorBoard(folder), _run(folder, 0)
    board.on_start(run)

    def write_until_full() -> None:
        for number in range(1, 5000):
            board.on_step(run, _step(number))
            time.sleep(0.001)  # another thread writes

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(RunFolderError, match=r"events: cannot be written \(the disk is full or .*\); free space"):
            write_until_full()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        board.on_close()
    assert "Traceback" not in capsys.readouterr().err
    assert threading.excepthook is hook


def test_events_that_cannot_be_begun_are_one_error(tmp_path: Path) -> None:
    folder, hook = RunFolder(tmp_path), threading.excepthook
    folder.events.write_text("a file where the folder should be")
    board = TensorBoard(folder)
    with pytest.raises(RunFolderError, match=r"events: cannot be written \(File exists\)"):
        board.on_start(_run(folder, 0))
    board.on_close()
    assert threading.excepthook is hook


def test_tensorboard_hides_what_is_done_again(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = RunFolder(tmp_path)
    for start, steps, loss in ((0, (1, 2, 3), 0.5), (2, (3, 4), 0.25)):
        board = TensorBoard(folder)
        board.on_start(_run(folder, start))
        for number in steps:
            board.on_step(_run(folder, start), _step(number, loss))
        board.on_validation(_run(folder, start), ValidationRecord(4, "psnr", 30.0, {"sigma 25": 30.0}, {}, True))
        board.on_close()
        # TensorBoard reads files in the order of their names, which hold the second and then a number of any length.
        time.sleep(1.1)
    events = EventAccumulator(str(folder.events)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 0.5), (2, 0.5), (3, 0.25), (4, 0.25)]
    assert events.Scalars("validation/psnr/sigma_25")[-1].value == 30.0
