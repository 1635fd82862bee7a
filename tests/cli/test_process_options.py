"""--threads, ADAIR_TUNE, and the number of threads that a recipe has recorded."""

from __future__ import annotations

import os

import pytest
import torch

from adair_core.cli import process
from adair_core.testing import run_program
from adair_core.threads import Cores, usable_cpus


@pytest.fixture(autouse=True)
def tuned(monkeypatch):
    """The arguments of each call of `tune_process`, which does nothing."""
    monkeypatch.setenv("ADAIR_TUNE", "1")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(process, "cores", lambda: Cores(physical=2, busy=1))
    calls = []
    monkeypatch.setattr(process, "tune_process", lambda **arguments: calls.append(arguments))
    return calls


def test_automatic(tuned):
    process.tune(None)
    assert tuned == [{"threads": None}]


def test_opting_out(tuned, monkeypatch):
    monkeypatch.setenv("ADAIR_TUNE", "0")
    assert process.tune(None, recorded=2) is None
    assert tuned == []
    process.tune(3)
    assert tuned == [{"allocator": False, "threads": 3}]


def test_a_recorded_number_is_used_again_and_told_if_another_would_be_chosen(tuned, capsys):
    recorded = usable_cpus()
    process.tune(None, recorded=recorded)
    assert tuned == [{"threads": recorded}]
    told = capsys.readouterr().err
    if recorded == 1:
        assert told == ""
    else:
        assert told.startswith(f"computing with {recorded} threads, as the recipe did")
        assert "--threads 1 would suit this machine now: 2 cores, 1 of them busy" in told


def test_the_same_number_is_not_worth_a_word(tuned, capsys):
    process.tune(None, recorded=1)
    assert tuned == [{"threads": 1}]
    assert capsys.readouterr().err == ""


def test_explicit_numbers_win_over_a_recorded_one(tuned, monkeypatch):
    process.tune(4, recorded=1)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    process.tune(None, recorded=1)
    assert tuned == [{"threads": 4}, {"threads": None}]


def test_more_threads_than_this_machine_has_are_not_repeated(tuned):
    process.tune(None, recorded=usable_cpus() + 1)
    assert tuned == [{"threads": None}]


@pytest.mark.parametrize("command", ["train", "pretrain", "restore", "evaluate"])
def test_every_command_that_computes_has_the_option(command):
    assert "--threads" in run_program(command, "--help").stdout


def test_a_resumed_run_has_the_threads_that_it_began_with(photos, base, tuned):
    training = ("train", "--task", "denoise", "--base", base, "--data", photos, "--out", "run", "--steps", 1)
    small = ("--patch-size", 8, "--batch-size", 1, "--workers", 0, "--validate-every", 0)
    first = run_program(*training, *small)
    assert first.exit_code == 0, first.stderr
    resumed = run_program("train", "--resume", "--out", "run", "--workers", 0)
    assert resumed.exit_code == 0, resumed.stderr
    assert tuned == [{"threads": None}, {"threads": torch.get_num_threads()}]
    assert os.environ["ADAIR_TUNE"] == "1"
