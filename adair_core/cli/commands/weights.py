"""``adair weights``: the bases and adapters that installed packages ship."""

from __future__ import annotations

from pathlib import Path

import rich_click

from adair_core.cli.command import Command
from adair_core.cli.output import print_json, print_table, say
from adair_core.plugins import plugins


@rich_click.command("weights", cls=Command, examples=["weights", "weights --json"])
@rich_click.option("--json", "as_json", is_flag=True, help="print JSON")
def command(as_json: bool) -> None:
    """List trained weights with their terms of use.

    Bases are for --base, adapters for 'adair restore --adapter'. NAME alone means its newest version.
    """
    loaded = plugins()
    weights = [
        {
            "name": spec.versioned_name,
            "kind": spec.kind,
            "task": spec.task,
            "options": dict(spec.options),
            "size": _size(spec.path),
            "terms": spec.terms,
            "package": loaded.weights.provenance(spec.versioned_name).package,
            "path": str(spec.path),
            "summary": spec.summary,
        }
        for spec in loaded.weights.values()
    ]
    if as_json:
        print_json({"weights": weights})
    elif weights:
        print_table(
            ("name", "kind", "task", "size", "terms", "package", "summary"),
            [
                (w["name"], w["kind"], w["task"] or "", w["size"], w["terms"], w["package"], w["summary"])
                for w in weights
            ],
        )
    else:
        say("no installed package ships weights; 'adair pretrain' makes a base")


def _size(path: Path) -> str:
    files = path.rglob("*") if path.is_dir() else [path]
    return f"{sum(file.stat().st_size for file in files if file.is_file()) / 1e6:.1f} MB"
