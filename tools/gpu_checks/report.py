"""The report of a visit, as JSON and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adair_core.atomic_file import write_atomically
from gpu_checks import targets


def write(out: Path, results: dict[str, dict[str, Any]], later: Sequence[str] = ()) -> None:
    """Write ``report.json`` and ``report.md``.

    Args:
        out: the folder.
        results: step -> what the runner recorded.
        later: steps for which there was no time.
    """
    write_atomically(out / "report.json", (json.dumps(results, indent=1) + "\n").encode())
    write_atomically(out / "report.md", text(results, later).encode())


def text(results: dict[str, dict[str, Any]], later: Sequence[str] = ()) -> str:
    """The report as Markdown."""
    environment = results.get("environment", {}).get("found") or {}
    parts = [
        f"# GPU check: {environment.get('card', 'no card')}, commit {str(environment.get('commit', 'unknown'))[:12]}",
        _table(
            ["step", "result", "seconds"],
            [
                *([name, result["status"], f"{result['seconds']:.0f}"] for name, result in results.items()),
                *([name, "not run yet", ""] for name in later),
            ],
        ),
    ]
    for name, result in results.items():
        parts.append(f"## {name}")
        if result["status"] != "passed":
            reasons = (result.get("found") or {}).get("failures") or result.get("output", [])
            parts.append("\n".join(["```text", *map(str, reasons[-30:]), "```"]))
        found = {key: value for key, value in (result.get("found") or {}).items() if key not in ("failures", "output")}
        parts += _section(found)
    parts += ["## Targets", _table(["target", "found", ""], targets.rows(results))]
    return "\n\n".join(parts) + "\n"


def _section(found: dict[str, Any]) -> list[str]:
    plain = {key: value for key, value in found.items() if not isinstance(value, dict)}
    parts = [_table(["", ""], [[key, _shown(value)] for key, value in plain.items()])] if plain else []
    for key, value in found.items():
        if not isinstance(value, dict):
            continue
        if key == "rows":
            parts.append(_rows(value))
        else:
            parts.append(_table([key, ""], [[name, _shown(number)] for name, number in value.items()]))
    return parts


def _rows(rows: dict[str, Any]) -> str:
    flat = {name: _flat(row) for name, row in rows.items()}
    columns = list(dict.fromkeys(column for row in flat.values() for column in row))
    return _table(
        ["", *columns], [[name, *(_shown(row.get(column, "")) for column in columns)] for name, row in flat.items()]
    )


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            cells |= {f"{key}: {inner}": number for inner, number in value.items()}
        else:
            cells[key] = value
    return cells


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])
