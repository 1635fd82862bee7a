import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import adair_core.data.decode_cache as decode_cache
from adair_core.data.decode_cache import DecodeCache
from adair_core.data.images import read_header


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def headers(tmp_path):
    rng = np.random.default_rng(4)
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (100, 100, 3), dtype=np.uint8)).save(path)
    return [read_header(path) for path in paths]


def pixels_of(header):
    with Image.open(header.path) as image:
        return np.asarray(image)


def test_closing_removes_the_folder(temporary, headers):
    cache = DecodeCache(headers)
    cache.read(0)
    (folder,) = temporary.iterdir()
    assert (folder / "0.raw").exists()
    cache.close()
    assert not folder.exists()
    assert np.array_equal(cache.read(0), pixels_of(headers[0]))


def test_a_forgotten_cache_is_removed(temporary, headers):
    cache = DecodeCache(headers)
    assert len(list(temporary.iterdir())) == 1
    del cache
    assert list(temporary.iterdir()) == []


def test_a_copy_uses_the_folder_and_does_not_remove_it(temporary, headers):
    cache = DecodeCache(headers)
    copy = pickle.loads(pickle.dumps(cache))
    copy.read(1)
    copy.close()
    del copy
    (folder,) = temporary.iterdir()
    assert (folder / "1.raw").exists()
    assert np.array_equal(cache.read(1), pixels_of(headers[1]))


def test_what_a_killed_process_left_is_removed_and_nothing_else(temporary, headers):
    abandoned = temporary / f"{decode_cache.PREFIX}abandoned"
    abandoned.mkdir()
    (abandoned / decode_cache.LOCK).touch()
    (abandoned / "0.raw").touch()
    foreign = temporary / "other-program"
    foreign.mkdir()
    (foreign / decode_cache.LOCK).touch()
    first = DecodeCache(headers)
    assert not abandoned.exists()
    second = DecodeCache(headers)
    assert first.folder.exists()
    assert second.folder.exists()
    assert foreign.exists()


def test_a_full_disk_is_told_once_and_images_are_decoded(temporary, headers, caplog):
    cache = DecodeCache(headers)
    copy = pickle.loads(pickle.dumps(cache))
    cache.read(0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        read = [user.read(index) for user in (cache, copy) for index in (1, 2)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    for index, pixels in zip((1, 2, 1, 2), read, strict=True):
        assert np.array_equal(pixels, pixels_of(headers[index]))
    assert [record.getMessage() for record in caplog.records] == [
        f"decoded images are no longer kept in {cache.folder} (File too large): slower"
    ]
    assert sorted(file.name for file in cache.folder.glob("*.*")) == ["0.raw"]


def test_no_place_for_temporary_files(tmp_path, monkeypatch, headers, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    cache = DecodeCache(headers)
    assert np.array_equal(cache.read(2), pixels_of(headers[2]))
    (record,) = caplog.records
    assert "decoded images are not kept" in record.getMessage()


def test_half_of_the_free_space_is_left(temporary, headers, monkeypatch):
    size = 100 * 100 * 3
    usage = SimpleNamespace(free=4 * size)
    monkeypatch.setattr(decode_cache.shutil, "disk_usage", lambda _: usage)
    assert DecodeCache(headers).kept == {0, 1}


def test_the_folder_is_gone_after_the_program(temporary, headers):
    script = (
        "import sys; from pathlib import Path\n"
        "from adair_core.data.sources import CleanImages\n"
        "source = CleanImages([Path(path) for path in sys.argv[1:]])\n"
        "source.read(0)\n"
        "print(source._cache.folder, (source._cache.folder / '0.raw').exists())\n"
    )
    paths = [str(header.path) for header in headers]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    command = [sys.executable, "-c", script, *paths]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    folder, kept = done.stdout.split()
    assert folder.startswith(str(temporary))
    assert kept == "True"
    assert list(temporary.iterdir()) == []
