"""Whole files or none: under errors, full disks, races and long names."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from adair_core.atomic_file import remove_abandoned, remove_leftovers, replacing, write_atomically


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [KeyError, OSError, KeyboardInterrupt])
def test_the_old_file_stays_if_the_writer_fails(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("new")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["file"]


def test_the_old_file_stays_if_the_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


def test_the_old_file_stays_if_the_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write_atomically(path, b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(path)  # and not that of the temporary file
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


def test_only_durable_files_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append((tmp_path / "file").exists()))
    with replacing(tmp_path / "file", durable=False) as temporary:
        temporary.write_bytes(b"x")
    assert flushed == []
    (tmp_path / "file").unlink()
    write_atomically(tmp_path / "file", b"x")
    assert flushed == [False, True]  # the content before it has its name, the name afterwards


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_name_that_was_taken_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool) -> None:
    path = tmp_path / "file"

    def refuse(source: Path, target: Path) -> None:
        raise OSError(95, "Operation not supported")

    def write() -> None:
        with replacing(path, overwrite=False) as temporary:
            temporary.write_text("ours")
            path.write_text("theirs")

    if not hard_links:
        monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(FileExistsError):
        write()
    assert path.read_text() == "theirs"
    assert names_in(tmp_path) == ["file"]
    with replacing(tmp_path / "free", overwrite=False) as temporary:
        temporary.write_text("ours")
    assert (tmp_path / "free").read_text() == "ours"
    assert names_in(tmp_path) == ["file", "free"]


def test_files_have_the_usual_permissions_whatever_wrote_them(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"x")
    with replacing(tmp_path / "ours") as temporary:
        temporary.unlink()
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "🌧" * 63])
def test_names_as_long_as_the_file_system_allows(tmp_path: Path, name: str) -> None:
    write_atomically(tmp_path / name, b"x")
    assert (tmp_path / name).read_bytes() == b"x"


def test_what_killed_processes_left(tmp_path: Path) -> None:
    with replacing(tmp_path / "killed") as temporary:
        left = temporary.name
    for name in (left, "mine.writing", ".mine"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == [".mine", "killed", "mine.writing"]


KILLED = """
import os, pathlib, signal, sys
from adair_core.atomic_file import replacing
with replacing(pathlib.Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_only_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.b.png")], check=False)
    assert killed.returncode == -9
    (left,) = names_in(tmp_path)
    others = [".a.png.1.ab.writing", ".a.png.00000000-1.ab.writing", ".writing", "x.writing"]  # old, of another machine
    for name in others:
        (tmp_path / name).touch()
    with replacing(tmp_path / "mine.png"):
        assert remove_abandoned(tmp_path) == 1
        assert left not in names_in(tmp_path)
    assert names_in(tmp_path) == sorted([*others, "mine.png"])
