from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adair_core.errors import RunFolderError
from adair_core.training.run_folder import RunFolder, write_json, write_text

LOCK = "import fcntl, sys; f = open(sys.argv[1], 'a+'); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"


@contextmanager
def _file_size_limit(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_folder_that_another_process_uses(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.claim(resume=False):
        write_json(folder.recipe, {})
    code = (
        f"{LOCK}; f.truncate(0); f.write('process 1 on mars'); f.flush(); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(folder.path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(RunFolderError, match=r"run is in use by process 1 on mars; wait .* another --out"),
            folder.claim(resume=True),
        ):
            pass
        other.communicate("")
    with folder.claim(resume=True):
        pass


def test_a_claimed_folder_cannot_be_locked_by_another_process(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    command = [sys.executable, "-c", LOCK, str(tmp_path / ".lock")]
    with folder.claim(resume=False):
        assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode != 0
    assert subprocess.run(command, check=False).returncode == 0


def test_a_refused_claim_of_this_process_leaves_its_lock_to_the_first(tmp_path: Path) -> None:
    run, link = tmp_path / "run", tmp_path / "link"
    run.mkdir()
    link.symlink_to(run)
    command = [sys.executable, "-c", LOCK, str(run / ".lock")]
    with RunFolder(run).claim(resume=False):
        for name in (run, link):
            with pytest.raises(RunFolderError, match=f"in use by process {os.getpid()} on"):
                RunFolder(name).claim(resume=True).__enter__()
        assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode != 0


def test_a_folder_that_this_process_uses(tmp_path: Path) -> None:
    with RunFolder(tmp_path).claim(resume=False):
        with pytest.raises(RunFolderError, match="in use"), RunFolder(tmp_path).claim(resume=True):
            pass
        with pytest.raises(RunFolderError, match="in use"), RunFolder(tmp_path).claim(resume=True):
            pass
    with RunFolder(tmp_path).claim(resume=False):
        pass


def test_a_folder_with_results(tmp_path: Path) -> None:
    write_json(tmp_path / "recipe.json", {})
    with pytest.raises(RunFolderError, match=r"already holds a run; continue it with --resume"):
        RunFolder(tmp_path).claim(resume=False).__enter__()
    with RunFolder(tmp_path).claim(resume=True):
        pass


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"file/run: cannot be created or written .*choose another --out"):
        RunFolder(tmp_path / "file" / "run").claim(resume=False).__enter__()


def test_a_new_folder_in_which_no_run_began_is_removed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(ValueError, match="no images"), folder.claim(resume=False):
        raise ValueError("no images")
    assert not folder.path.exists()


@pytest.mark.parametrize("name", ["mine.txt", "recipe.json"])
def test_a_folder_with_a_file_in_it_stays(tmp_path: Path, name: str) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.claim(resume=False):
        (folder.path / name).write_text("{}")
    assert (folder.path / name).read_text() == "{}"


def test_what_a_killed_run_was_writing_is_removed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.checkpoints.mkdir()
    leftovers = [folder.checkpoints / ".last.safetensors.1.ab.writing", folder.path / ".recipe.json.1.ab.writing"]
    for leftover in leftovers:
        leftover.write_text("half")
    with folder.claim(resume=True):
        assert not any(leftover.exists() for leftover in leftovers)


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with (
        _file_size_limit(1000),
        pytest.raises(RunFolderError, match=r"file: cannot be written \(the disk is full") as e,
    ):
        write_text(path, "x" * 5000)
    assert "the file from before is still there" in str(e.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_no_folder_and_no_claim(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with (
        _file_size_limit(0),
        pytest.raises(RunFolderError, match=r"run: cannot be written \(the disk is full"),
        folder.claim(resume=False),
    ):
        pass
    assert not folder.path.exists()
    with folder.claim(resume=False):
        pass


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"cannot be written \(No such file or directory\); nothing was written"):
        write_text(tmp_path / "gone" / "file", "x")


def test_recipe_is_read_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.read_recipe() is None
    write_json(folder.recipe, {"a": [1, 2]})
    assert folder.read_recipe() == {"a": [1, 2]}
    assert json.loads(folder.recipe.read_text()) == {"a": [1, 2]}
    folder.recipe.write_text("{")
    with pytest.raises(RunFolderError, match=r"recipe\.json: cannot be read"):
        folder.read_recipe()
