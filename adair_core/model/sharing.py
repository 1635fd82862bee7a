"""Giving adapters to others and getting theirs: three files to a place, and back, checked on both ways.

Only an adapter's own files travel: ``adapter_config.json``, ``adapter_model.safetensors`` and ``README.md``. Whatever
else lies in a place is neither fetched nor read.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from adair_core.atomic_file import write_atomically
from adair_core.errors import AdairError, UnknownNameError, UsageError, WeightsError, expected
from adair_core.model.adapter_card import AdapterCard, card_text
from adair_core.model.adapter_files import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    AdapterFile,
    install_read,
    read_adapter,
)
from adair_core.model.load import load
from adair_core.model.shared_card import recipe_without_folders, shared_card, without_folders
from adair_core.model.weights_file import read_tensors, write_tensors
from adair_core.model.zoo import find_weights
from adair_core.new_folder import make_folder
from adair_core.plugins import plugins

FILES = (CARD_FILE, CONFIG_FILE, WEIGHTS_FILE)
"""The weights come last: an adapter is there when they are."""

BASE_KEYS = ("base", "base_model_name_or_path")
"""Where `adapter_config.json` names the base: in adair's form, and in PEFT's."""


@dataclass(frozen=True)
class Fetched:
    """Files from a place.

    Attributes:
        files: name -> content, of those that were asked for and are there.
        revision: that they are of; None where there are none.
        left_out: names of other files in the place.
    """

    files: Mapping[str, bytes]
    revision: str | None = None
    left_out: tuple[str, ...] = ()


class Place(Protocol):
    """Where adapters are shared: a repository of the Hugging Face Hub, or a folder."""

    title: str
    """What people write to name it."""

    def put(self, files: Mapping[str, bytes], *, message: str) -> str:
        """Write files, in their order; gives where they are."""

    def get(self, names: Sequence[str], *, revision: str | None) -> Fetched:
        """Read files."""


@dataclass(frozen=True)
class Pulled:
    """An adapter that came.

    Attributes:
        adapter: its files.
        revision: that it is of; None from folders.
        left_out: names of files in the place that were not fetched.
        is_checked: whether its base is here and it fits it.
    """

    adapter: AdapterFile
    revision: str | None
    left_out: tuple[str, ...]
    is_checked: bool


def push_adapter(folder: Path, place: Place, *, base: str | None = None, terms: str | None = None) -> str:
    """Give an adapter to a place, with a model card that says what it is.

    Of folders and files, as its recipe and its base name them, only the last part goes with it.

    Args:
        folder: of the adapter; nothing in it changes.
        place: see `adair_core.model.places.place_named`.
        base: zoo name or file of its base; None = as the adapter calls it.
        terms: of use, for the card.

    Returns:
        Where it is.

    Raises:
        BaseMismatchError: it was trained on another base, or does not say on which.
        WeightsError: it is damaged or cannot be put there.
        UsageError: its base is not here.
    """
    file = read_adapter(folder)
    if file.base_fingerprint is None:
        what = expected(
            f"{folder}: adapter", expected="one that names its base's fingerprint, as adair writes", got="none"
        )
        raise WeightsError(f"{what}; load it with accept_unknown_base=True and save it with save_adapter first")
    named = base or file.base
    if named is None or (base is None and not _is_here(named)):
        raise UsageError(f"{folder}: its base {named} is not here to be compared; name its file with --base")
    model = load(named)
    adapter = install_read(file, model.sites, info=model.info)
    recipe = file.card.recipe
    card = replace(file.card, recipe=None if recipe is None else recipe_without_folders(recipe))
    info = replace(model.info, name=without_folders(model.info.name))
    own = card_text(adapter, info=info, card=card, size=sum(t.nbytes for t in file.tensors.values()))
    spec = plugins().weights_named(model.info.name) if _is_of_zoo(model.info.name) else None
    text = shared_card(own, card, title=place.title, terms=terms, base_terms=spec.terms if spec else None)
    files = {CARD_FILE: text.encode(), CONFIG_FILE: _config_without_folders(file), WEIGHTS_FILE: _weights(file, card)}
    return place.put(files, message=f"{file.card.task or adapter.choice.name}: an adapter for {info.name}")


def pull_adapter(
    place: Place, folder: Path, *, revision: str | None = None, base: str | None = None, overwrite: bool = False
) -> Pulled:
    """Get an adapter from a place; nothing is written unless it is whole and fits its base.

    Args:
        place: see `adair_core.model.places.place_named`.
        folder: where it goes; made if it is not there.
        revision: branch, tag or commit; None = the newest.
        base: zoo name or file of its base; None = as the adapter calls it, where that is here.
        overwrite: replace an adapter in `folder`.

    Raises:
        BaseMismatchError: it was trained on another base than the one of that name here.
        WeightsError: there is none, it is damaged, or it cannot be written.
        UsageError: there is something in `folder`.
    """
    if folder.exists() and not overwrite and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: is there already; choose another folder, or overwrite it (--overwrite)")
    fetched = place.get(FILES, revision=revision)
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if name not in fetched.files]
    if missing:
        raise WeightsError(
            expected(place.title, expected=f"an adapter, with {CONFIG_FILE} and {WEIGHTS_FILE}", got=f"no {missing[0]}")
        )
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        _write(temporary, fetched.files)
        try:
            file = read_adapter(temporary)
            named = base or (file.base if file.base is not None and _is_here(file.base) else None)
            if named is not None and file.base_fingerprint is not None:
                model = load(named)
                install_read(file, model.sites, info=model.info)
        except WeightsError as error:
            # Where it was looked at is gone when people read this.
            raise type(error)(str(error).replace(str(temporary), place.title)) from error
    try:
        if CARD_FILE not in fetched.files:
            (folder / CARD_FILE).unlink(missing_ok=True)  # of the adapter that is replaced
        _write(folder, fetched.files)
    except OSError as error:
        raise WeightsError(f"{folder}: the adapter cannot be written: {error.strerror or error}") from error
    is_checked = named is not None and file.base_fingerprint is not None
    return Pulled(read_adapter(folder), fetched.revision, fetched.left_out, is_checked)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    make_folder(folder)
    for name in FILES:
        if name in files:
            write_atomically(folder / name, files[name])


def _config_without_folders(file: AdapterFile) -> bytes:
    told = {key: without_folders(file.config[key]) for key in BASE_KEYS if key in file.config}
    return (json.dumps({**file.config, **told}, indent=2) + "\n").encode()


def _weights(file: AdapterFile, card: AdapterCard) -> bytes:
    """The file of an adapter's weights, whose header holds its base's name and its card."""
    tensors, metadata = read_tensors(file.folder / WEIGHTS_FILE)
    metadata |= {"base": without_folders(metadata["base"]), "card": json.dumps(card.as_dict())}
    with tempfile.TemporaryDirectory() as name:
        write_tensors(Path(name) / WEIGHTS_FILE, tensors, metadata)
        return _content(Path(name) / WEIGHTS_FILE)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error


def _is_of_zoo(name: str) -> bool:
    try:
        return plugins().weights_named(name).kind == "base"
    except UnknownNameError:
        return False


def _is_here(base: str) -> bool:
    try:
        find_weights(base, kind="base")
    except AdairError:
        return False
    return True
