"""Images that are never in memory as a whole: the same result, bit for bit, in little memory."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from torch import Tensor, nn

from adair_core.data.document import Document
from adair_core.data.images import ImageFile, Storage, open_image, read_image, write_image
from adair_core.errors import AdairError, Interrupted
from adair_core.inference import FileResult, Settings, files, image_restoring, plan, restore_files
from adair_core.model import RestorationModel, restoring, tiling
from adair_core.model.backbone import BaseInfo
from adair_core.specs import Choice

HEIGHT, WIDTH = 211, 157
OPEN = Document.open
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


class Blur(nn.Module):
    """Mixes each pixel with its neighbours, and brightens by the mean of what it sees, as attention would."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.rand(3, 1, 5, 5, generator=torch.Generator().manual_seed(0)) / 12.5)
        self.before = lambda: None

    def forward(self, x: Tensor) -> Tensor:
        self.before()
        padded = nn.functional.pad(x, (2, 2, 2, 2), mode="replicate")
        return nn.functional.conv2d(padded, self.kernel, groups=3) * (0.9 + 0.1 * x.mean((2, 3), keepdim=True))


@pytest.fixture
def network() -> Blur:
    return Blur()


@pytest.fixture
def model(network: Blur) -> RestorationModel:
    return RestorationModel(network, [], info=BaseInfo(name="blur", backbone=Choice(name="blur"), fingerprint="0"))


def picture(dtype: str = "uint8", colors: int = 3, *, alpha: bool = False, **more: Any) -> ImageFile:
    generator = np.random.default_rng(0)
    kind = np.dtype(dtype)
    top = 1 if kind.kind == "f" else np.iinfo(kind).max
    values = (generator.random((HEIGHT, WIDTH, colors)) * top).astype(kind)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    disc = np.clip(60 - np.hypot(rows - 100, columns - 70), 0, 1)
    return ImageFile(pixels=values, alpha=(disc * top).astype(kind) if alpha else None, **more)


@pytest.fixture
def both_ways(model: RestorationModel, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Restore a file whole and by rows; gives both results and how often the file was begun."""

    def both(source: Path, ending: str | None = None, **settings: Any) -> tuple[list[FileResult], int]:
        results, opened = [], []
        for module in (image_restoring, restoring, tiling):  # many bands of few rows
            monkeypatch.setattr(module, "WRITTEN_AT_ONCE", 40_000)
        for way, limit in (("whole", 2**60), ("rows", 0)):
            monkeypatch.setattr(files, "WHOLE", limit)
            monkeypatch.setattr(Document, "open", lambda *which: opened.append(OPEN(*which)) or opened[-1])
            output = source.parent / way / f"x{ending or source.suffix}"
            (result,) = restore_files(model, plan([source], output), Settings(**settings))
            assert result.status == "restored", result.message
            results.append(result)
        return results, opened[-1].passes

    return both


def contents(results: list[FileResult]) -> list[bytes]:
    return [result.output.read_bytes() for result in results]


KINDS = [
    ("png", "uint8", 3, False),
    ("png", "uint8", 1, True),
    ("png", "uint16", 3, True),
    ("tif", "uint8", 1, False),
    ("tif", "uint16", 3, False),
    ("tif", "float32", 3, True),
    ("tif", "float32", 1, False),
    ("jpg", "uint8", 3, False),
    ("jpg", "uint8", 1, False),
    ("webp", "uint8", 3, True),
    ("avif", "uint8", 3, False),
]


@pytest.mark.parametrize(
    "settings", [{"tile": 64}, {"tile": 64, "strength": 0.6}, {"tile": 96, "scale": 2}, {"tile": None}]
)
@pytest.mark.parametrize(("ending", "dtype", "colors", "alpha"), KINDS)
def test_every_kind_by_rows_is_what_it_is_whole(
    tmp_path: Path, both_ways: Any, ending: str, dtype: str, colors: int, alpha: bool, settings: dict[str, Any]
) -> None:
    write_image(tmp_path / f"a.{ending}", picture(dtype, colors, alpha=alpha, storage=Storage(resolution=(11.8, 11.8))))
    results, passes = both_ways(tmp_path / f"a.{ending}", **settings)
    whole, rows = contents(results)
    assert rows == whole
    noted = "" if ending in ("png", "tif") else "encoded from memory"
    assert results[0].message == ""
    assert results[1].message.startswith(noted)
    assert bool(noted) == bool(results[1].message)
    # A float image is read once more, to see what its range is; nothing is decoded twice in between.
    assert passes == (2 if dtype == "float32" else 1)


def test_the_result_is_the_networks(tmp_path: Path, both_ways: Any, network: Blur) -> None:
    """Against the network itself in float64, for a network that sees no further than the overlap hides."""
    network.forward = lambda x: nn.functional.conv2d(  # type: ignore[method-assign]
        nn.functional.pad(x, (2, 2, 2, 2), mode="replicate"), network.kernel.to(x), groups=3
    )
    write_image(tmp_path / "a.tif", picture("uint16"))
    results, _ = both_ways(tmp_path / "a.tif", tile=64, overlap=16)
    x = torch.from_numpy(picture("uint16").pixels.astype(np.float64) / 65535).permute(2, 0, 1)[None]
    with torch.no_grad():
        wanted = (network(x)[0].permute(1, 2, 0).numpy().clip(0, 1) * 65535).round()
    assert np.abs(read_image(results[1].output).pixels - wanted).max() <= 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_strength_zero_is_the_inputs_bits(tmp_path: Path, both_ways: Any, network: Blur, dtype: str) -> None:
    network.before = lambda: pytest.fail("the network ran")  # type: ignore[assignment, return-value]
    image = picture(dtype, alpha=True)
    write_image(tmp_path / "a.tif", image)
    results, _ = both_ways(tmp_path / "a.tif", strength=0)
    assert contents(results) == [(tmp_path / "a.tif").read_bytes()] * 2
    if dtype != "float32":
        results, _ = both_ways(tmp_path / "a.tif", ".png", strength=0, overwrite=True)
        after = read_image(results[1].output)
        assert np.array_equal(after.pixels, image.pixels)
        assert np.array_equal(after.alpha, image.alpha)


@pytest.mark.parametrize("orientation", [1, 2, 3, 6, 7])
def test_orientation_and_metadata(tmp_path: Path, both_ways: Any, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    exif.get_ifd(0x8769)[0xA002] = WIDTH
    Image.fromarray(picture().pixels).save(tmp_path / "a.jpg", exif=exif, icc_profile=PROFILE, dpi=(300, 300))
    for ending in (".tif", ".png"):
        results, _ = both_ways(tmp_path / "a.jpg", ending, tile=64)
        assert contents(results)[0] == contents(results)[1]
        with Image.open(results[1].output) as after:
            assert after.size == ((WIDTH, HEIGHT) if orientation < 5 else (HEIGHT, WIDTH))
            assert after.getexif().get(0x0112, 1) == 1
            assert after.getexif()[0x010F] == "Maker"
            assert after.getexif().get_ifd(0x8769)[0xA002] == after.width
            assert after.info["icc_profile"] == PROFILE
            assert round(after.info["dpi"][0]) == 300


def test_highlights_and_white(tmp_path: Path, both_ways: Any) -> None:
    image = picture("float32")
    image.pixels[50:60, 20:30] = 500
    write_image(tmp_path / "a.tif", image)
    results, _ = both_ways(tmp_path / "a.tif", tile=64)
    assert contents(results)[0] == contents(results)[1]
    assert "highlights above 2" in results[1].message
    write_image(tmp_path / "b.tif", ImageFile(pixels=picture("float32").pixels * 200))
    results, _ = both_ways(tmp_path / "b.tif", tile=64, white=255, overwrite=True)
    assert contents(results)[0] == contents(results)[1]


@pytest.mark.parametrize("scale", [1, 2])
def test_exactly(tmp_path: Path, both_ways: Any, network: Blur, monkeypatch: pytest.MonkeyPatch, scale: int) -> None:
    """The network's mean is that of the whole image, which tiles do not have."""
    network.forward = lambda x: (  # type: ignore[method-assign]
        nn.functional.conv2d(x, network.kernel, padding=2, groups=3) * (0.9 + 0.1 * x.mean((2, 3), keepdim=True))
    )
    monkeypatch.setattr(restoring, "WORKING", 300_000)  # of bands of a few rows
    write_image(tmp_path / "a.png", picture("uint16"))
    results, passes = both_ways(tmp_path / "a.png", exact=True, scale=scale)
    assert contents(results)[0] == contents(results)[1]
    assert passes >= 2  # the network takes the image twice
    whole, _ = both_ways(tmp_path / "a.png", tile=None, scale=scale, overwrite=True)
    exact = read_image(results[1].output).pixels.astype(int)
    assert np.abs(exact - read_image(whole[0].output).pixels).max() <= 1


# --- When something goes wrong


@pytest.fixture
def by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "WHOLE", 0)


def nothing_left(folder: Path) -> bool:
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("adair-")]
    return not threads and not [*folder.iterdir()]


@pytest.mark.usefixtures("by_rows")
@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
def test_a_network_that_breaks_leaves_nothing(
    tmp_path: Path, model: RestorationModel, network: Blur, ending: str
) -> None:
    count = 0

    def later() -> None:
        nonlocal count
        count += 1
        if count == 8:
            network.kernel.data.fill_(float("nan"))

    network.before = later  # type: ignore[assignment]
    write_image(tmp_path / f"a.{ending}", picture())
    (result,) = restore_files(model, plan([tmp_path / f"a.{ending}"], tmp_path / "out"), Settings(tile=64))
    assert "expected finite values" in result.message
    assert count >= 8
    assert nothing_left(tmp_path / "out")


@pytest.mark.usefixtures("by_rows")
def test_a_file_that_ends_too_early_leaves_nothing(tmp_path: Path, model: RestorationModel) -> None:
    write_image(tmp_path / "a.png", picture())
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) * 3 // 4])
    (result,) = restore_files(model, plan([tmp_path / "a.png"], tmp_path / "out"), Settings(tile=64))
    assert result.status == "failed"
    assert "a.png: damaged or truncated image" in result.message
    assert nothing_left(tmp_path / "out")


@pytest.mark.usefixtures("by_rows")
def test_ctrl_c_leaves_nothing(tmp_path: Path, model: RestorationModel, network: Blur) -> None:
    network.before = lambda: signal.raise_signal(signal.SIGINT)  # type: ignore[assignment]
    write_image(tmp_path / "a.tif", picture())
    with pytest.raises(Interrupted):
        restore_files(model, plan([tmp_path / "a.tif"], tmp_path / "out"), Settings(tile=64))
    assert nothing_left(tmp_path / "out")


@pytest.mark.usefixtures("by_rows")
def test_alpha_into_jpeg_is_found_before_the_network_runs(
    tmp_path: Path, model: RestorationModel, network: Blur
) -> None:
    network.before = lambda: pytest.fail("the network ran")  # type: ignore[assignment, return-value]
    write_image(tmp_path / "a.png", picture(alpha=True))
    (result,) = restore_files(model, plan([tmp_path / "a.png"], tmp_path / "b.jpg"), Settings(tile=64))
    assert "JPEG cannot hold the image's alpha" in result.message


@pytest.mark.usefixtures("by_rows")
def test_where_memory_runs_out_the_rows_go_on_in_smaller_tiles(
    tmp_path: Path, model: RestorationModel, network: Blur
) -> None:
    forward, sizes = network.forward, []

    def little(x: Tensor) -> Tensor:
        sizes.append(max(x.shape[-2:]))
        if len(sizes) > 3 and max(x.shape[-2:]) > 130:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return forward(x)

    network.forward = little  # type: ignore[method-assign]
    write_image(tmp_path / "a.png", ImageFile(pixels=np.tile(picture().pixels, (3, 3, 1))))
    with pytest.warns(UserWarning, match="trying again in tiles of 128 pixels") as said:
        (result,) = restore_files(model, plan([tmp_path / "a.png"]), Settings(tile=256))
    assert result.status == "restored"
    assert len(said) == 1
    assert sum(size > 130 for size in sizes) == 4  # what was restored stays, what comes is small at once


@pytest.mark.usefixtures("by_rows")
def test_how_far_an_image_is(tmp_path: Path, model: RestorationModel) -> None:
    write_image(tmp_path / "a.png", picture())
    shares: list[float] = []
    restore_files(model, plan([tmp_path / "a.png"]), Settings(tile=64), on_share=shares.append)
    assert len(shares) > 6
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_model_restores_from_rows_to_rows(model: RestorationModel) -> None:
    from adair_core.model.maps import Gathered, Values

    x = torch.rand(1, 3, 100, 90)
    made = Gathered(100)
    model.train()
    model.restore_rows(Values(x), made.write, tile=48)
    assert model.training
    assert torch.equal(made.values, model.restore(x, tile=48))
    with pytest.raises(AdairError, match="strength"):
        model.restore_rows(Values(x), made.write, strength=-1)


# --- Memory

RESTORE = """
import json, re, resource, sys
from pathlib import Path
import numpy as np, torch
from torch import nn
from adair_core.data.images import ImageInfo, Storage, writing_rows
from adair_core.inference import Settings, files, plan, restore_files
from adair_core.model import BaseInfo, RestorationModel
from adair_core.specs import Choice

torch.set_num_threads(1)
kind, height, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if kind == "whole":
    files.WHOLE = 2**60

def write(name, height):
    info = ImageInfo(height=height, width=width, colors=3, has_alpha=False, dtype=np.dtype(np.uint8),
                     format="tiff", storage=Storage(tiff_compression="none"))
    rows = np.random.default_rng(0).integers(0, 256, (100, width, 3), dtype=np.uint8)
    with writing_rows(name, info) as put:
        for top in range(0, height, 100):
            put(info.image(rows, None))

class OneConvolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.only = nn.Conv2d(3, 3, 3, padding=1)
        self.only.weight.data.fill_(0)
        self.only.weight.data[range(3), range(3), 1, 1] = 0.5
        self.only.bias.data.fill_(0)
    def forward(self, x):
        return self.only(x)

def status(name):
    return int(re.search(name + r":\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

info = BaseInfo(name="one", backbone=Choice(name="one"), fingerprint="0")
model = RestorationModel(OneConvolution(), [], info=info)
write("small.tif", 1000)
write("large.tif", height)
(first,) = restore_files(model, plan(["small.tif"]), Settings(tile=512))
before = status("VmHWM")
resource.setrlimit(resource.RLIMIT_DATA, (status("VmData") + int(sys.argv[4]), resource.RLIM_INFINITY))
(result,) = restore_files(model, plan(["large.tif"]), Settings(tile=512))
print(json.dumps([first.status, result.status, result.message, status("VmHWM") - before]))
"""


@pytest.mark.parametrize(("way", "status"), [("rows", "restored"), ("whole", "failed")])
def test_forty_megapixels_under_a_hard_limit(tmp_path: Path, way: str, status: str) -> None:
    height, width, limit = 5000, 8000, 320 * 2**20
    assert height * width * 3 * 4 > limit  # not even the image in floats
    command = [sys.executable, "-c", RESTORE, way, str(height), str(width), str(limit)]
    done = subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.PIPE)
    first, found, message, _ = json.loads(done.stdout)
    assert (first, found) == ("restored", status), message
    if way == "rows":
        after, before = open_image(tmp_path / "large.restored.tif"), open_image(tmp_path / "large.tif")
        for top in range(0, height, 500):
            given, made = (image.rows(top, top + 500).pixels for image in (before, after))
            assert np.abs(given / 2 - made).max() <= 0.5 + 1e-4
    else:
        assert "not enough memory" in message
        assert not (tmp_path / "large.restored.tif").exists()
