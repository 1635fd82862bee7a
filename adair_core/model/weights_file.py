"""Safetensors files: read without trusting them, written atomically, with a fingerprint of their values."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from adair_core.atomic_file import write_atomically
from adair_core.errors import WeightsError, expected, listing

StorageType = Literal["float32", "bfloat16", "float16"]
_DTYPES = frozenset(
    {torch.float16, torch.bfloat16, torch.float32, torch.float64}
    | {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
)


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Identify weights by their names, shapes and values.

    Values are taken as float32, in which bfloat16 and float16 are exact: weights have one fingerprint in the file,
    after loading, on every device and after being stored again.

    Args:
        tensors: name -> tensor.

    Returns:
        BLAKE2b-128, 32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu()
        tensor = tensor.to(torch.float32 if tensor.is_floating_point() else torch.int64).contiguous()
        title = json.dumps([name, list(tensor.shape), str(tensor.dtype)]).encode()
        digest.update(struct.pack("<Q", len(title)))
        digest.update(title)
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file atomically.

    Raises:
        WeightsError: the disk is full, the folder does not exist or may not be written; an old file stays.
    """
    # safetensors refuses tensors that share memory (tied weights, views).
    separate = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    try:
        write_atomically(path, _sorted_metadata(save(separate, metadata=dict(metadata))))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written: {error.strerror or error}") from error


def _sorted_metadata(content: bytes) -> bytes:
    # safetensors writes metadata in the order of a hash table, another one at each call: equal weights would be
    # different files. The header: its length in 8 bytes, JSON, spaces up to a multiple of 8.
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((struct.pack("<Q", len(text)), text, memoryview(content)[8 + length :]))


def to_storage(tensors: Mapping[str, Tensor], dtype: StorageType, *, where: str) -> dict[str, Tensor]:
    """Convert weights to the type in which they are stored.

    Raises:
        WeightsError: a value is not finite in it.
    """
    storage: torch.dtype = getattr(torch, dtype)
    stored = {
        name: tensor.detach().to("cpu", storage if tensor.is_floating_point() else tensor.dtype)
        for name, tensor in tensors.items()
    }
    broken = [name for name, tensor in stored.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise WeightsError(f"{where}: not written: values that are not finite in {dtype}: {listing(broken)}")
    return stored


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file.

    Returns:
        Name -> tensor as stored, on the CPU, and the metadata.

    Raises:
        WeightsError: there is no such file, it may not be read, or it is not a whole safetensors file.
    """
    try:
        if not path.is_file():
            raise WeightsError(f"{path}: there is no such file; expected a safetensors file")
        with safe_open(path, framework="pt", device="cpu") as file:
            names = list(file.keys())
            # Copies: views of a mapped file would crash the process if the file shrank later.
            tensors = {name: file.get_tensor(name).clone() for name in names}
            metadata = dict(file.metadata() or {})
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        what = expected(str(path), expected="a whole safetensors file", got=f"one that cannot be parsed ({reason})")
        raise WeightsError(f"{what}; it may be truncated, or of another format ('adair convert' reads .pth)") from error
    strange = [f"{name} ({tensor.dtype})" for name, tensor in tensors.items() if tensor.dtype not in _DTYPES]
    if strange:
        raise WeightsError(f"{path}: expected float, integer or bool tensors, got {listing(strange)}")
    return tensors, metadata


def check_fit(wanted: Mapping[str, Tensor], got: Mapping[str, Tensor], *, where: str, what: str) -> None:
    """Compare names and shapes.

    Raises:
        WeightsError: with what is missing, what is unexpected, and what has another shape.
    """
    missing, unexpected = sorted(wanted.keys() - got.keys()), sorted(got.keys() - wanted.keys())
    shared = sorted(wanted.keys() & got.keys())
    other = [
        expected(key, expected=str(tuple(wanted[key].shape)), got=tuple(got[key].shape))
        for key in shared
        if wanted[key].shape != got[key].shape
    ]
    problems = [
        f"{len(keys)} {label} ({listing(keys)})"
        for keys, label in ((missing, "missing"), (unexpected, "unexpected"), (other, "of another shape"))
        if keys
    ]
    if problems:
        raise WeightsError(f"{where}: the weights do not fit {what}: {'; '.join(problems)}")


def parse_json_object(text: str, *, where: str) -> dict[str, Any]:
    """Parse text that must be a JSON object.

    Raises:
        WeightsError: it is not; the message starts with `where`.
    """
    try:
        value = json.loads(text)
    # json raises RecursionError on deep nesting, and ValueError on a number of thousands of digits.
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{where}: expected a JSON object, got text that cannot be parsed ({error})") from error
    if not isinstance(value, dict):
        raise WeightsError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value
