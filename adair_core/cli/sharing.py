"""``adair adapters push`` and ``adair adapters pull``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import rich_click

from adair_core.cli.choices import base_named
from adair_core.cli.command import Command
from adair_core.cli.output import print_json, say
from adair_core.errors import listing

_BASE = "zoo name or file of its base [default: as the adapter calls it]"


@rich_click.command(
    "push",
    cls=Command,
    examples=[
        "adapters push runs/denoise-lora/denoise user/denoise --terms CC-BY-4.0",
        "adapters push runs/denoise-lora/denoise file:///lab/adapters/denoise",
    ],
)
@rich_click.argument("folder", type=click.Path(path_type=Path))
@rich_click.argument("target")
@rich_click.option("--terms", metavar="TEXT", help="terms of use, for the model card")
@rich_click.option("--private", is_flag=True, help="a repository that is made is not public")
@rich_click.option("--base", metavar="NAME|FILE", help=_BASE)
@rich_click.option("--overwrite", is_flag=True, help="replace an adapter in a folder; the Hub keeps old ones")
@rich_click.option("--json", "as_json", is_flag=True, help="print JSON")
def push(folder: Path, target: str, as_json: bool, **parameters: Any) -> None:
    """Give an adapter to others: to the Hugging Face Hub, USER/NAME, or to a folder.

    The adapter is checked against its base first, and a model card with its measurements, terms, base and recipe is
    written. Of folders, as recipe and base name them, only the last part goes along. For the Hub: pip install
    'adair[hub]'; HF_TOKEN and HF_ENDPOINT are read.
    """
    from adair_core.model.places import place_named
    from adair_core.model.sharing import push_adapter

    place = place_named(target, private=parameters["private"], overwrite=parameters["overwrite"])
    base = None if parameters["base"] is None else base_named(parameters["base"])
    where = push_adapter(folder, place, base=base, terms=parameters["terms"])
    say(f"pushed: {where}")
    if as_json:
        print_json({"target": target, "where": where})


@rich_click.command(
    "pull",
    cls=Command,
    examples=["adapters pull user/denoise", "adapters pull user/denoise --revision v2 -o adapters/denoise-v2"],
)
@rich_click.argument("source")
@rich_click.option("--revision", metavar="NAME", help="branch, tag or commit [default: the newest]")
@rich_click.option("--out", "-o", type=click.Path(path_type=Path), help="its folder [default: adapters/NAME]")
@rich_click.option("--base", metavar="NAME|FILE", help=_BASE)
@rich_click.option("--overwrite", is_flag=True, help="replace an adapter that is there already")
@rich_click.option("--json", "as_json", is_flag=True, help="print JSON")
def pull(source: str, out: Path | None, as_json: bool, **parameters: Any) -> None:
    """Get an adapter of others, for 'adair restore --adapter FOLDER'.

    From the Hugging Face Hub, USER/NAME, or a folder. Only its safetensors, JSON and README.md are fetched; they are
    checked for damage and against the base before anything is written.
    """
    from adair_core.model.places import place_named
    from adair_core.model.sharing import pull_adapter

    place = place_named(source)
    name = source.rstrip("/").rpartition("/")[2]
    folder = out or Path("adapters") / (name if name.strip(".~") else "adapter")
    base = None if parameters["base"] is None else base_named(parameters["base"])
    got = pull_adapter(place, folder, revision=parameters["revision"], base=base, overwrite=parameters["overwrite"])
    at = "" if got.revision is None else f" at {got.revision}"
    say(f"pulled: {folder}, from {source}{at}")
    if got.left_out:
        say(f"not fetched, as adapters have no such files: {listing(got.left_out)}")
    if not got.is_checked:
        mark = got.adapter.base_fingerprint or "without a fingerprint"
        say(f"not compared with its base {got.adapter.base} ({mark}), which is not here")
    if as_json:
        print_json(
            {
                "folder": str(folder),
                "revision": got.revision,
                "base": got.adapter.base,
                "base_fingerprint": got.adapter.base_fingerprint,
                "checked": got.is_checked,
                "task": got.adapter.card.task,
            }
        )
