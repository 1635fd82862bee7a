"""Restoring on a cluster of two machines, both of which are this one; one of them is lost on the way."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adair_core.data.images import ImageFile, read_image, write_image
from adair_core.errors import UsageError
from adair_core.inference import Settings, plan
from adair_core.inference.ray_engine import Resources, restore_on_ray
from adair_core.model import RestorationModel, save_base, untrained
from adair_core.model.backbone import BaseInfo
from adair_core.specs import Choice
from adair_core.testing import run_program

COUNT = 10
BAD = os.fsdecode(b"bad-\xe9.png")  # not UTF-8

# Ray's own, about itself, as it is used here.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)


class Recorded(nn.Module):
    """Known arithmetic, and a file for each time that an image is restored."""

    def __init__(self, records: str) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))
        self.records = Path(records)

    def forward(self, x: Tensor) -> Tensor:
        import time

        value = round(x.max().item() * 255)
        name = self.records / f"{value}.{os.getpid()}.{time.monotonic_ns()}"
        name.touch()
        time.sleep(0.4)
        return x * self.factor


def recorded(records: str) -> tuple[RestorationModel, None]:
    info = BaseInfo(name="recorded", backbone=Choice(name="recorded"), fingerprint="0")
    return RestorationModel(Recorded(records), [], info=info), None


class Load:
    """Pickles by its module, which the workers find through PYTHONPATH."""

    def __init__(self, records: Path) -> None:
        self.records = str(records)

    def __call__(self) -> tuple[RestorationModel, None]:
        return recorded(self.records)


@pytest.fixture(scope="module")
def cluster():
    """A head and a second machine, with a core each."""
    import ray
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), before]))
    os.environ["OMP_NUM_THREADS"] = "1"
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 10**8})
    made.second = made.add_node(num_cpus=1, object_store_memory=10**8)
    made.wait_for_nodes()
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def photos(tmp_path) -> Path:
    for index in range(COUNT):
        path = tmp_path / "in" / f"{index:02}.png"
        path.parent.mkdir(exist_ok=True)
        write_image(path, ImageFile(pixels=np.full((20, 30, 3), 20 * index + 4, np.uint8)))
    (tmp_path / "in" / BAD).write_bytes(b"no image")
    (tmp_path / "records").mkdir()
    return tmp_path / "in"


def test_a_machine_is_lost_and_nothing_is(cluster, photos, tmp_path):
    out, records = tmp_path / "out", tmp_path / "records"
    out.mkdir()
    (out / "03.png").write_bytes(b"somebody's")
    told = []

    def tell(result, done, total):
        told.append((result.source.name, done, total))
        if done == 3 and cluster.second is not None:
            cluster.remove_node(cluster.second, allow_graceful=False)
            cluster.second = None

    jobs = plan([photos], out)
    results = restore_on_ray(Load(records), jobs, on_result=tell)

    assert [result.source for result in results] == [job.source for job in jobs]
    assert sorted(name for name, *_ in told) == sorted(job.source.name for job in jobs)
    failed = {result.source.name: result.message for result in results if result.status == "failed"}
    assert failed.keys() == {BAD, "03.png"}
    assert "exists already" in failed["03.png"]
    assert (out / "03.png").read_bytes() == b"somebody's"
    restored = [index for index in range(COUNT) if index != 3]
    for index in restored:
        assert (read_image(out / f"{index:02}.png").pixels == 10 * index + 2).all()
    # No temporary file but perhaps that of the machine that was lost, and no image that nobody asked for.
    assert {path.name for path in out.glob("[!.]*")} == {f"{index:02}.png" for index in range(COUNT)}
    runs = [path.name.split(".")[0] for path in records.iterdir()]
    again = len(runs) - len(set(runs))
    assert len(set(runs)) == len(restored)
    assert again <= 2  # what the lost machine had in hand, and what waited for its answer


def test_a_worker_that_no_machine_has_room_for(cluster, photos, tmp_path):
    with pytest.raises(UsageError, match="CPUs of a worker: expected at most"):
        restore_on_ray(Load(tmp_path), plan([photos], tmp_path / "out"), Settings(), resources=Resources(cpus=64))


def test_the_command_gives_what_it_gives_on_one_machine(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = untrained("restormer", dim=4, blocks=(1, 1, 1, 1), heads=(1, 1, 1, 1), refinement=1)
    save_base(Path("tiny.safetensors"), model.backbone, backbone=model.info.backbone)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    write_image(Path("photo.png"), ImageFile(pixels=pixels))
    for engine in (["local"], ["ray", "--workers", "1"]):
        run = ["restore", "photo.png", "-o", f"{engine[0]}.png", "--base", "tiny.safetensors", "--threads", "1"]
        outcome = run_program(*run, "--engine", *engine, "--json")
        assert outcome.exit_code == 0, outcome.stderr
        assert [result["status"] for result in outcome.json] == ["restored"]
    assert np.array_equal(read_image(Path("ray.png")).pixels, read_image(Path("local.png")).pixels)


def never() -> tuple[RestorationModel, None]:
    raise AssertionError("a worker loads what should have been refused before")


def test_what_no_worker_could_do_is_refused_before_there_are_any(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("ray.init", never)
    clip = tmp_path / "clip.mp4"
    with pytest.raises(UsageError, match=r"expected images, where each gets its own adapter, got videos: .*clip\.mp4"):
        restore_on_ray(never, plan([photos, clip], tmp_path / "out"), chooses=True)
    maps = tmp_path / "map.png"
    write_image(maps, ImageFile(pixels=np.zeros((20, 30, 1), np.uint8)))
    with pytest.raises(UsageError, match="got one that is 2 times larger"):
        restore_on_ray(never, plan([photos], tmp_path / "out", strength_map=maps), Settings(scale=2))


@pytest.mark.parametrize("option", ["--workers", "--ray-address"])
def test_options_of_a_cluster_without_one(option, photos):
    outcome = run_program("restore", photos, "--base", "restormer-tiny", option, "2")
    assert outcome.exit_code == 2
    assert f"{option}: expected --engine ray with it" in outcome.stderr


def test_ray_chooses_the_card_of_each_worker(photos):
    outcome = run_program("restore", photos, "--base", "restormer-tiny", "--engine", "ray", "--device", "cuda:1")
    assert outcome.exit_code == 2
    assert "--device: expected cuda or auto with --engine ray, got cuda:1" in outcome.stderr
