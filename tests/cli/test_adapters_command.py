"""`adair adapters push` and `pull`: to a folder, and to a small server that speaks as the Hub does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hub_server import Hub, running_hub

from adair_core.model import AdapterCard, load, save_base, untrained
from adair_core.model.adapter_files import read_adapter
from adair_core.testing import run_program

FILES = {"README.md", "adapter_config.json", "adapter_model.safetensors"}

OTHER = {"dim": 4, "blocks": (1, 1, 1, 1), "heads": (1, 1, 1, 1), "refinement": 1}
"""A base of the size of the others, with other weights."""


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory) -> Path:
    model = load(base)
    model.add_adapter("denoise", "lora", {"rank": 2})
    card = AdapterCard(
        task="denoise",
        metrics=[{"condition": "sigma 25", "psnr": 30.25}],
        protocol="made up",
        recipe={"task": {"name": "denoise"}, "steps": 7},
    )
    folder = tmp_path_factory.mktemp("adapters") / "denoise"
    model.save_adapter("denoise", folder, card=card)
    return folder


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    from huggingface_hub import constants

    before = constants.ENDPOINT
    with running_hub() as served:
        # What the client made of HF_ENDPOINT and HF_HUB_DISABLE_XET when it was imported.
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template.replace(before, served.url))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", served.token)
        yield served


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_to_a_folder_and_back(adapter, base, photos, workplace):
    target = f"file://{workplace}/lab/de%20noise"
    outcome = run_program("adapters", "push", adapter, target, "--terms", "CC-BY-4.0")
    assert outcome.exit_code == 0, outcome.stderr
    shared = workplace / "lab/de noise"
    assert set(contents(shared)) == FILES
    (shared / "model.py").write_text("raise SystemExit")
    pulled = run_program("adapters", "pull", "./lab/de noise", "-o", "mine", "--base", base, "--json")
    assert pulled.exit_code == 0, pulled.stderr
    assert "not fetched, as adapters have no such files: model.py" in pulled.stderr
    assert pulled.json["checked"] is True
    assert pulled.json["revision"] is None
    assert set(contents(Path("mine"))) == FILES
    assert contents(Path("mine")) == {name: content for name, content in contents(shared).items() if name in FILES}
    for folder, name in ((adapter, "a.png"), ("mine", "b.png")):
        run = ["restore", photos / "photo0.png", "-o", name, "--adapter", folder, "--base", base]
        assert run_program(*run).exit_code == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_the_model_card(adapter, workplace):
    run_program("adapters", "push", adapter, workplace / "shared", "--terms", "CC-BY-4.0")
    text = (workplace / "shared/README.md").read_text()
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "adair",
        "pipeline_tag": "image-to-image",
        "tags": ["adair", "image-restoration", "denoise"],
    }
    assert "| sigma 25 | 30.25 |" in body
    assert "- Adapter: CC-BY-4.0\n- Base: not stated" in body
    assert '"steps": 7' in body
    assert "base fingerprint" in body
    assert f"adair adapters pull {workplace / 'shared'} -o adapter" in body
    assert (adapter / "README.md").read_text().startswith("# denoise")  # as it was


def test_where_folders_lie_is_not_told(base, workplace):
    data = {"images": ["/home/jo/photos/kodak/", "C:\\jo\\scans"], "validation": None}
    recipe = {"data": data, "base": str(base.absolute()), "steps": 7}
    model = load(base)
    model.add_adapter("denoise", "lora", {"rank": 2})
    model.save_adapter("denoise", workplace / "trained", card=AdapterCard(task="denoise", recipe=recipe))
    before = {path.name: path.read_bytes() for path in (workplace / "trained").iterdir()}
    outcome = run_program("adapters", "push", "trained", "./shared/denoise", "--base", base)
    assert outcome.exit_code == 0, outcome.stderr
    for path in (workplace / "shared" / "denoise").iterdir():
        content = path.read_bytes()
        assert b"/home/" not in content
        assert b"jo\\" not in content
        assert str(base.parent).encode() not in content
    shared, own = read_adapter(workplace / "shared" / "denoise"), read_adapter(workplace / "trained")
    data = {"images": ["kodak", "scans"], "validation": None}
    assert shared.card.recipe == {"data": data, "base": base.name, "steps": 7}
    assert shared.tensors.keys() == own.tensors.keys()
    assert all(torch.equal(tensor, own.tensors[name]) for name, tensor in shared.tensors.items())
    assert {path.name: path.read_bytes() for path in (workplace / "trained").iterdir()} == before


def test_the_terms_of_a_base_of_the_zoo(workplace):
    model = load("restormer-tiny")
    model.add_adapter("denoise", "lora", {"rank": 1})
    model.save_adapter("denoise", workplace / "own")
    assert run_program("adapters", "push", "own", "./shared").exit_code == 0
    text = (workplace / "shared/README.md").read_text()
    assert "- Adapter: not stated; ask who made it\n- Base: research use" in text


def test_nothing_is_replaced_unless_asked(adapter, workplace):
    push = ["adapters", "push", adapter, "./shared"]
    assert run_program(*push).exit_code == 0
    again = run_program(*push)
    assert again.exit_code == 2
    assert "README.md is there already" in again.stderr
    assert run_program(*push, "--overwrite").exit_code == 0
    pull = ["adapters", "pull", "./shared"]
    assert run_program(*pull).exit_code == 0
    assert set(contents(Path("adapters/shared"))) == FILES
    assert "is there already" in run_program(*pull).stderr
    assert run_program(*pull, "--overwrite").exit_code == 0
    Path("shared/README.md").unlink()  # as PEFT's adapters often have none
    assert run_program(*pull, "--overwrite").exit_code == 0
    assert not Path("adapters/shared/README.md").exists()  # that of another adapter


def test_from_the_folder_above(adapter, base, workplace, monkeypatch):
    run_program("adapters", "push", adapter, "./shared", "--base", base)
    for name in ("shared/inside", "temporary"):
        Path(name).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(workplace / "temporary"))
    monkeypatch.chdir("shared/inside")
    pulled = run_program("adapters", "pull", "..")
    assert pulled.exit_code == 0, pulled.stderr
    assert set(contents(Path("adapters/adapter"))) == FILES
    assert not contents(workplace / "temporary")


def test_damage_and_other_bases_leave_nothing(adapter, base, workplace):
    run_program("adapters", "push", adapter, "./shared")
    whole = Path("shared/adapter_model.safetensors").read_bytes()
    Path("shared/adapter_model.safetensors").write_bytes(whole[:-4] + b"\0\0\0\1")
    damaged = run_program("adapters", "pull", "./shared", "-o", "mine")
    assert damaged.exit_code == 1
    assert "./shared/adapter_model.safetensors: fingerprint of the weights" in damaged.stderr
    Path("shared/adapter_model.safetensors").write_bytes(whole)
    other = untrained("restormer", seed=1, **OTHER)
    save_base(workplace / "other.safetensors", other.backbone, backbone=other.info.backbone)
    wrong = run_program("adapters", "pull", "./shared", "-o", "mine", "--base", "./other.safetensors")
    assert wrong.exit_code == 1
    assert "the adapter was trained on base" in wrong.stderr
    assert not Path("mine").exists()
    wrong = run_program("adapters", "push", adapter, "./new", "--base", "./other.safetensors")
    assert "the adapter was trained on base" in wrong.stderr
    assert not Path("new").exists()
    Path("shared/adapter_config.json").unlink()
    assert "got no adapter_config.json" in run_program("adapters", "pull", "./shared", "-o", "mine").stderr


def test_a_base_that_is_not_here(workplace):
    model = untrained("restormer", **OTHER)
    save_base(workplace / "gone.safetensors", model.backbone, backbone=model.info.backbone)
    model = load(workplace / "gone.safetensors")
    model.add_adapter("denoise", "lora", {"rank": 1})
    model.save_adapter("denoise", workplace / "own")
    assert run_program("adapters", "push", "own", "./shared").exit_code == 0
    (workplace / "gone.safetensors").rename(workplace / "here.safetensors")
    outcome = run_program("adapters", "pull", "./shared", "-o", "mine", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert "not compared with its base" in outcome.stderr
    assert outcome.json["checked"] is False
    outcome = run_program("adapters", "push", "own", "./again")
    assert outcome.exit_code == 2
    assert "is not here to be compared; name its file with --base" in outcome.stderr
    assert run_program("adapters", "push", "own", "./again", "--base", "./here.safetensors").exit_code == 0


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own, where it uploads LFS objects
@pytest.mark.parametrize("large", [(), (".safetensors",)])
def test_to_the_hub_and_back(adapter, hub, large):
    hub.large = large
    outcome = run_program("adapters", "push", adapter, "user/denoise", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    number, files = hub.commits["user/denoise"][-1]
    assert set(files) == FILES
    assert outcome.json["where"].endswith(f"/user/denoise/commit/{number}")
    assert bool(hub.objects) == bool(large)
    assert all(token == hub.token for method, _, token in hub.requests if method == "POST")
    hub.branches["v1"] = number
    hub.commit("user/denoise", {"README.md": b"changed", "pickle.bin": b"\x80"})
    hub.requests.clear()
    newest = run_program("adapters", "pull", "user/denoise", "--json")
    assert newest.exit_code == 0, newest.stderr
    assert "pickle.bin" in newest.stderr
    assert contents(Path("adapters/denoise"))["README.md"] == b"changed"
    assert newest.json["revision"] == hub.commits["user/denoise"][-1][0]
    assert not [path for _, path, _ in hub.requests if "pickle" in path]
    old = run_program("adapters", "pull", "user/denoise", "-o", "old", "--revision", "v1", "--json")
    assert old.json["revision"] == number
    assert contents(Path("old")) == files


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pull", "user/none"], "user/none: cannot be read on the Hub: "),
        (["pull", "user/denoise", "--revision", "v9"], "user/denoise: cannot be read on the Hub: "),
    ],
)
def test_what_the_hub_refuses(arguments, message, adapter, hub):
    hub.commit("user/denoise", {"README.md": b""})
    outcome = run_program("adapters", *arguments)
    assert outcome.exit_code == 1
    assert message in outcome.stderr
    assert not Path("adapters").exists()


def test_a_wrong_token_is_refused_and_not_shown(adapter, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrongwrongwrong")
    outcome = run_program("adapters", "push", adapter, "user/denoise")
    assert outcome.exit_code == 1
    assert "user/denoise: cannot be written on the Hub" in outcome.stderr
    assert "wrongwrong" not in outcome.stderr
    assert "user/denoise" not in hub.commits


def test_the_environment_names_the_hub(adapter, workplace):
    """In a process of its own, as the client reads HF_ENDPOINT when it is imported."""
    with running_hub() as served:
        environment = {**os.environ, "HF_ENDPOINT": served.url, "HF_TOKEN": served.token, "HF_HOME": str(workplace)}
        command = [
            sys.executable,
            "-c",
            "from adair_core.cli import main; main()",
            "adapters",
            "push",
            str(adapter),
            "user/denoise",
        ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert set(served.commits["user/denoise"][-1][1]) == FILES


def test_the_client_is_not_needed_for_anything_else(adapter, workplace, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert run_program("adapters", "push", adapter, "./shared").exit_code == 0
    outcome = run_program("adapters", "push", adapter, "user/denoise")
    assert outcome.exit_code == 2
    assert "pip install 'adair[hub]'" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["push", "ADAPTER", "denoise"], "place: expected user/name on the Hugging Face Hub, or a folder"),
        (["push", "ADAPTER", "a/b/c"], "place: expected user/name"),
        (["push", "ADAPTER", "file://host/x"], "place: expected user/name"),
        (["push", "./none", "./shared"], "expected an adapter's folder, with adapter_config.json"),
        (["pull", "./none"], "./none: cannot be read"),
        (["pull", "ADAPTER", "--revision", "x"], "--revision: the folder"),
        (["send"], "No such command 'send'"),
    ],
)
def test_wrong_requests(arguments, message, adapter):
    given: list[Any] = [adapter if argument == "ADAPTER" else argument for argument in arguments]
    outcome = run_program("adapters", *given)
    assert outcome.exit_code in (1, 2)
    assert message in outcome.stderr


def test_peft_adapters_without_a_fingerprint(adapter, workplace):
    from safetensors.numpy import save_file

    folder = workplace / "foreign"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    save_file({"a": np.zeros(1, np.float32)}, folder / "adapter_model.safetensors")
    outcome = run_program("adapters", "push", folder, "./shared")
    assert "expected one that names its base's fingerprint" in outcome.stderr
