"""The packages of docs/plugins.md work: they pass their own tests, and the page's commands run with them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from plugin_packages import install, run_tests

from adair_core.data.images import ImageFile, write_image
from adair_core.testing import installed, run_program

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
SECTIONS = ("A degradation", "An adapter type", "A backbone")

# Beside what the page says: as little work as there can be.
SHORT = shlex.split(
    "--steps 2 --batch-size 2 --patch-size 16 --warmup 0 --validate-every 0 --workers 0 --data photos --threads 1"
)
LITTLE = {"train": SHORT, "pretrain": SHORT, "evaluate": shlex.split("--data photos --limit 1 --threads 1")}


def section(title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)^## ", PAGE.read_text(encoding="utf-8"), re.M | re.S)[1]


def files_of(text: str) -> dict[str, str]:
    """The blocks that have a file's name as their title."""
    return dict(re.findall(r'^```python title="(.+?)"\n(.*?)^```$', text, re.M | re.S))


def commands_of(text: str) -> list[list[str]]:
    """The command lines, without ``adair``."""
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("$ adair ") for line in lines), lines
    return [shlex.split(line)[2:] for line in lines]


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for index in range(2):
        pixels = np.random.default_rng(index).integers(0, 255, (24, 20, 3), dtype=np.uint8)
        write_image(tmp_path / "photos" / f"{index}.png", ImageFile(pixels=pixels))
    return tmp_path


def run(command: list[str]) -> None:
    outcome = run_program(*command, *LITTLE.get(command[0], []))
    assert outcome.exit_code == 0, outcome.stderr


@pytest.mark.parametrize("title", SECTIONS)
def test_the_package_works(title, workplace):
    text = section(title)
    beginning, *commands = commands_of(text)
    assert beginning[0] == "new-plugin"
    run(beginning)
    (folder,) = workplace.glob("adair-plugin-*")
    files = files_of(text)
    assert len(files) == 2
    for name, source in files.items():
        assert (folder / name).exists(), f"{name}: new-plugin writes no file of that name to replace"
        (folder / name).write_text(source, encoding="utf-8")
    install(folder, workplace / "site")
    (tests,) = (folder / "tests").glob("test_*.py")
    with installed(workplace / "site"):
        assert run_tests(tests) > 10
        assert len(commands) >= 2
        for command in commands:
            run(command)
