"""Places where adapters are shared, by name; and folders, which need no network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from adair_core.atomic_file import write_atomically
from adair_core.errors import UsageError, WeightsError, expected
from adair_core.model.sharing import Fetched, Place
from adair_core.new_folder import make_folder

_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
KINDS = "user/name on the Hugging Face Hub, or a folder as /path, ./path or file:///path"


def place_named(name: str, *, private: bool = False, overwrite: bool = False) -> Place:
    """Find a place.

    Args:
        name: ``user/name`` of the Hub; or a folder: a path that begins with ``/``, ``.`` or ``~``, or ``file://``.
        private: whether a repository that is made is not public.
        overwrite: whether an adapter in a folder may be replaced. A repository keeps what was in it.

    Raises:
        UsageError: it is neither, or ``huggingface_hub`` is not installed.
    """
    if name.startswith("file://"):
        parts = urlsplit(name)
        if parts.netloc not in ("", "localhost") or not parts.path.strip("/"):
            raise UsageError(expected("place", expected=KINDS, got=repr(name)))
        return FolderPlace(Path(unquote(parts.path)), title=name, overwrite=overwrite)
    if name.startswith(("/", ".", "~")):
        return FolderPlace(Path(name).expanduser(), title=name, overwrite=overwrite)
    if _REPOSITORY.fullmatch(name):
        from adair_core.model.hub import HubPlace

        return HubPlace(name, private=private)
    raise UsageError(expected("place", expected=KINDS, got=repr(name)))


class FolderPlace:
    """A folder, on a shared disk for instance.

    Args:
        folder: made when something is put there.
        title: what people call it.
        overwrite: whether files in it may be replaced.
    """

    def __init__(self, folder: Path, *, title: str, overwrite: bool = False) -> None:
        self.folder, self.title, self._overwrite = folder, title, overwrite

    def put(self, files: Mapping[str, bytes], *, message: str) -> str:  # noqa: ARG002 (a folder keeps no history)
        """Write files, each atomically.

        Raises:
            UsageError: one of them is there already.
            WeightsError: they cannot be written.
        """
        there = [name for name in files if (self.folder / name).exists()]
        if there and not self._overwrite:
            raise UsageError(f"{self.folder}: {there[0]} is there already; choose another folder, or --overwrite")
        try:
            make_folder(self.folder)
            for name, content in files.items():
                write_atomically(self.folder / name, content)
        except OSError as error:
            raise WeightsError(f"{self.folder}: cannot be written: {error.strerror or error}") from error
        return str(self.folder)

    def get(self, names: Sequence[str], *, revision: str | None) -> Fetched:
        """Read files.

        Raises:
            UsageError: a revision was asked for.
            WeightsError: there is no such folder, or a file cannot be read.
        """
        if revision is not None:
            raise UsageError(f"--revision: the folder {self.folder} keeps none; leave it out")
        try:
            found = sorted(path.name for path in self.folder.iterdir())
            files = {name: (self.folder / name).read_bytes() for name in names if name in found}
        except OSError as error:
            raise WeightsError(f"{self.title}: cannot be read: {error.strerror or error}") from error
        return Fetched(files, left_out=tuple(name for name in found if name not in names))
