"""``adair demo`` says at once what it cannot do."""

from __future__ import annotations

import socket
import sys

import pytest

from adair_core.demo.server import listening
from adair_core.errors import UsageError
from adair_core.model import AdapterCard, load
from adair_core.testing import run_program


def test_without_gradio_it_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    outcome = run_program("demo", "--adapter", folder / "denoise")
    assert outcome.exit_code == 2
    assert "pip install 'adair[demo]'" in outcome.stderr


def test_adair_itself_does_not_need_gradio(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    outcome = run_program("demo", "--help")
    assert (outcome.exit_code, outcome.stderr) == (0, "")


@pytest.fixture
def gradio(monkeypatch) -> None:
    """What is tried here ends before Gradio is imported."""
    monkeypatch.setattr("adair_core.demo.offline.find_spec", lambda name: object())


def test_a_port_that_is_taken_is_told_before_the_weights(gradio):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        outcome = run_program("demo", "--port", taken.getsockname()[1], "--adapter", "nowhere/at-all")
    assert outcome.exit_code == 2
    assert "cannot listen at 127.0.0.1:" in outcome.stderr
    assert "Address already in use; choose another --port, or --port 0" in outcome.stderr


def test_an_unknown_host_is_told():
    with pytest.raises(UsageError, match="cannot listen at no such host:80"), listening("no such host", 80):
        pass


def test_by_default_only_this_machine_is_listened_to():
    from adair_core.cli.commands.demo import command

    defaults = {parameter.name: parameter.default for parameter in command.params}
    assert defaults["host"] == "127.0.0.1"
    assert defaults["max_megapixels"] == 24


def test_adapters_of_another_base_are_refused(gradio, folder, tmp_path):
    other = load("restormer-tiny@6")
    other.add_adapter("other", "lora", {"rank": 1})
    other.save_adapter("other", tmp_path / "other", card=AdapterCard(task="denoise"))
    outcome = run_program("demo", "--port", 0, "--adapter", tmp_path / "other", "--base", folder / "tiny.safetensors")
    assert outcome.exit_code == 2
    assert "is for base restormer-tiny@6, and the page has one base, " in outcome.stderr


def test_there_must_be_something_to_offer(gradio, monkeypatch):
    monkeypatch.setattr("adair_core.demo.zoo_offers", list)
    outcome = run_program("demo", "--port", 0)
    assert outcome.exit_code == 2
    assert "the zoo has no adapters; give those that 'adair train' made: --adapter" in outcome.stderr


@pytest.mark.parametrize("option", ["--max-megapixels=0", "--max-megapixels=nan"])
def test_limits_that_let_nothing_through(gradio, option):
    outcome = run_program("demo", option, "--port", 0)
    assert outcome.exit_code == 2
    assert "limit megapixels: expected a positive number" in outcome.stderr
