"""Tabs, their folders, and which files they may name."""

from __future__ import annotations

import os
import time

import pytest

from adair_core.demo import Limits, Sessions
from adair_core.errors import DataError


@pytest.fixture
def sessions(tmp_path) -> Sessions:
    return Sessions(tmp_path / "root", Limits(sessions=2, idle_seconds=60))


def test_only_what_a_browser_sent_is_taken(sessions, tmp_path):
    sent = sessions.uploads / "0a1b" / "photo.png"
    sent.parent.mkdir()
    sent.write_bytes(b"x")
    assert sessions.uploaded(sent) == sent.resolve()
    sessions.of("somebody")
    secret, served = tmp_path / "secret.png", next((sessions.uploads / "served").iterdir()) / "after.jpg"
    private = next((tmp_path / "root" / "private").iterdir()) / "photo.png"
    link = sent.with_name("link.png")
    for path in (secret, served, private):
        path.write_bytes(b"x")
    link.symlink_to(secret)
    for path in (
        secret,
        served,
        private,
        link,
        sent.parent / ".." / ".." / ".." / "secret.png",
        sessions.uploads,
        sent.with_name("missing.png"),
        "",
        "/etc/passwd",
        "https://example.org/photo.png",
    ):
        with pytest.raises(DataError, match="not here any more"):
            sessions.uploaded(path)


def test_a_tab_s_name_names_no_folder(sessions, tmp_path):
    sessions.of("../../elsewhere")
    folders = {path.relative_to(tmp_path / "root").parts[0] for path in (tmp_path / "root").rglob("*")}
    assert folders == {"uploads", "private"}
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_tabs_have_sessions_of_their_own_until_they_are_closed(sessions):
    first = sessions.of("a")
    assert sessions.of("a") is first
    assert sessions.of("b") is not first
    sessions.close("a")
    sessions.close("a")
    assert sessions.of("a") is not first


def test_the_quietest_tab_makes_room(sessions, tmp_path):
    first, second = sessions.of("a"), sessions.of("b")
    sessions.of("a")
    sessions.of("c")
    assert sessions.of("a") is first
    assert len(list((tmp_path / "root" / "private").iterdir())) == 2
    assert sessions.of("b") is not second


def test_a_tab_that_waits_for_its_result_is_not_quiet(tmp_path):
    now = [0.0]
    sessions = Sessions(tmp_path / "root", Limits(sessions=2, idle_seconds=60), clock=lambda: now[0])
    waiting, second = sessions.of("a"), sessions.of("b")
    with waiting._turn():
        now[0] = 100.0
        sessions.of("c")
        sessions.of("d")
        assert sessions.of("a") is waiting
        assert sessions.of("b") is not second
    assert waiting._private.exists()


def test_quiet_tabs_are_forgotten_after_a_while(tmp_path):
    now = [0.0]
    sessions = Sessions(tmp_path / "root", Limits(idle_seconds=60), clock=lambda: now[0])
    first = sessions.of("a")
    now[0] = 59.0
    sessions.of("b")
    assert sessions.of("a") is first
    now[0] = 59.0 + 61
    sessions.of("c")
    assert len(list((tmp_path / "root" / "private").iterdir())) == 1


def test_what_nobody_took_is_swept_away(sessions):
    old, new = sessions.uploads / "old" / "photo.png", sessions.uploads / "new" / "photo.png"
    left = sessions.uploads / "tmp1234"
    for path in (old, new, left):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    for path in (old.parent, left):
        os.utime(path, (time.time() - 61,) * 2)
    sessions.of("a")
    assert sorted(path.name for path in sessions.uploads.iterdir()) == ["new", "served"]


def test_in_the_end_nothing_is_left(sessions, tmp_path):
    sessions.of("a")
    sessions.of("b")
    sessions.close(None)
    assert not list((tmp_path / "root" / "private").iterdir())
    assert not list((sessions.uploads / "served").iterdir())
