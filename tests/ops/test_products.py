from __future__ import annotations

import pytest
import torch

from adair_core.ops import products
from adair_core.ops.products import FEWEST_PIXELS, FEWEST_PIXELS_BACKWARD, multiply, multiply_backward


@pytest.fixture(params=[False, True], ids=["matrix products", "convolutions"])
def convolves(request, monkeypatch):
    """Both ways, whatever the CPU."""
    monkeypatch.setattr(products, "_onednn_is_faster", lambda: request.param)
    return request.param


def relative_error(found, exact):
    return float((found.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("shape", [(1, 32, 32), (2, 1, 640), (3, 500, 1), (1, 9, 7), (0, 8, 8)], ids=str)
@pytest.mark.parametrize("biased", [False, True], ids=["no bias", "bias"])
def test_products_are_those_of_float64(convolves, shape, biased):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(*shape, 33, generator=generator)
    matrix, bias = torch.randn(50, 33, generator=generator), torch.randn(50, generator=generator)
    found = multiply(x, matrix, bias if biased else None)
    assert found.shape == (*shape, 50)
    assert found.is_contiguous()
    to_x = multiply_backward(found, matrix)
    assert to_x.shape == x.shape
    assert to_x.is_contiguous()
    if x.numel():
        exact = torch.einsum("bhwi,oi->bhwo", x.double(), matrix.double()) + (bias.double() if biased else 0)
        assert relative_error(found, exact) < 1e-6
        assert relative_error(to_x, torch.einsum("bhwo,oi->bhwi", exact, matrix.double())) < 1e-6


def test_only_large_products_of_float32_are_convolutions(monkeypatch):
    monkeypatch.setattr(products, "_onednn_is_faster", lambda: True)
    enough = torch.zeros(2, 8, FEWEST_PIXELS // 16, 4)
    assert products.convolves(enough, FEWEST_PIXELS)
    assert not products.convolves(enough, FEWEST_PIXELS_BACKWARD)
    assert not products.convolves(enough[:1], FEWEST_PIXELS)
    assert not products.convolves(enough.bfloat16(), FEWEST_PIXELS)
    assert not products.convolves(enough.to("meta"), FEWEST_PIXELS)
    monkeypatch.setattr(products, "_onednn_is_faster", lambda: False)
    assert not products.convolves(enough, FEWEST_PIXELS)


@pytest.mark.parametrize(
    ("vendor", "has_mkl", "faster"),
    [("AuthenticAMD", True, True), ("AuthenticAMD", False, False), ("GenuineIntel", True, False), ("", True, False)],
)
def test_onednn_is_preferred_to_mkl_on_amd(monkeypatch, vendor, has_mkl, faster):
    monkeypatch.setattr(products, "cpu_vendor", lambda: vendor)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: has_mkl)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert products._onednn_is_faster.__wrapped__() == faster
