"""The README's table of results is taken from the zoo's page, which is made from the adapters' cards."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_row_is_one_of_the_zoos() -> None:
    readme, zoo = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/zoo.md"))
    rows = re.findall(r"\| \d+\.\d+ \| \d+\.\d+ \| \*\*\d+\.\d+\*\*", readme)
    assert len(rows) == 8
    assert [row for row in rows if row not in zoo] == []
