"""The card of an adapter: what people should know before they use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from adair_core.errors import UsageError, WeightsError, expected
from adair_core.model.backbone import BaseInfo
from adair_core.model.installed_adapter import InstalledAdapter

SMALLEST_SUITED = 64
"""Side of the smallest tiles that a card may ask for: in smaller ones an image is mostly overlap."""


@dataclass(frozen=True, kw_only=True)
class AdapterCard:
    """What people should know about an adapter.

    Attributes:
        task: what it restores.
        metrics: rows of its table, column name -> value, such as ``{"condition": "sigma 25", "psnr": 30.9}``.
        protocol: how they were measured.
        recipe: of its training.
        notes: free text.
        tile: side of the tiles in which it restores best, in pixels, which ``tile="auto"`` takes; None = the whole
            image, or nobody has measured it.
    """

    task: str | None = None
    metrics: list[dict[str, str | int | float | None]] = field(default_factory=list)
    protocol: str | None = None
    recipe: dict[str, Any] | None = None
    notes: str = ""
    tile: int | None = None

    def __post_init__(self) -> None:
        if self.tile is not None:
            check_suited_tile(self.tile)

    @property
    def task_options(self) -> Mapping[str, Any]:
        """Of the task that it was trained for, as its recipe has them."""
        options: Mapping[str, Any] = (self.recipe or {}).get("task", {}).get("options", {})
        return options

    def as_dict(self) -> dict[str, Any]:
        """The card as JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], *, where: str) -> AdapterCard:
        """Read what `as_dict` made.

        Raises:
            WeightsError: it is something else; the message starts with `where`.
        """
        try:
            return TypeAdapter(AdapterCard).validate_python(dict(value))
        except UsageError as error:
            raise WeightsError(f"{where}: {error}") from error
        except ValidationError as error:
            problems = "; ".join(f"{problem['loc']}: {problem['msg']}" for problem in error.errors())
            raise WeightsError(f"{where}: card: {problems}") from error


TILES = "restores best in"
"""The row of a card's table that says in which tiles."""


def tiles_title(side: int | None) -> str:
    """Name how images are restored: in tiles of so many pixels, or whole."""
    return "whole images" if side is None else f"tiles of {side} pixels"


def check_suited_tile(side: int) -> None:
    """Check the side of tiles that a card asks for.

    Raises:
        UsageError: it is not a whole number of pixels, or too small.
    """
    if not isinstance(side, int) or side < SMALLEST_SUITED:
        wanted = f"a whole number of pixels, {SMALLEST_SUITED} or more"
        raise UsageError(expected("tiles that suit an adapter", expected=wanted, got=repr(side)))


def card_text(adapter: InstalledAdapter, *, info: BaseInfo, card: AdapterCard, size: int) -> str:
    """Write a card as Markdown.

    Args:
        adapter: its modules.
        info: the base.
        card: what to tell.
        size: of the weights, in bytes.
    """
    count = sum(parameter.numel() for parameter in adapter.parameters())
    rows = [
        ("task", card.task or "not recorded"),
        ("adapter type", adapter.choice.name),
        ("options", f"`{json.dumps(adapter.choice.options)}`"),
        ("parameters", f"{count:,} ({size / 1e6:.2f} MB)"),
        ("base", info.name),
        ("base fingerprint", f"`{info.fingerprint}`"),
        ("backbone", info.backbone.name),
        *([] if card.tile is None else [(TILES, tiles_title(card.tile))]),
    ]
    title = card.task or adapter.choice.name
    parts = [
        f"# {title}: an adapter for image restoration",
        "This folder is for adair (`import adair_core`); it works on the base named here and no other.",
        _table(["", ""], [[name, value] for name, value in rows]),
        "```python\nimport adair_core as adair\n\n"
        f'model = adair.load("{info.name}")\nmodel.load_adapter("path/of/this/folder")\n'
        "restored = model.restore(image)\n```",
    ]
    if card.metrics:
        columns = list(dict.fromkeys(column for row in card.metrics for column in row))
        cells = [[_cell(row.get(column)) for column in columns] for row in card.metrics]
        protocol = f"Measured with protocol {card.protocol}.\n\n" if card.protocol else ""
        parts.append(f"## Metrics\n\n{protocol}{_table(columns, cells)}")
    if card.notes:
        parts.append(f"## Notes\n\n{card.notes}")
    if card.recipe is not None:
        parts.append(f"## Recipe\n\n```json\n{json.dumps(card.recipe, indent=2)}\n```")
    return "\n\n".join(parts) + "\n"


def with_tiles_row(text: str, side: int | None) -> str:
    """Say in a card's text which tiles suit the adapter; a text without the table that `card_text` makes stays."""
    lines = [line for line in text.split("\n") if not line.startswith(f"| {TILES} |")]
    last = next((index for index, line in enumerate(lines) if line.startswith("| backbone |")), None)
    if side is not None and last is not None:
        lines.insert(last + 1, f"| {TILES} | {tiles_title(side)} |")
    return "\n".join(lines)


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _cell(value: str | int | float | None) -> str:
    return f"{value:#.4g}".rstrip(".") if isinstance(value, float) else "" if value is None else str(value)
