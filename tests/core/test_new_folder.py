"""Folders for results, and what is in their way."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from adair_core.errors import UsageError
from adair_core.new_folder import check_folder, make_folder


def test_a_folder_is_made_with_those_that_it_is_in(tmp_path: Path) -> None:
    check_folder(tmp_path / "a/b")
    assert not (tmp_path / "a").exists()
    make_folder(tmp_path / "a/b")
    make_folder(tmp_path / "a/b")
    assert (tmp_path / "a/b").is_dir()


def test_a_link_to_a_folder_is_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    check_folder(tmp_path / "link/x")
    make_folder(tmp_path / "link/x")
    assert (tmp_path / "x").is_dir()


@pytest.mark.parametrize("inside", ["", "x/y"])
def test_a_link_to_nothing_is_told(tmp_path: Path, inside: str) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    wanted = "expected a folder, got a symbolic link to nowhere, which is not there; make the folder nowhere"
    with pytest.raises(UsageError, match=f"link: {wanted}"):
        check_folder(tmp_path / "link" / inside)
    with pytest.raises(NotADirectoryError) as caught:
        make_folder(tmp_path / "link" / inside)
    assert caught.value.strerror.startswith(wanted)
    assert caught.value.filename == str(tmp_path / "link")


@pytest.mark.parametrize("inside", ["", "x/y"])
def test_a_file_is_told(tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file: expected a folder, got a file; name another folder"):
        check_folder(tmp_path / "file" / inside)
    with pytest.raises(NotADirectoryError, match="expected a folder, got a file"):
        make_folder(tmp_path / "file" / inside)


@contextlib.contextmanager
def not_root() -> Iterator[None]:
    """Nobody's rights, if the tests have root's, who may write everywhere."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.parametrize("inside", ["", "x/y"])
def test_a_folder_that_is_only_read_is_told_before_the_work(inside: str) -> None:
    with tempfile.TemporaryDirectory() as name:  # which others than its owner can reach
        folder = Path(name)
        folder.chmod(0o555)
        with (
            not_root(),
            pytest.raises(UsageError, match=f"{folder}: expected a folder in which files can be made"),
        ):
            check_folder(folder / inside)
        folder.chmod(0o777)
        with not_root():
            check_folder(folder / inside)
