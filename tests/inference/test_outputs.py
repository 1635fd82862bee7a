"""Which files are restored and what the results are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adair_core.errors import DataError, UsageError
from adair_core.inference import left_out, plan


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files nobody opens: planning looks at names alone."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.JPG", "sub/c.tiff", "notes.txt"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.touch()
    return Path("photos")


def named(*arguments: object, **options: object) -> list[tuple[str, str]]:
    jobs = plan(*arguments, **options)  # type: ignore[arg-type]
    return [(job.source.as_posix(), job.output.as_posix()) for job in jobs]


def test_one_file_is_restored_beside_itself(photos: Path) -> None:
    assert named([photos / "b.JPG"]) == [("photos/b.JPG", "photos/b.restored.JPG")]
    assert named(["photos/b.JPG"], suffix=".png") == [("photos/b.JPG", "photos/b.restored.png")]


def test_one_file_to_a_name_or_into_a_folder(photos: Path) -> None:
    assert named([photos / "a.png"], "out/new.webp") == [("photos/a.png", "out/new.webp")]
    assert named([photos / "a.png"], "out") == [("photos/a.png", "out/a.png")]
    Path("odd.png").mkdir()
    assert named([photos / "a.png"], "odd.png") == [("photos/a.png", "odd.png/a.png")]


def test_a_folder_keeps_its_structure(photos: Path) -> None:
    assert named([photos], "out") == [
        ("photos/a.png", "out/a.png"),
        ("photos/b.JPG", "out/b.JPG"),
        ("photos/sub/c.tiff", "out/sub/c.tiff"),
    ]
    assert named([photos])[2] == ("photos/sub/c.tiff", "photos/sub/c.restored.tiff")
    assert named([photos], "out", suffix=".png")[2] == ("photos/sub/c.tiff", "out/sub/c.png")


def test_results_of_earlier_runs_are_not_restored_again(photos: Path) -> None:
    sources = [source for source, _ in named([photos])]
    for _, output in named([photos]):
        Path(output).touch()
    assert [source for source, _ in named([photos])] == sources
    (photos / "out" / "sub").mkdir(parents=True)
    (photos / "out" / "sub" / "c.tiff").touch()
    again = [source for source, _ in named([photos], photos / "out") if "restored" not in source]
    assert again == sources


def test_a_folder_of_results_alone_is_an_error(photos: Path) -> None:
    folder = Path("results")
    folder.mkdir()
    (folder / "a.restored.png").touch()
    with pytest.raises(DataError, match="only results of earlier runs"):
        plan([folder])
    assert named([folder], "out") == [("results/a.restored.png", "out/a.restored.png")]
    assert named([folder / "a.restored.png"]) == [("results/a.restored.png", "results/a.restored.restored.png")]


def test_patterns_take_images_only_in_order(photos: Path) -> None:
    assert named(["photos/*"], "out") == [("photos/a.png", "out/a.png"), ("photos/b.JPG", "out/b.JPG")]
    assert named([str(photos.resolve() / "**" / "*.tiff")], "out")[0][1] == "out/sub/c.tiff"
    assert named(["ph*/s*/*.tiff"], "out") == [("photos/sub/c.tiff", "out/photos/sub/c.tiff")]
    with pytest.raises(DataError, match=r"\*\.webp: expected a pattern that matches images"):
        plan(["photos/*.webp"])


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(photos: Path) -> None:
    (photos / "a[1].png").touch()
    assert named(["photos/a[1].png"], "out") == [("photos/a[1].png", "out/a[1].png")]


def test_the_same_file_twice_is_restored_once(photos: Path) -> None:
    assert [source for source, _ in named([photos / "a.png", photos, "photos/a.*"], "out")] == [
        "photos/a.png",
        "photos/b.JPG",
        "photos/sub/c.tiff",
    ]


def test_a_link_in_a_folder_has_a_result_of_its_own(photos: Path) -> None:
    (photos / "link.png").symlink_to("a.png")
    assert ("photos/a.png", "out/a.png") in named([photos], "out")
    assert ("photos/link.png", "out/link.png") in named([photos], "out")
    assert len(named([photos, photos / "sub" / "c.tiff"])) == 4  # but nothing has two


def test_what_a_folder_holds_beside_images_is_known(photos: Path) -> None:
    (photos / "clip.mp4").touch()
    assert [path.name for path in left_out([photos, "other.txt"])] == ["clip.mp4", "notes.txt"]


def test_a_missing_file_gets_a_job_of_its_own(photos: Path) -> None:
    assert named(["gone.png", photos / "a.png"], "out")[0] == ("gone.png", "out/gone.png")


def test_unknown_endings_become_png(photos: Path) -> None:
    (photos / "scan").touch()
    assert named([photos / "scan"]) == [("photos/scan", "photos/scan.restored.png")]


@pytest.mark.parametrize("output", ["photos", "photos/sub/..", "link"])
def test_an_input_is_never_an_output(photos: Path, output: str) -> None:
    Path("link").symlink_to("photos")
    with pytest.raises(UsageError, match=r"inputs are never overwritten"):
        plan([photos], output)


def test_an_input_under_another_name_is_not_overwritten_either(photos: Path) -> None:
    os.link(photos / "a.png", "hard.png")
    Path("soft.png").symlink_to(photos / "a.png")
    for name in ("hard.png", "soft.png", "photos/a.png"):
        with pytest.raises(UsageError, match="never overwritten"):
            plan([photos / "a.png"], name)


def test_another_input_is_not_overwritten(photos: Path) -> None:
    (photos / "a.restored.png").touch()
    with pytest.raises(UsageError, match=r"a\.restored\.png: is the input"):
        plan([photos / "a.png", photos / "a.restored.png"])


def test_two_results_of_one_name_are_refused(photos: Path) -> None:
    (photos / "sub" / "a.png").touch()
    with pytest.raises(UsageError, match=r"out/a\.png: .* both photos/a\.png and photos/sub/a\.png"):
        plan([photos / "a.png", photos / "sub" / "a.png"], "out")
    (photos / "a.webp").touch()
    (photos / "sub" / "a.webp").touch()
    both = [
        r"out/a\.png: would be the result of both photos/a\.png and photos/a\.webp",
        r"out/sub/a\.png: .*sub/a\.webp",
    ]
    with pytest.raises(UsageError, match=".*, ".join(both)):
        plan([photos], "out", suffix=".png")


@pytest.mark.parametrize(
    ("inputs", "output", "options", "message"),
    [
        ([], None, {}, "at least one image"),
        (["photos"], "one.png", {}, r"a folder, for 3 results, got the file name one\.png"),
        (["photos/a.png", "photos/b.JPG"], "one.png", {}, "a folder, for 2 results"),
        (["photos/a.png"], "photos/notes.txt", {}, r"got the file photos/notes\.txt"),
        (["photos/a.png"], "new.bmp", {}, "make it first"),
        (["photos/a.png"], "new.png", {"suffix": ".webp"}, r"ends with \.webp"),
        (["photos/a.png"], None, {"suffix": "gif"}, r"suffix: expected one of \.png"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(
    photos: Path, inputs: list[str], output: str | None, options: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan(inputs, output, **options)


def test_folders_without_images(photos: Path) -> None:
    Path("empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        plan(["empty", photos], "out")


def test_a_folder_that_is_a_link_to_nothing_is_told_before_anything_is_restored(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "out").symlink_to("nowhere")
    for output in ("out", "out/b.png", "out/deep/"):
        with pytest.raises(UsageError, match="out: expected a folder, got a symbolic link to nowhere"):
            plan([tmp_path / "a.png"], f"{tmp_path}/{output}")
