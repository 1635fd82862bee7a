import os

import pytest

from adair_core.data.images import find_images
from adair_core.errors import DataError


def test_images_are_found_in_subfolders_in_one_order(tmp_path):
    for name in ("b/2.PNG", "a.jpeg", "b/10.tif", "b/c/x.webp", "B.tiff", "z.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("notes.txt", ".hidden.png", "b/._x.jpg", "video.mp4"):
        (tmp_path / name).touch()
    (tmp_path / ".thumbs").mkdir()
    (tmp_path / ".thumbs" / "t.png").touch()
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == ["B.tiff", "a.jpeg", "b/10.tif", "b/2.PNG", "b/c/x.webp", "z.jpg"]


def test_links_are_followed_once(tmp_path):
    real = tmp_path / "elsewhere"
    real.mkdir()
    (real / "x.png").touch()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(real)
    (real / "loop").symlink_to(folder)
    (folder / "broken.png").symlink_to(tmp_path / "none.png")
    assert find_images(folder) == [folder / "broken.png", folder / "link" / "x.png"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none", "none: no such folder"),
        ("file.png", "expected a folder of images, got a file"),
        (
            "empty",
            r"images \(\.png, \.jpg, \.jpeg, \.webp, \.tif, \.tiff, \.avif, \.gif\), got a folder with no files",
        ),
        ("texts", "got a folder with 2 other files"),
    ],
)
def test_folders_without_images(tmp_path, name, words):
    (tmp_path / "file.png").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").touch()
    (tmp_path / "texts" / "b.bmp").touch()
    with pytest.raises(DataError, match=words):
        find_images(tmp_path / name)
