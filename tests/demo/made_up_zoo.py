"""A zoo with an adapter for noise and with a diagnoser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adair_core.testing import installed, write_package


@contextmanager
def made_up_zoo(folder: Path, site: Path) -> Iterator[None]:
    """Install it for a while; see `write_zoo`."""
    write_zoo(folder, site)
    with installed(site):
        yield


def write_zoo(folder: Path, site: Path) -> None:
    """Write the package.

    Args:
        folder: of the weights.
        site: where it is written to.
    """
    source = f"""
        from pathlib import Path
        from adair_core import WeightsSpec, hookimpl

        @hookimpl
        def adair_weights():
            folder = Path({str(folder)!r})
            common = dict(summary="made up", version=99, terms="CC0")
            return [
                WeightsSpec(name="denoise", kind="adapter", path=folder / "denoise", task="denoise", **common),
                WeightsSpec(name="diagnoser", kind="diagnoser", path=folder / "diagnoser.safetensors", **common),
            ]
    """
    write_package(site, "adair-plugin-zoo", {"zoo_plugin": source})
