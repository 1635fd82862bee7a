"""Many files: lists, order, failures, memory, interruption, kills and full disks."""

from __future__ import annotations

import errno
import io
import json
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adair_core.data.images import ImageFile, read_image, write_image
from adair_core.errors import DataError, Interrupted
from adair_core.inference import FileResult, Settings, files, plan, restore_files
from adair_core.inference.overlap import Overlap, Room
from adair_core.model import RestorationModel
from adair_core.model.backbone import BaseInfo
from adair_core.specs import Choice


class Same(nn.Module):
    """Gives back what it gets, and can be told to do something first."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.tensor(1.0))
        self.before = lambda count: None
        self.count = 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.before(self.count)
        return x * self.one


@pytest.fixture
def network() -> Same:
    return Same()


@pytest.fixture
def model(network: Same) -> RestorationModel:
    info = BaseInfo(name="same", backbone=Choice(name="same"), fingerprint="0")
    return RestorationModel(network, [], info=info)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for index in range(6):
        path = Path("photos") / f"{index % 2}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, ImageFile(pixels=np.full((9, 8, 3), 10 * index, np.uint8)))
    return Path("photos")


def statuses(results: list[FileResult]) -> list[str]:
    return [result.status for result in results]


# --- Lists


def test_a_list_keeps_folders_and_never_leaves_the_output(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = photos.resolve() / "0" / "4.png"
    Path("list.txt").write_text(f"photos/0/0.png\r\n\n{outside}\nphotos/1/../0/2.png\n")
    jobs = plan(["@list.txt"], "out")
    assert [job.output.as_posix() for job in jobs] == ["out/photos/0/0.png", "out/4.png", "out/2.png"]
    assert [job.output.name for job in plan(["@list.txt"])] == ["0.restored.png", "4.restored.png", "2.restored.png"]
    content = b"photos/0/0.png\0photos/a\nb.png\0"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert [job.source.as_posix() for job in plan(["@-"], "out")] == ["photos/0/0.png", "photos/a\nb.png"]
    write_image("@x.png", ImageFile(pixels=np.zeros((4, 4, 3), np.uint8)))
    assert plan(["@x.png"])[0].source == Path("@x.png")


@pytest.mark.parametrize(
    ("name", "words"),
    [("@none.txt", "none.txt: the list of files cannot be read"), ("@empty", "expected names of files")],
)
def test_lists_that_say_nothing(photos: Path, name: str, words: str) -> None:
    Path("empty").write_text("\n\n")
    with pytest.raises(DataError, match=words):
        plan([name])


# --- Order and failures


def test_results_come_in_order_and_a_bad_file_stops_nothing(photos: Path, model: RestorationModel) -> None:
    (photos / "0" / "2.png").write_bytes(b"")
    (photos / "1" / "3.png").write_bytes((photos / "1" / "3.png").read_bytes()[:50])
    told: list[tuple[FileResult, int, int]] = []
    results = restore_files(model, plan([photos], "out"), on_result=lambda *call: told.append(call))
    assert [result.source.name for result in results] == ["0.png", "2.png", "4.png", "1.png", "3.png", "5.png"]
    assert statuses(results) == ["restored", "failed", "restored", "restored", "failed", "restored"]
    assert "empty (0 bytes)" in results[1].message
    assert [call[1:] for call in told] == [(count, 6) for count in range(1, 7)]
    assert [call[0] for call in told] == results


def test_every_failure_names_its_file(photos: Path, model: RestorationModel, network: Same) -> None:
    network.one.data.fill_(float("nan"))
    for result in restore_files(model, plan([photos], "out")):
        assert result.message.startswith(f"{result.source}: restored image: expected finite values")


def test_fail_fast_stops_at_the_first(
    photos: Path, model: RestorationModel, network: Same, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = files._write
    monkeypatch.setattr(files, "_write", lambda *work: time.sleep(0.2) or write(*work))  # so it tells late
    jobs = plan([photos], "out")
    jobs[1].source.write_bytes(b"")
    results = restore_files(model, jobs, Settings(fail_fast=True))
    assert [result.status for result in results] == ["restored", "failed"]
    assert network.count == 1


def test_a_defect_of_the_network_is_raised_and_the_threads_end(
    photos: Path, model: RestorationModel, network: Same
) -> None:
    def fail(count: int) -> None:
        if count == 3:
            raise RuntimeError("shapes do not match")

    network.before = fail
    with pytest.raises(RuntimeError, match="shapes do not match"):
        restore_files(model, plan([photos], "out"))
    assert len([*Path("out").rglob("*.png")]) == 2  # those before it are written
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("adair-")]


def test_what_is_read_and_written_beside_the_network_is_what_would_be_one_by_one(
    photos: Path, model: RestorationModel
) -> None:
    restore_files(model, plan([photos], "out"))
    for path in photos.rglob("*.png"):
        assert np.array_equal(read_image(path).pixels, read_image("out" / path.relative_to(photos)).pixels)


# --- Memory


def test_readers_wait_for_room_but_one_image_always_passes() -> None:
    room, order = Room(100), []
    room.take(500)
    waiting = threading.Thread(target=lambda: (room.take(60), order.append("taken")))
    waiting.start()
    time.sleep(0.05)
    order.append("given back")
    room.give_back(500)
    waiting.join(5)
    assert order == ["given back", "taken"]


def test_no_more_images_are_in_memory_than_there_is_room_for() -> None:
    lock, alive, most = threading.Lock(), 0, 0
    room = Room(250)

    def read(item: int) -> int:
        nonlocal alive, most
        room.take(100)
        with lock:
            alive += 1
            most = max(most, alive)
        return item

    def write(item: int) -> int:
        nonlocal alive
        time.sleep(0.002)
        with lock:
            alive -= 1
        room.give_back(100)
        return item

    done: list[int] = []
    with Overlap[int, int, int](range(40), read, room=room) as overlap:
        for _, item in overlap.read():
            overlap.write(lambda item=item: write(item))
            done += overlap.written()
        done += overlap.written(wait=True)
    assert done == [*range(40)]
    assert most == 2


def test_reading_and_writing_go_on_while_the_network_computes() -> None:
    """Without a clock: each stage waits until the two others are at work, or for ever."""
    together = threading.Barrier(3, timeout=20)
    room = Room()
    met = []

    def read(item: int) -> int:
        if item == 3:
            together.wait()
        return item

    def write(item: int) -> int:
        if item == 1:
            met.append(together.wait())
        return item

    with Overlap[int, int, int](range(5), read, room=room) as overlap:
        for _, item in overlap.read():
            if item == 2:
                together.wait()
            overlap.write(lambda item=item: write(item))
            list(overlap.written())
        list(overlap.written(wait=True))
    assert len(met) == 1


# --- Interruption


def test_ctrl_c_leaves_whole_files_and_says_how_to_go_on(photos: Path, model: RestorationModel, network: Same) -> None:
    def interrupt(count: int) -> None:
        if count == 3:
            signal.raise_signal(signal.SIGINT)

    network.before = interrupt
    told: list[str] = []
    with pytest.raises(Interrupted, match=r"interrupted: 2 of 6 done; .*--skip-existing goes on") as caught:
        restore_files(model, plan([photos], "out"), on_result=lambda result, *_: told.append(result.source.name))
    assert caught.value.exit_code == 130
    assert told == ["0.png", "2.png"]
    network.before = lambda count: None
    results = restore_files(model, plan([photos], "out"), Settings(skip_existing=True))
    assert statuses(results) == ["skipped"] * 2 + ["restored"] * 4
    assert not [path for path in Path("out").rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("skip", [True, False])
def test_a_result_that_another_run_makes_meanwhile(
    photos: Path, model: RestorationModel, network: Same, skip: bool
) -> None:
    jobs = plan([photos], "out")

    def other_run(count: int) -> None:
        if count == 2:
            jobs[1].output.parent.mkdir(parents=True, exist_ok=True)
            write_image(jobs[1].output, ImageFile(pixels=np.full((3, 4, 3), 7, np.uint8)))

    network.before = other_run
    results = restore_files(model, jobs, Settings(skip_existing=skip))
    assert statuses(results) == ["restored", "skipped" if skip else "failed", *["restored"] * 4]
    assert np.all(read_image(jobs[1].output).pixels == 7)


SLOW_WRITER = """
import json, os, signal, sys
from pathlib import Path
import torch
from torch import nn
from adair_core import atomic_file
from adair_core.inference import Settings, plan, restore_files
from adair_core.model import RestorationModel
from adair_core.model.backbone import BaseInfo
from adair_core.specs import Choice

class Same(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.tensor(1.0))
    def forward(self, x):
        return x * self.one

flushes = 0
flush = os.fsync
def kill(descriptor):  # the temporary file is written and not yet renamed
    global flushes
    flushes += 1
    if flushes == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    flush(descriptor)
os.fsync = kill

info = BaseInfo(name="same", backbone=Choice(name="same"), fingerprint="0")
model = RestorationModel(Same(), [], info=info)
results = restore_files(model, plan(["photos"], "out"), Settings(skip_existing=True))
print(json.dumps([result.status for result in results]))
"""


@pytest.mark.parametrize("moment", [1, 5, 7])
def test_a_killed_run_leaves_nothing_half_and_the_next_goes_on(photos: Path, moment: int) -> None:
    killed = subprocess.run([sys.executable, "-c", SLOW_WRITER, str(moment)], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    left = [*Path("out").rglob(".*")]
    whole = [*Path("out").rglob("*.png")]
    assert len(left) == 1
    assert len(whole) < 6
    for path in whole:
        assert np.array_equal(read_image(path).pixels, read_image(photos / path.relative_to("out")).pixels)
    after = subprocess.run([sys.executable, "-c", SLOW_WRITER, "99"], check=True, capture_output=True)
    assert sorted(json.loads(after.stdout)) == ["restored"] * (6 - len(whole)) + ["skipped"] * len(whole)
    assert not [*Path("out").rglob(".*")]
    assert len([*Path("out").rglob("*.png")]) == 6


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_stops_the_run(photos: Path, model: RestorationModel, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def fill(path: Path, *arguments: object) -> object:
        return opened(Path("/dev/full") if path.name.startswith(".4.png") else path, *arguments)

    monkeypatch.setattr(Path, "open", fill)
    results = restore_files(model, plan([photos], "out"))
    assert statuses(results)[:3] == ["restored", "restored", "failed"]
    assert "4.png: cannot be written: No space left on device" in results[2].message
    assert len(results) < 6
    assert not [*Path("out").rglob(".*")]
    assert not Path("out/0/4.png").exists()


def test_a_disk_that_is_only_read_stops_the_run(
    photos: Path, model: RestorationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def refuse(path: Path, *arguments: object) -> object:
        if path.name.startswith("."):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return opened(path, *arguments)

    monkeypatch.setattr(Path, "open", refuse)
    results = restore_files(model, plan([photos], "out"))
    assert statuses(results)[0] == "failed"
    assert "Read-only file system" in results[0].message
    assert len(results) < 6


def test_a_file_that_may_not_grow_is_reported_and_not_left_half(photos: Path, model: RestorationModel) -> None:
    large = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    write_image(photos / "0" / "large.png", ImageFile(pixels=large))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        results = restore_files(model, plan([photos], "out"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    failed = [result for result in results if result.status == "failed"]
    assert [result.source.name for result in failed] == ["large.png"]
    assert "File too large" in failed[0].message
    assert len([*Path("out").rglob("*.png")]) == 6
    assert not [*Path("out").rglob(".*")]


def test_threads_do_not_outlive_a_run(photos: Path, model: RestorationModel) -> None:
    restore_files(model, plan([photos], "out"))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("adair-")]
