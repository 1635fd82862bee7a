"""``adair adapters``: the adapter types, and the trained adapters of the zoo; push, pull and tile are below it."""

from __future__ import annotations

import click
import rich_click

from adair_core.cli.adapter_tile import tile
from adair_core.cli.command import CommandGroup
from adair_core.cli.output import print_json, print_table, say
from adair_core.cli.sharing import pull, push
from adair_core.plugins import plugins


@rich_click.group(
    "adapters",
    cls=CommandGroup,
    examples=["adapters", "adapters --json", "adapters pull user/denoise"],
)
@rich_click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List adapter types and trained adapters; push and pull give and get adapters, tile finds the tiles that suit one.

    Types are for 'adair train --adapter', trained adapters for 'adair restore --adapter' and for 'adair evaluate'.
    """
    if context.invoked_subcommand is not None:
        return
    loaded = plugins()
    types = [
        {
            "name": spec.name,
            "summary": spec.summary,
            "sites": sorted(spec.kinds),
            "presets": sorted(spec.presets),
            "package": loaded.adapters.provenance(spec.name).package,
        }
        for spec in loaded.adapters.values()
    ]
    trained = [
        {
            "name": spec.versioned_name,
            "summary": spec.summary,
            "task": spec.task,
            "terms": spec.terms,
            "path": str(spec.path),
            "package": loaded.weights.provenance(spec.versioned_name).package,
        }
        for spec in loaded.weights.values()
        if spec.kind == "adapter"
    ]
    if as_json:
        print_json({"types": types, "adapters": trained})
        return
    print_table(
        ("adapter type", "attaches to", "presets", "package", "summary"),
        [(t["name"], ", ".join(t["sites"]), ", ".join(t["presets"]), t["package"], t["summary"]) for t in types],
    )
    say("")
    if trained:
        print_table(
            ("trained adapter", "task", "terms", "package", "summary"),
            [(a["name"], a["task"] or "", a["terms"], a["package"], a["summary"]) for a in trained],
        )
    else:
        say("no trained adapters in the zoo; 'adair train --task denoise' makes one")


command.add_command(push)
command.add_command(pull)
command.add_command(tile)
