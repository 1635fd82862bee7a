"""`adair export`: files that spandrel, onnxruntime and PEFT load, and that then do what adair does."""

from __future__ import annotations

import json
import resource
import sys
import warnings
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from adair_core.model import AdapterCard, load, load_base, save_base, untrained
from adair_core.testing import run_program

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import spandrel
    import spandrel_extra_arches

    spandrel_extra_arches.install(ignore_duplicates=True)

RESTORMER = {"dim": 4, "blocks": (1, 1, 1, 1), "heads": (1, 2, 1, 1), "refinement": 1}
NAFNET = {"width": 4, "encoder": (1,), "middle": 1, "decoder": (1,)}
SHAPES = {"restormer": RESTORMER, "nafnet": NAFNET}
SIZES = [(37, 53), (8, 19)]


def give_values(parameters, seed: int) -> None:
    """As training would: new adapters, and the branches of a new NAFNet, are the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Bases of both backbones, each with an adapter of each type in a folder of the type's name."""
    root = tmp_path_factory.mktemp("made")
    for backbone, shape in SHAPES.items():
        model = untrained(backbone, seed=1, **shape)
        give_values((p for name, p in model.backbone.named_parameters() if name.endswith(("beta", "gamma"))), 0)
        base = root / f"{backbone}.safetensors"
        save_base(base, model.backbone, backbone=model.info.backbone, recipe={"steps": 3})
        for seed, type_name in enumerate(("lora", "bottleneck", "prompt")):
            model = load(base)
            model.add_adapter(type_name, type_name)
            give_values(model.adapter_parameters(type_name).values(), seed)
            recipe = {"task": {"name": "super-resolve", "options": {"scale": 2}}}
            card = AdapterCard(task="super-resolve", recipe=recipe)
            model.save_adapter(type_name, root / backbone / type_name, card=card)
    model = load(root / "restormer.safetensors")
    for name, kinds in (("plain", ("conv1x1", "conv3x3")), ("depthwise", ("dwconv",))):
        model.add_adapter(name, "lora", {"kinds": kinds, "rank": 2})
        give_values(model.adapter_parameters(name).values(), 5)
        model.save_adapter(name, root / "restormer" / name, card=AdapterCard(notes="of mine"))
    return root


def images(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(1, 3, *size, generator=generator) for size in SIZES]


def ours(made: Path, backbone: str, adapters: dict[str, float], image: torch.Tensor, strength: float = 1.0):
    model = load(made / f"{backbone}.safetensors")
    for name in adapters:
        model.load_adapter(made / backbone / name)
    model.set_adapters(list(adapters), list(adapters.values()))
    with torch.no_grad():
        restored = model(image)
    assert (restored - image).abs().max() > 0.05, "the network does nothing: nothing would be compared"
    return image + strength * (restored - image)


def export(*arguments: object):
    outcome = run_program("export", *arguments)
    assert outcome.exit_code == 0, outcome.stderr
    assert not list(Path().glob(".*")), "something temporary was left"
    return outcome


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
@pytest.mark.parametrize("backbone", SHAPES)
def test_spandrel_recognises_and_computes_the_same(made, backbone, ending):
    outcome = export(f"out{ending}", "--adapter", made / backbone / "lora", "--strength", 0.7, "--json")
    found = spandrel.ModelLoader().load_from_file(f"out{ending}")
    assert found.architecture.id == {"restormer": "Restormer", "nafnet": "NAFNet"}[backbone]
    assert found.architecture.id == outcome.json["architecture"]
    for image in images():
        wanted = ours(made, backbone, {"lora": 1.0}, image, strength=0.7)
        with torch.no_grad():
            torch.testing.assert_close(found(image), wanted.clamp(0, 1), rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["out.safetensors", "out.pth", "out.onnx", "out"])
def test_a_full_disk_leaves_nothing(made, name):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        outcome = run_program("export", name, "--adapter", made / "restormer" / "plain")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith(f"error: {name}")
    assert "cannot be written: File too large" in outcome.stderr
    assert not list(Path().iterdir())


@pytest.mark.parametrize("backbone", SHAPES)
def test_spandrel_recognises_the_shapes_that_come_with_adair(backbone):
    from adair_core.plugins import plugins

    spec = plugins().backbones[backbone]
    small = {"restormer": ("tiny", "small"), "nafnet": ("tiny",)}[backbone]
    for preset in spec.presets:
        assert not spec.spandrel.problem(spec.config(**spec.presets[preset]))
    for preset in small:
        model = untrained(backbone, preset=preset)
        save_base("base.safetensors", model.backbone, backbone=model.info.backbone)
        export("out.safetensors", "--base", "base.safetensors", "--overwrite")
        spandrel.ModelLoader().load_from_file("out.safetensors")


@pytest.mark.parametrize(
    ("backbone", "shape", "reason"),
    [
        ("restormer", {**RESTORMER, "refinement": 0}, "at least one block at each level"),
        ("restormer", {**RESTORMER, "blocks": (1, 0, 1, 1)}, "at least one block at each level"),
        ("restormer", {**RESTORMER, "dim": 16, "expansion": 2.68}, "reads the expansion from the first level, as 2.66"),
        ("nafnet", {**NAFNET, "middle": 0}, "a block in each and in the middle"),
        ("nafnet", {**NAFNET, "encoder": (1, 1), "decoder": (1, 0)}, "a block in each and in the middle"),
        ("nafnet", {**NAFNET, "in_channels": 1}, "as many channels in as out, got 1 and 3"),
    ],
)
def test_shapes_that_spandrel_would_not_recognise(backbone, shape, reason):
    """They are refused, and spandrel itself fails on such weights."""
    model = untrained(backbone, **shape)
    with pytest.raises((spandrel.UnsupportedModelError, RuntimeError)):
        spandrel.ModelLoader().load_from_state_dict(model.backbone.state_dict())
    save_base("base.safetensors", model.backbone, backbone=model.info.backbone)
    outcome = run_program("export", "out.pth", "--base", "base.safetensors")
    assert outcome.exit_code == 2
    assert reason in outcome.stderr
    assert "--format onnx takes every shape" in outcome.stderr
    assert not Path("out.pth").exists()


@pytest.mark.parametrize("dim", [4, 6, 16])
def test_an_expansion_that_spandrel_reads_from_the_first_level(dim):
    """Hidden channels of 2 and 3 times as many are whole numbers at every level."""
    model = untrained("restormer", **{**RESTORMER, "dim": dim, "heads": (1, 1, 1, 1), "expansion": 3.0})
    save_base("base.safetensors", model.backbone, backbone=model.info.backbone)
    export("out.safetensors", "--base", "base.safetensors")
    spandrel.ModelLoader().load_from_file("out.safetensors")


@pytest.mark.parametrize(
    ("backbone", "adapters", "strength"),
    [
        pytest.param("restormer", {"lora": 1.0}, 1.0, marks=pytest.mark.slow),
        ("nafnet", {"bottleneck": 1.0}, 0.6),
        ("nafnet", {"prompt": 1.0}, 1.0),
        ("nafnet", {"lora": 0.5, "bottleneck": 0.25}, 1.0),
    ],
    ids=["lora", "bottleneck", "prompt", "blend"],
)
def test_onnxruntime_computes_the_same(made, backbone, adapters, strength):
    onnxruntime = pytest.importorskip("onnxruntime")
    chosen = [argument for name in adapters for argument in ("--adapter", made / backbone / name)]
    blend = ",".join(map(str, adapters.values()))
    outcome = export("out.onnx", *chosen, "--blend", blend, "--strength", strength, "--json")
    session = onnxruntime.InferenceSession("out.onnx", providers=["CPUExecutionProvider"])
    for image in images(3):
        (got,) = session.run(["restored"], {"image": image.numpy()})
        wanted = ours(made, backbone, adapters, image, strength)
        torch.testing.assert_close(torch.from_numpy(got), wanted, rtol=0, atol=1e-4)
    said = session.get_modelmeta().custom_metadata_map
    assert said == outcome.json["origin"]
    assert said["base_fingerprint"] == load_base(made / f"{backbone}.safetensors")[1].fingerprint
    assert json.loads(said["adapters"]) == {str(made / backbone / name): much for name, much in adapters.items()}
    assert (said["strength"], said["scale"]) == (f"{strength:g}", "2")
    assert "not stated" in said["terms"]
    assert outcome.json["opset"] == 18
    assert 0 < outcome.json["largest_error"] <= 1e-4
    assert "onnxruntime" in outcome.stderr
    assert "enlarge images 2 times" in outcome.stderr
    assert b"/adair_core/" not in Path("out.onnx").read_bytes(), "paths of this machine in the file"


def test_a_file_that_computes_something_else_is_not_kept(made, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    run = onnxruntime.InferenceSession.run
    monkeypatch.setattr(onnxruntime.InferenceSession, "run", lambda *a: [result + 2e-4 for result in run(*a)])
    Path("out.onnx").write_bytes(b"older")
    outcome = run_program("export", "out.onnx", "--overwrite", "--base", made / "nafnet.safetensors")
    assert outcome.exit_code == 1
    assert "differs from PyTorch by 0.0002, expected at most 0.0001" in outcome.stderr
    assert [(path.name, path.read_bytes()) for path in Path().iterdir()] == [("out.onnx", b"older")]


def test_onnx_without_its_packages(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    outcome = run_program("export", "out.onnx", "--base", made / "nafnet.safetensors")
    assert outcome.exit_code == 2
    assert "onnxruntime is not installed; install them: pip install 'adair[onnx]'" in outcome.stderr


def test_a_base_file(made):
    adapters = {"lora": 0.5, "plain": 0.25}
    chosen = [argument for name in adapters for argument in ("--adapter", made / "restormer" / name)]
    outcome = export("base.safetensors", "--format", "adair", *chosen, "--blend", "0.5,0.25", "--json")
    merged = load("base.safetensors")
    assert merged.info.fingerprint == outcome.json["fingerprint"]
    old = load_base(made / "restormer.safetensors")[1]
    assert merged.info.fingerprint != old.fingerprint
    assert merged.info.recipe == {"steps": 3}
    with safe_open("base.safetensors", "pt") as file:
        assert json.loads(file.metadata()["origin"]) == outcome.json["origin"]
    assert outcome.json["origin"]["base_fingerprint"] == old.fingerprint
    for image in images():
        with torch.no_grad():
            torch.testing.assert_close(merged(image), ours(made, "restormer", adapters, image), rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["new/folder/base.safetensors", "new/folder/lora"])
def test_a_folder_that_is_not_there_is_made(made, name):
    export(name, *([] if name.endswith("lora") else ["--format", "adair"]), "--adapter", made / "restormer" / "plain")
    assert Path(name).exists()


@pytest.mark.parametrize(
    ("arguments", "adapter"),
    [
        (["--task", "denoise"], "denoise"),
        (["--task", "super-resolve", "--scale", 3], "super-resolve-x3"),
        (["--task", "deblur", "--task.kind", "motion"], "motion-deblur"),
        (["--blend", "denoise=1"], "denoise"),
    ],
)
def test_a_task_chooses_the_zoos_adapter(arguments, adapter):
    chosen = export("task.safetensors", *arguments, "--json").json["origin"]
    named = export("named.safetensors", "--adapter", adapter, "--json").json["origin"]
    assert chosen == named
    assert next(iter(json.loads(chosen["adapters"]))).partition("@")[0] == adapter
    assert Path("task.safetensors").read_bytes() == Path("named.safetensors").read_bytes()


def test_the_tiles_that_suit_an_adapter_are_told(made, tmp_path):
    model = load(made / "nafnet.safetensors")
    name = model.load_adapter(made / "nafnet" / "lora")
    model.save_adapter(name, tmp_path / "tiled", card=AdapterCard(tile=96))
    outcome = export("out.safetensors", "--format", "adair", "--adapter", tmp_path / "tiled", "--json")
    assert outcome.json["origin"]["tile"] == "96"
    assert "'adair restore' would restore with it in tiles of 96 pixels" in outcome.stderr
    plain = export("plain.safetensors", "--format", "adair", "--adapter", made / "nafnet" / "lora", "--json")
    assert "tile" not in plain.json["origin"]
    assert "in tiles" not in plain.stderr


def test_peft_folder(made):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft = pytest.importorskip("peft")
    export("folder", "--adapter", made / "restormer" / "plain")
    loaded = peft.PeftModel.from_pretrained(load_base(made / "restormer.safetensors")[0], "folder").eval()
    image = images()[0]
    with torch.no_grad():
        torch.testing.assert_close(loaded(image), ours(made, "restormer", {"plain": 1.0}, image), rtol=0, atol=2e-5)
    assert "of mine" in Path("folder/README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.pth"], "what should be exported? give --task NAME, --adapter NAME|DIR, or --base"),
        (["there.pth/x.pth", "--base", "BASE"], "there.pth: expected a folder, got a file; name another folder"),
        (["x.png", "--base", "BASE"], "expected one of the endings .onnx, .pth, .safetensors, or a folder's name"),
        (["x.pth", "--format", "onnx", "--base", "BASE"], "OUT for --format onnx: expected .onnx, got 'x.pth'"),
        (["there.pth", "--base", "BASE"], "there.pth exists already; give another name, or --overwrite"),
        (["full", "--base", "BASE"], "full exists already"),
        (["full", "--format", "spandrel", "--base", "BASE"], "OUT for --format spandrel: expected .safetensors or"),
        (["x.pth", "--base", "BASE", "--strength", "-1"], "--strength: expected 0 (the input) to 1"),
        (["x.pth", "--adapter", "bottleneck"], "'bottleneck' (bottleneck), which add to the features"),
        (["x.pth", "--adapter", "prompt"], "an ONNX file holds adapters of every type (--format onnx)"),
        (["x.safetensors", "--format", "adair", "--adapter", "prompt"], "'prompt' (prompt), which add to the features"),
        (["x", "--adapter", "prompt"], "adapters of type 'prompt' have no form in PEFT"),
        (["x", "--adapter", "depthwise"], "PEFT has no factors of grouped (depthwise) convolutions"),
        (["x", "--adapter", "plain", "--blend", "0.5"], "--format peft: expected one --adapter, without"),
        (["x", "--base", "BASE"], "--format peft: expected one --adapter"),
        (["x.pth", "--task", "denoise,derain"], "--task: expected one task, got 'denoise,derain'"),
        (["x.pth", "--task", "auto"], "--task: expected one task, got 'auto'"),
        (["x.pth", "--task", "denoise", "--adapter", "plain"], "--task chooses adapter and base itself"),
        (["x.pth", "--task", "denoise", "--base", "BASE"], "--task chooses adapter and base itself"),
        (["x.pth", "--task", "denoise", "--blend", "derain=1"], "--task chooses adapter and base itself"),
        (
            ["x.pth", "--base", "BASE", "--scale", "2"],
            "--scale: expected a --task that enlarges, such as super-resolve, got no --task",
        ),
        (["x.pth", "--task", "denoise", "--scale", "2"], "such as super-resolve, got --task denoise"),
        (["x.pth", "--task", "inpainting"], "unknown task 'inpainting'"),
    ],
)
def test_wrong_requests(made, arguments, message):
    Path("there.pth").write_bytes(b"older")
    Path("full").mkdir()
    Path("full/file").touch()
    paths = {"BASE": made / "restormer.safetensors"} | {
        name: made / "restormer" / name for name in ("depthwise", "plain", "bottleneck", "prompt")
    }
    outcome = run_program("export", *(paths.get(argument, argument) for argument in arguments))
    assert outcome.exit_code == 2, outcome.stderr
    assert message in outcome.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["full", "there.pth"]
    assert Path("there.pth").read_bytes() == b"older"


def test_a_network_without_a_correction_takes_no_strength():
    model = untrained("restormer", **RESTORMER, dual_pixel=True, in_channels=6)
    save_base("base.safetensors", model.backbone, backbone=model.info.backbone)
    outcome = run_program("export", "x.pth", "--base", "base.safetensors", "--strength", 0.5)
    assert outcome.exit_code == 2
    assert "--strength 0.5: backbone 'restormer' adds no correction to its input" in outcome.stderr
    export("x.pth", "--base", "base.safetensors")
    assert spandrel.ModelLoader().load_from_file("x.pth").input_channels == 6
