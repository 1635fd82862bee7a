from __future__ import annotations

import math

import pytest
import torch

from adair_core.errors import UsageError
from adair_core.training import Settings, Stage
from adair_core.training.schedule import BatchSchedule, learning_rate, samples_before, spans, split


def test_learning_rate_is_torchs_warm_up_and_cosine() -> None:
    settings = Settings(steps=50, warmup=10, learning_rate=0.3, final_learning_rate=0.01)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / 10, end_factor=1.0, total_iters=9)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        warm_up.step()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=39, eta_min=0.01)
    for _ in range(40):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cosine.step()
    assert [learning_rate(step, settings) for step in range(50)] == pytest.approx(rates, rel=1e-12)


def test_learning_rate_ends_at_the_final_one_and_starts_above_zero() -> None:
    settings = Settings(steps=7, warmup=0, learning_rate=1.0, final_learning_rate=0.25)
    assert learning_rate(0, settings) == 1.0
    assert learning_rate(6, settings) == pytest.approx(0.25)
    assert learning_rate(0, Settings(steps=100, warmup=4, learning_rate=1.0)) == 0.25


def test_warm_up_longer_than_the_run_and_a_single_step() -> None:
    assert learning_rate(2, Settings(steps=3, warmup=50, learning_rate=1.0)) == 1.0
    assert math.isfinite(learning_rate(0, Settings(steps=1, warmup=0)))


STAGED = Settings(steps=10, accumulate=2, stages="0:8:8,0.5:16:4,0.8:24:6")


def test_spans_and_samples_are_those_of_counting_step_by_step() -> None:
    by_step = [STAGED.stage_at(step) for step in range(10)]
    assert [stage for steps, stage in spans(STAGED) for _ in steps] == by_step
    assert spans(STAGED)[1] == (range(5, 8), Stage(start=0.5, patch_size=16, batch_size=4))
    for step in range(11):
        assert samples_before(step, STAGED) == sum(stage.batch_size for stage in by_step[:step])


def test_a_stage_may_begin_late_and_stages_may_be_in_any_order() -> None:
    settings = Settings(steps=10, patch_size=5, batch_size=3, stages="0.5:7:2,0.2:6:1")
    assert [(len(steps), stage.patch_size) for steps, stage in spans(settings)] == [(2, 5), (3, 6), (5, 7)]


@pytest.mark.parametrize("processes", [1, 2])
def test_processes_share_every_sample_once_and_in_order(processes: int) -> None:
    schedules = [list(BatchSchedule(STAGED, process=rank, processes=processes)) for rank in range(processes)]
    number = 0
    for step in range(10):
        stage = STAGED.stage_at(step)
        parts = [part for schedule in schedules for part in schedule[2 * step : 2 * step + 2]]
        samples = [sample for part in parts for sample in part]
        assert samples == [(number + position, stage.patch_size) for position in range(stage.batch_size)]
        number += stage.batch_size


def test_a_resumed_schedule_is_the_rest_of_the_whole_one() -> None:
    whole = list(BatchSchedule(STAGED))
    resumed = BatchSchedule(STAGED, start=6)
    assert list(resumed) == whole[12:]
    assert len(resumed) == len(whole[12:])


def test_parts_of_a_batch_that_cannot_be_split_evenly() -> None:
    parts = [split(10, part, 4) for part in range(4)]
    assert [position for part in parts for position in part] == list(range(10))
    assert {len(part) for part in parts} == {2, 3}


def test_too_small_a_batch_is_refused() -> None:
    with pytest.raises(UsageError, match=r"batch size: expected at least 6, .* 3 processes x 2 parts, got 4"):
        BatchSchedule(STAGED, processes=3)


@pytest.mark.parametrize("text", ["0.5", "a:b:c", "0:8:8:8"])
def test_stages_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match="stages"):
        Settings(stages=text)
