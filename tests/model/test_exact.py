"""The whole image's result band by band: equal to the untiled one, within little memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from adair_core.errors import AdairError, UsageError
from adair_core.model import untrained
from adair_core.model.exact import HANDLERS, NotStreamableError, restore_exactly
from adair_core.model.maps import Bordered, Store, Values
from adair_core.ops import depthwise

CPU = torch.device("cpu")
PLENTY, LITTLE = 2**40, 200_000  # bytes for a band: all rows at once, and a few


def network(name, adapter=None, **options):
    """A backbone with random weights, all of them far from where they start."""
    model = untrained(name, **options)
    generator = torch.Generator().manual_seed(1)
    if adapter is not None:
        model.add_adapter("a", adapter)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    if adapter is not None:
        model.set_adapters("a", [0.8])
    return model


def image(height=53, width=41):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(2))


def streamed(model, x, store):
    dtype = next(model.parameters()).dtype
    restored = restore_exactly(model, Values(x), store=store, device=CPU, dtype=dtype)
    return restored.read(0, restored.height)


def exactly(model, x, *, room=PLENTY, working=LITTLE):
    return streamed(model, x, Store(room, working))


def relative(found, wanted):
    return ((found.double() - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize("adapter", [None, "lora", "bottleneck", "prompt", "full"])
@pytest.mark.parametrize(
    ("name", "options"),
    [("restormer", {}), ("restormer", {"norm": "biased", "bias": True, "dual_pixel": True}), ("nafnet", {})],
)
def test_equals_the_untiled_result(name, options, adapter):
    model, x = network(name, adapter, **options), image()
    with torch.no_grad():
        plain = model(x)
        wanted = model.double()(x.double())
    in_double = exactly(model, x.double())
    model.float()
    assert relative(in_double, wanted) < 1e-10  # nothing but the order of additions
    for working in (PLENTY, LITTLE):
        assert relative(exactly(model, x, working=working), wanted) < 2 * relative(plain, wanted) + 1e-7


# (17, 24) is 3 x 3 at the lowest level, as the kernels are.
@pytest.mark.parametrize(("height", "width"), [(8, 8), (17, 9), (1, 30), (64, 24), (40, 3), (17, 24)])
def test_odd_sizes(height, width):
    model, x = network("restormer").double(), image(height, width).double()
    with torch.no_grad():
        wanted = model(x)
    for working in (1, 50_000, LITTLE):
        assert relative(exactly(model, x, working=working), wanted) < 1e-10


def test_the_same_bits_from_files():
    model, x = network("restormer", "lora"), image()
    store = Store(0, LITTLE)
    from_files = streamed(model, x, store)
    assert store.written > 40 * x.nbytes
    assert torch.equal(from_files, exactly(model, x))


def test_tiles_are_not_equal():
    """What is shown above is not for want of an attention that sees the image as a whole."""
    model, x = network("restormer").double(), image(64, 64).double()
    with torch.no_grad():
        wanted = model(x)
        halves = torch.cat([model(part) for part in torch.split(x, 32, dim=3)], dim=3)
    assert relative(halves[..., :16], wanted[..., :16]) > 1e-3


def test_with_hooks_and_foreign_modules_the_parts_are_streamed_one_by_one():
    model, x = network("restormer").double(), image().double()
    seen = []
    attention = model.backbone.get_submodule("encoder_level1.0.attn")
    attention.qkv.register_forward_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        wanted = model(x)
    assert relative(exactly(model, x), wanted) < 1e-10
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (lambda x: x.amax((2, 3), keepdim=True) + x, "aten::amax"),
        (lambda x: functional.instance_norm(x), "aten::"),
        (lambda x: x.mean(3, keepdim=True) + x, "not over all pixels"),
        (lambda x: functional.conv2d(x, torch.ones(3, 3, 3, 3), stride=2, padding=1), "stride 2 and padding 1"),
        (lambda x: x[:, :, ::2], "slice"),
        (lambda x: torch.cat([x, x], 2), "joined along another side"),
        (lambda x: x.flip(3), "aten::flip"),
    ],
)
def test_what_is_not_local_is_refused(operation, name):
    with pytest.raises(NotStreamableError, match=name):
        restore_exactly(operation, Values(image()), store=Store(PLENTY, LITTLE), device=CPU, dtype=torch.float32)


class Everything(nn.Module):
    """Operations that neither built-in backbone uses."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(3, 8, 5, padding=4, dilation=2)
        self.tall = nn.Conv2d(8, 8, (3, 1), padding=(1, 0), groups=2)
        self.down = nn.Conv2d(8, 4, 3, stride=3)
        self.out = nn.Conv2d(4, 27, 1)
        self.taps = nn.Parameter(torch.randn(8, 1, 3, 3))

    def forward(self, x):
        padded = functional.pad(x, (1, 2, 3, 1), mode="reflect")
        padded = functional.pad(functional.pad(padded, (0, 1, 2, 0), mode="replicate"), (1, 0, 0, 2), value=0.5)
        features = functional.silu(self.tall(functional.leaky_relu(self.wide(padded), 0.1)))
        features = depthwise(features, self.taps)
        first, second, third = torch.split(features, (1, 3, 4), dim=1)
        features = torch.cat([third * torch.sigmoid(first), second.clamp(-1, 1), first.tanh()], dim=1)
        weights = torch.softmax(features.mean((-2, -1)), 1)[..., None, None]
        small = self.out(self.down(features * weights - features.pow(2)))
        return functional.pixel_shuffle(small, 3) / 2


def test_other_operations():
    torch.manual_seed(0)
    model, x = Everything().double(), image(30, 22).double()
    with torch.no_grad():
        wanted = model(x)
    for working in (1, 30_000, PLENTY):
        torch.testing.assert_close(exactly(model, x, working=working), wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "constant"])
def test_borders_are_those_of_pad(mode):
    x = image(7, 6)
    border = (2, 3, 4, 1)
    value = 0.25 if mode == "constant" else None
    wanted = functional.pad(x, border, mode=mode, value=value)
    bordered = Bordered(Values(x), border, mode, value or 0.0)
    for top in range(bordered.height):
        for bottom in range(top + 1, bordered.height + 1):
            assert torch.equal(bordered.read(top, bottom), wanted[:, :, top:bottom])


def test_maps_are_given_back():
    store = Store(1000, LITTLE)
    made = store.new(1, 10, 10, torch.float32)
    assert store.room == 600
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    file = store.new(3, 10, 10, torch.float32)
    assert (store.room, store.written) == (600, 1200)
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors + 1
    del made, file
    assert store.room == 1000
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_no_room_on_disk_is_told(tmp_path):
    with pytest.raises(AdairError, match=r"expected .* GB of room in .*/missing, got .*TMPDIR"):
        Store(0, LITTLE, str(tmp_path / "missing")).new(3, 10, 10, torch.float32)


def test_every_handler_has_an_operation():
    for name in HANDLERS:
        namespace, _, operation = name.partition("::")
        assert hasattr(getattr(torch.ops, namespace), operation), name


def test_restore_exactly_is_restore():
    model = network("restormer", "lora")
    photo = np.random.default_rng(0).random((45, 38, 4)).astype(np.float32)
    for given in (torch.from_numpy(photo.transpose(2, 0, 1)[None].copy()), torch.rand(2, 3, 20, 24)):
        whole, found = (model.restore(given, strength=0.7, **how) for how in ({"tile": None}, {"exact": True}))
        assert relative(found, whole.double()) < 1e-5
    assert np.array_equal(model.restore(photo, exact=True)[..., 3], photo[..., 3])


@pytest.mark.parametrize("options", [{"tile": 64}, {"precision": "bfloat16"}])
def test_exact_takes_neither_tiles_nor_less_precision(options):
    with pytest.raises(UsageError, match="exact: expected neither tiles nor another precision"):
        network("nafnet").restore(torch.rand(1, 3, 20, 20), exact=True, **options)


# Not getrusage, whose peak is at least that of the process that started this one.
MEASURE = """
import re, sys, torch
from pathlib import Path
import adair_core as adair
from adair_core.model.exact import restore_exactly
from adair_core.model.maps import Store, Values
torch.set_num_threads(1)
adair.tune_process()
model, x = adair.load("restormer-tiny"), torch.rand(1, 3, 700, 900)
model(x[..., :64, :64])
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
with torch.no_grad():
    if sys.argv[1] == "whole":
        model(x)
    else:
        store, cpu = Store(0, 2**26), torch.device("cpu")
        restore_exactly(model, Values(x), store=store, device=cpu, dtype=torch.float32).read(0, 700)
print(peak() - before)
"""


def test_takes_a_fraction_of_the_memory():
    grown = {}
    for way in ("whole", "exact"):
        words = [sys.executable, "-c", MEASURE, way]
        done = subprocess.run(
            words, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        grown[way] = int(done.stdout) * 1024
    assert grown["whole"] > 400e6
    assert grown["exact"] < grown["whole"] / 3
