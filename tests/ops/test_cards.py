"""Which cards the CUDA kernels run on, after the compatibility rules of CUDA's programming guide."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from adair_core.cli.native_build import native_build
from adair_core.ops import cards, native
from adair_core.ops.cards import cannot_run, unfit
from adair_core.ops.native import Library

DEFAULT = re.findall(r'CUDA_ARCHITECTURES = "(.+)"', (Path(__file__).parents[2] / "setup.py").read_text())[0]


@pytest.mark.parametrize(
    ("targets", "fit", "unfit"),
    [
        (DEFAULT, [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (10, 3), (12, 0)], [(7, 0), (7, 5)]),
        ("9.0", [(9, 0)], [(8, 0), (8, 9), (10, 0), (12, 0)]),
        ("8.6", [(8, 6), (8, 9)], [(8, 0), (9, 0)]),
        ("8.6 9.0+PTX", [(8, 6), (9, 0), (10, 0), (12, 1)], [(8, 0), (7, 5)]),
        ("9.0a", [(9, 0)], [(10, 0), (8, 0)]),
        ("9.0a+PTX", [(9, 0)], [(10, 0)]),
        ("10.0f", [(10, 0), (10, 3)], [(9, 0), (12, 0)]),
        ("12.0", [(12, 0), (12, 1)], [(10, 0)]),
        ("Hopper", [(8, 0), (9, 0)], []),
        ("", [(8, 0)], []),
    ],
)
def test_what_runs_where(targets: str, fit: list[tuple[int, int]], unfit: list[tuple[int, int]]) -> None:
    for card in fit:
        assert cannot_run(targets, card) is None, card
    for card in unfit:
        wanted, found = ", ".join(re.split("[; ]", targets)), ".".join(map(str, card))
        assert cannot_run(targets, card) == (
            f"the CUDA kernels are compiled for compute capability {wanted}, and this card has {found}"
        )


@pytest.fixture
def old_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card that the library is not compiled for."""
    info = {"cuda_architectures": "9.0"}
    monkeypatch.setattr(cards, "runtime", lambda: SimpleNamespace(build_info=lambda: info))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))


@pytest.mark.usefixtures("old_card")
def test_a_card_that_the_kernels_are_not_compiled_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "unfit", unfit.__wrapped__)
    x = SimpleNamespace(dtype=torch.float32, is_cuda=True, device=torch.device("cuda", 0), numel=lambda: 1)
    assert native.unsuitable(x) == "the CUDA kernels are compiled for compute capability 9.0, and this card has 8.0"


@pytest.mark.usefixtures("old_card")
def test_doctor_says_how_to_compile_for_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adair_core.cli.native_build.unfit", unfit.__wrapped__)
    monkeypatch.setattr("adair_core.cli.native_build.cuda_library", lambda: Library(Path("_ops_cuda.abi3.so")))
    found = native_build()
    assert found["CUDA kernels"] == "_ops_cuda.abi3.so, for compute capability 9.0"
    (advice,) = (text for text in found["advice"] if text.startswith("cuda:0 "))
    assert "this card has 8.0" in advice
    assert "TORCH_CUDA_ARCH_LIST=8.0" in advice
