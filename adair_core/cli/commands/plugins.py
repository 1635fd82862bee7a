"""``adair plugins``: what is installed, from where, and what failed."""

from __future__ import annotations

from typing import Any

import rich_click

from adair_core.cli.command import Command, is_debug
from adair_core.cli.output import print_json, print_table, say
from adair_core.plugins import plugins


@rich_click.command(
    "plugins",
    cls=Command,
    examples=[
        "plugins",
        "plugins --json",
    ],
)
@rich_click.option("--json", "as_json", is_flag=True, help="print JSON")
def command(as_json: bool) -> None:
    """List what plugins offer, and the plugins that failed.

    For each name: its kind, package and hook file; for each failure: the reason, and with --debug the traceback.
    """
    loaded = plugins()
    offers: list[dict[str, Any]] = []
    for registry in loaded.registries.values():
        for name in registry:
            source = registry.provenance(name)
            offers.append(
                {
                    "name": name,
                    "kind": registry.kind,
                    "package": source.package,
                    "version": source.version,
                    "file": source.file,
                    "summary": getattr(registry[name], "summary", ""),
                }
            )
    failures = [
        {
            "package": failure.source.package,
            "version": failure.source.version,
            "entry_point": failure.source.entry_point,
            "module": failure.source.module,
            "file": failure.source.file,
            "reason": failure.reason,
            "traceback": failure.details,
        }
        for failure in loaded.failures
    ]
    if as_json:
        print_json({"plugins": offers, "failures": failures})
        return
    headings = ("name", "kind", "package", "hook file")
    print_table(headings, [(o["name"], o["kind"], f"{o['package']} {o['version']}", o["file"]) for o in offers])
    for failure in failures:
        say(f"\nfailed: {failure['package']} {failure['version']} ({failure['module']}): {failure['reason']}")
        if is_debug():
            say(failure["traceback"])
