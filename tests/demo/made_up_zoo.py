"""A zoo with an adapter for noise and with a diagnoser, in the place of the package's own adapters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import adair_plugins.zoo
from adair_core.plugins import plugins

OWN = adair_plugins.zoo.FOLDER


@contextmanager
def made_up_zoo(folder: Path, site: Path) -> Iterator[None]:
    """Have it for a while; see `write_zoo`."""
    write_zoo(folder, site)
    use_zoo(site)
    try:
        yield
    finally:
        use_zoo(OWN)


def use_zoo(site: Path) -> None:
    """Have another folder be the package's zoo."""
    adair_plugins.zoo.FOLDER = site
    plugins.cache_clear()


def write_zoo(folder: Path, site: Path) -> None:
    """Write the zoo: the package's bases, an adapter and a diagnoser.

    Args:
        folder: of the weights.
        site: where it is written to.
    """
    own = json.loads((OWN / "index.json").read_text())
    bases = [{**spec, "path": str(OWN / spec["path"])} for spec in own if spec["kind"] == "base"]
    common = {"summary": "made up", "version": 1, "terms": "CC0"}
    made = [
        {"name": "denoise", "kind": "adapter", "path": str(folder / "denoise"), "task": "denoise", **common},
        {"name": "diagnoser", "kind": "diagnoser", "path": str(folder / "diagnoser.safetensors"), **common},
    ]
    site.mkdir(parents=True, exist_ok=True)
    (site / "index.json").write_text(json.dumps([*bases, *made]))
