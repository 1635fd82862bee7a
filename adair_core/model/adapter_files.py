"""Adapter folders: ``adapter_config.json``, ``adapter_model.safetensors`` and ``README.md``, the card.

What adair needs to know stands in the metadata of the safetensors file. The JSON file is PEFT's for an adapter that
PEFT can hold, and repeats the metadata for any other.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from adair_core.atomic_file import write_atomically
from adair_core.errors import BaseMismatchError, WeightsError, expected
from adair_core.model.adapter_card import AdapterCard, card_text, with_tiles_row
from adair_core.model.backbone import BaseInfo
from adair_core.model.installed_adapter import InstalledAdapter, install
from adair_core.model.peft_form import PREFIX, peft_config, peft_problem, read_peft
from adair_core.model.untrusted_build import building_for
from adair_core.model.weights_file import (
    StorageType,
    fingerprint,
    parse_json_object,
    read_tensors,
    to_storage,
    write_tensors,
)
from adair_core.new_folder import make_folder
from adair_core.specs import Choice, Site

ADAPTER_FORMAT = "adair-adapter"
FORMAT_VERSION = "1"
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
CARD_FILE = "README.md"


@dataclass(frozen=True, kw_only=True)
class AdapterFile:
    """What an adapter's folder says.

    Attributes:
        folder: the folder.
        tensors: as stored, by the names in the file.
        config: ``adapter_config.json``.
        choice: adapter type with every option; ``None`` for a file that adair did not write.
        base: name of the base that it was trained on.
        base_fingerprint: of that base.
        fingerprint: of the weights.
        card: task, metrics and recipe.
    """

    folder: Path
    tensors: dict[str, Tensor]
    config: dict[str, Any]
    choice: Choice | None
    base: str | None
    base_fingerprint: str | None
    fingerprint: str
    card: AdapterCard


def write_adapter(
    folder: Path, adapter: InstalledAdapter, *, info: BaseInfo, card: AdapterCard, dtype: StorageType = "float32"
) -> None:
    """Write an adapter's folder, each file atomically and the weights last.

    Args:
        folder: made if it is not there; an adapter in it is replaced.
        adapter: its modules.
        info: the base.
        card: what people should know.
        dtype: in which the weights are stored.

    Raises:
        WeightsError: it cannot be written, or a weight is not finite in `dtype`.
    """
    in_peft = not peft_problem(adapter)
    names = {name: f"{PREFIX}{name}" if in_peft else name for name in adapter.tensors()}
    stored = to_storage(
        {names[name]: tensor for name, tensor in adapter.tensors().items()}, dtype, where=str(folder / WEIGHTS_FILE)
    )
    metadata = {
        "format": ADAPTER_FORMAT,
        "format_version": FORMAT_VERSION,
        "type": adapter.choice.name,
        "config": json.dumps(adapter.choice.options),
        "backbone": info.backbone.name,
        "base": info.name,
        "base_fingerprint": info.fingerprint,
        "fingerprint": fingerprint(stored),
        "card": json.dumps(card.as_dict()),
    }
    config = peft_config(adapter, base=info.name) if in_peft else {**metadata, "config": adapter.choice.options}
    config.pop("card", None)
    is_new = not folder.exists()
    try:
        make_folder(folder)
        text = card_text(adapter, info=info, card=card, size=sum(t.nbytes for t in stored.values()))
        write_atomically(folder / CARD_FILE, text.encode())
        write_atomically(folder / CONFIG_FILE, (json.dumps(config, indent=2) + "\n").encode())
        write_tensors(folder / WEIGHTS_FILE, stored, metadata)
    except (OSError, WeightsError) as error:
        if is_new:  # without its weights, or with nothing at all, it would only be in the way
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{folder}: the adapter cannot be written: {error.strerror or error}") from error


def write_suited_tile(file: AdapterFile, tile: int | None) -> None:
    """Write into an adapter's card which tiles suit it, and leave everything else in its folder as it is.

    Args:
        file: of an adapter in adair's form.
        tile: see `AdapterCard.tile`.

    Raises:
        UsageError: there cannot be such tiles.
        WeightsError: a file cannot be read or written.
    """
    card = replace(file.card, tile=tile)
    tensors, metadata = read_tensors(file.folder / WEIGHTS_FILE)
    text_file = file.folder / CARD_FILE
    try:
        if text_file.exists():
            write_atomically(text_file, with_tiles_row(text_file.read_text(encoding="utf-8"), tile).encode())
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{text_file}: cannot be written anew: {error}") from error
    write_tensors(file.folder / WEIGHTS_FILE, tensors, {**metadata, "card": json.dumps(card.as_dict())})


def read_adapter(folder: Path) -> AdapterFile:
    """Read an adapter's folder.

    Raises:
        WeightsError: a file is missing, damaged, or does not belong to the other.
    """
    where = folder / CONFIG_FILE
    try:
        config = parse_json_object(where.read_text(encoding="utf-8"), where=str(where))
    except OSError as error:
        what = expected(str(folder), expected=f"an adapter's folder, with {CONFIG_FILE}", got=error.strerror or error)
        raise WeightsError(what) from error
    except UnicodeDecodeError as error:
        raise WeightsError(expected(str(where), expected="JSON text in UTF-8", got="other bytes")) from error
    tensors, metadata = read_tensors(folder / WEIGHTS_FILE)
    if metadata.get("format") != ADAPTER_FORMAT:
        if "peft_type" not in config:
            message = expected(f"{folder}", expected="an adapter of adair or PEFT", got="neither's metadata")
            raise WeightsError(message)
        base = config.get("base_model_name_or_path")
        return AdapterFile(
            folder=folder,
            tensors=tensors,
            config=config,
            choice=None,
            base=str(base) if base else None,
            base_fingerprint=None,
            fingerprint=fingerprint(tensors),
            card=AdapterCard(),
        )
    weights = str(folder / WEIGHTS_FILE)
    header = _header(metadata, weights)
    mark = fingerprint(tensors)
    if mark != header.fingerprint:
        message = expected(f"{weights}: fingerprint of the weights", expected=header.fingerprint, got=mark)
        raise WeightsError(f"{message}; the file was changed or damaged: get it again")
    options = parse_json_object(header.config, where=f"{weights}: config")
    card = AdapterCard.from_dict(parse_json_object(header.card, where=f"{weights}: card"), where=weights)
    return AdapterFile(
        folder=folder,
        tensors={name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()},
        config=config,
        choice=Choice(name=header.type, options=options),
        base=header.base,
        base_fingerprint=header.base_fingerprint,
        fingerprint=mark,
        card=card,
    )


def install_read(
    file: AdapterFile, sites: Sequence[Site], *, info: BaseInfo, accept_unknown_base: bool = False
) -> InstalledAdapter:
    """Build an adapter that was read.

    Args:
        file: what was read.
        sites: of the backbone.
        info: the base that it goes on.
        accept_unknown_base: take an adapter that does not say which base it was trained on, as PEFT's do not.

    Raises:
        BaseMismatchError: it was trained on another base, or does not say on which.
        UsageError: PEFT wrote it, with options that adair has nothing like.
        WeightsError: its weights do not fit its options, or these not the backbone, or no plugin offers its type.
    """
    where = str(file.folder)
    if file.base_fingerprint is None and not accept_unknown_base:
        raise BaseMismatchError(
            f"{where}: the adapter does not say which weights it was trained on (base {file.base or 'not named'}, no "
            f"fingerprint); this base is {info.name} ({info.fingerprint}). If you know that they fit, pass "
            f"accept_unknown_base=True (--accept-unknown-base)"
        )
    if file.base_fingerprint not in (None, info.fingerprint):
        raise BaseMismatchError(
            f"{where}: the adapter was trained on base {file.base} ({file.base_fingerprint}), and this base is "
            f"{info.name} ({info.fingerprint}); load it on its own base"
        )
    choice, tensors = file.choice, file.tensors
    if choice is None:
        choice, tensors = read_peft(file.config, file.tensors, sites, where=where)
    with building_for(tensors, where=where):
        adapter = install(choice.name, choice.options, sites, seed=0)
    adapter.load_tensors(tensors, where=where)
    adapter.tile = file.card.tile
    if file.choice is not None:
        _check_config(file, adapter)
    return adapter


def _check_config(file: AdapterFile, adapter: InstalledAdapter) -> None:
    # The two files are replaced one after the other: a kill in between may leave one of another adapter.
    if "peft_type" in file.config:
        wanted = peft_config(adapter, base="") if not peft_problem(adapter) else {}
        same = all(file.config.get(name) == wanted.get(name) for name in ("peft_type", "r", "lora_alpha"))
    else:
        # With each other, not with the plugin's: it may have got options since.
        assert file.choice is not None
        same = file.config.get("type") == file.choice.name and file.config.get("config") == file.choice.options
    if not same:
        raise WeightsError(
            f"{file.folder / CONFIG_FILE}: describes another adapter than {WEIGHTS_FILE} beside it, of type "
            f"{adapter.choice.name!r}; a write was interrupted, or one of them was changed: get both again"
        )


class _Header(BaseModel):
    model_config = ConfigDict(extra="ignore")

    format: Literal["adair-adapter"]
    format_version: Literal["1"]
    type: str
    config: str
    backbone: str
    base: str
    base_fingerprint: str
    fingerprint: str
    card: str


def _header(metadata: Mapping[str, str], where: str) -> _Header:
    try:
        return _Header.model_validate(metadata)
    except ValidationError as error:
        problems = "; ".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
        message = f"{where}: expected the metadata of an adair adapter, format version {FORMAT_VERSION}"
        raise WeightsError(f"{message}: {problems}") from error
