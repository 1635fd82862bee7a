"""Results as they are kept in the repository: by columns, in few bytes, and found again by the run's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adair_core.atomic_file import write_atomically

DECIMALS = 5
SIDES = ("input", "restored")


def write(folder: Path, document: dict[str, Any]) -> None:
    """Keep a result; metrics are rounded to `DECIMALS`."""
    folder.mkdir(parents=True, exist_ok=True)
    measurements = {name: _packed(found) for name, found in document["measurements"].items()}
    text = json.dumps({**document, "measurements": measurements}, separators=(",", ":"))
    write_atomically(_file(folder, document["run"]), f"{text}\n".encode())


def read(folder: Path, run: str) -> dict[str, Any] | None:
    """A run's result as `write` got it; ``None`` if there is none."""
    file = _file(folder, run)
    return _read(file) if file.exists() else None


def read_all(folder: Path) -> list[dict[str, Any]]:
    """All results of a folder, in the order of their names."""
    return [_read(file) for file in sorted(folder.glob("*.json"))]


def _file(folder: Path, run: str) -> Path:
    return folder / f"{run.replace('/', '--')}.json"


def _read(file: Path) -> dict[str, Any]:
    document = json.loads(file.read_text(encoding="utf-8"))
    return {**document, "measurements": {name: _unpacked(found) for name, found in document["measurements"].items()}}


def _packed(measurement: dict[str, Any]) -> dict[str, Any]:
    rows = measurement["rows"]
    metrics = list(rows[0]["restored"]) if rows else []
    sides = {
        side: {metric: [round(row[side][metric], DECIMALS) for row in rows] for metric in metrics} for side in SIDES
    }
    columns = {"condition": [row["condition"] for row in rows], "image": [row["image"] for row in rows], **sides}
    return {**{key: value for key, value in measurement.items() if key != "rows"}, "columns": columns}


def _unpacked(measurement: dict[str, Any]) -> dict[str, Any]:
    columns = measurement["columns"]
    rows = [
        {
            "condition": condition,
            "image": image,
            **{side: {metric: values[index] for metric, values in columns[side].items()} for side in SIDES},
        }
        for index, (condition, image) in enumerate(zip(columns["condition"], columns["image"], strict=True))
    ]
    return {**{key: value for key, value in measurement.items() if key != "columns"}, "rows": rows}
