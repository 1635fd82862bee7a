import numpy as np
import pytest
from PIL import Image

import adair_core.data.workers as workers
from adair_core.data.images import read_header, read_image
from adair_core.data.workers import worker_context
from adair_core.errors import DataError


def test_workers_are_not_forked():
    assert worker_context().get_start_method() in ("forkserver", "spawn")


def test_decoding_after_a_fork_is_refused_rather_than_hanging(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "x.png")
    monkeypatch.setattr(workers, "_computing_process", -1)  # as a child sees its parent's number
    read_header(tmp_path / "x.png")
    with pytest.raises(DataError, match=r"forked process.*worker_context\(\), or use workers=0"):
        read_image(tmp_path / "x.png")
