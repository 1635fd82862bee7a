from __future__ import annotations

import json
import os
import resource
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from adair_core.errors import WeightsError
from adair_core.model.weights_file import fingerprint, parse_json_object, read_tensors, write_tensors


def tensors():
    generator = torch.Generator().manual_seed(0)
    return {"b.weight": torch.randn(3, 4, generator=generator), "a": torch.randn(5, generator=generator)}


def names_in(folder):
    return [path.name for path in folder.iterdir()]


def test_round_trip(tmp_path):
    path = tmp_path / "w.safetensors"
    stored = tensors() | {"steps": torch.tensor(3), "half": torch.ones(2, dtype=torch.bfloat16)}
    # Tied weights and views share memory, which the format does not allow.
    stored["tied"] = stored["a"]
    stored["view"] = stored["b.weight"].T
    write_tensors(path, stored, {"format": "x"})
    read, metadata = read_tensors(path)
    assert metadata == {"format": "x"}
    assert read.keys() == stored.keys()
    assert all(torch.equal(read[name], stored[name]) and read[name].dtype == stored[name].dtype for name in stored)
    assert load_file(path).keys() == stored.keys()
    assert names_in(tmp_path) == ["w.safetensors"]


def test_equal_weights_are_equal_files(tmp_path):
    metadata = {str(number): "é" * number for number in range(20)}
    for name in "ab":
        write_tensors(tmp_path / name, tensors(), dict(reversed(metadata.items())) if name == "b" else metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_tensors(tmp_path / "a")[1] == metadata


def test_fingerprint_is_of_names_shapes_and_values():
    base = tensors()
    assert fingerprint(base) == fingerprint(dict(reversed(base.items())))
    assert len(fingerprint(base)) == 32
    changed = {
        "value": base | {"a": base["a"] + 1e-6},
        "name": {"b.weight": base["b.weight"], "c": base["a"]},
        "shape": base | {"b.weight": base["b.weight"].view(4, 3)},
        "kind": base | {"a": base["a"].long()},
        "less": {"a": base["a"]},
    }
    assert len({fingerprint(base), *map(fingerprint, changed.values())}) == len(changed) + 1


def test_fingerprint_does_not_depend_on_the_storage():
    half = {name: tensor.bfloat16() for name, tensor in tensors().items()}
    single = {name: tensor.float() for name, tensor in half.items()}
    double = {name: tensor.double() for name, tensor in half.items()}
    strided = {name: tensor.repeat_interleave(2, 0)[::2] for name, tensor in half.items()}
    assert fingerprint(half) == fingerprint(single) == fingerprint(double) == fingerprint(strided)


def test_fingerprint_never_changes():
    # Written down when format version 1 was made: adapters in the world hold such values.
    fixed = {"w": torch.tensor([[0.0, 1.0], [-2.5, 3.0]]), "n": torch.tensor(7)}
    assert fingerprint(fixed) == "2e42f2da21d0a398522fa7df7155e5ed"


def header(entries, body=b""):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + body


BAD_FILES = {
    "empty": b"",
    "short": b"\x00" * 5,
    "random": bytes(range(256)) * 8,
    "text": b"this is no weights file at all, but a sentence",
    "pickle": b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01.",
    "zip": b"PK\x03\x04" + b"\x00" * 100,
    "enormous header": struct.pack("<Q", 2**62) + b"{}",
    "header past the end": struct.pack("<Q", 1000) + b"{}",
    "not json": struct.pack("<Q", 8) + b"{{{{{{{{",
    "not utf-8": struct.pack("<Q", 8) + b"\xff\xfe\xfd\xfc\xff\xff\xff\xff",
    "a list": struct.pack("<Q", 2) + b"[]",
    "deep nesting": struct.pack("<Q", 200_000) + b"[" * 200_000,
    "no body": header({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}),
    "offsets backwards": header({"a": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}}, b"\x00" * 16),
    "offsets overflow": header({"a": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 16]}}, b"\x00" * 16),
    "overlap": header({name: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for name in "ab"}, b"\x00" * 16),
    "negative": header({"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}, b"\x00" * 16),
    "unknown type": header({"a": {"dtype": "F99", "shape": [4], "data_offsets": [0, 16]}}, b"\x00" * 16),
    "complex": header({"a": {"dtype": "C64", "shape": [2], "data_offsets": [0, 16]}}, b"\x00" * 16),
    "metadata of numbers": header({"__metadata__": {"format": 1}}),
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_files_that_are_no_weights(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"bad\.safetensors"):
        read_tensors(path)


def test_paths_that_are_no_files(tmp_path):
    for path in (tmp_path / "absent.safetensors", tmp_path, tmp_path / "absent" / "w.safetensors"):
        with pytest.raises(WeightsError, match="there is no such file"):
            read_tensors(path)


def test_a_file_may_shrink_after_reading(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.arange(100_000.0)}, path)
    read, _ = read_tensors(path)
    os.truncate(path, 10)
    assert read["a"].sum() == torch.arange(100_000.0).sum()


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100_000, '{"a": ' + "9" * 10_000 + "}"])
def test_json_that_is_no_object(text):
    with pytest.raises(WeightsError, match="here: expected a JSON object"):
        parse_json_object(text, where="here")


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "w.safetensors"
    write_tensors(path, tensors(), {})
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(WeightsError, match=r"w\.safetensors: cannot be written: File too large"):
            write_tensors(path, {"a": torch.zeros(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert names_in(tmp_path) == ["w.safetensors"]


def test_no_permission(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot be written: Not a directory"):
        write_tensors(tmp_path / "file" / "w.safetensors", tensors(), {})
