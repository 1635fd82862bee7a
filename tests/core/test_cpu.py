from __future__ import annotations

import platform
from pathlib import Path

import pytest

from adair_core.cpu import cpu_name, cpu_vendor

LINUX = """processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC 9654 96-Core Processor

processor\t: 1
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC 9654 96-Core Processor
"""


def test_linux_tells_name_and_vendor(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: LINUX)
    assert cpu_name() == "AMD EPYC 9654 96-Core Processor"
    assert cpu_vendor() == "AuthenticAMD"


@pytest.mark.parametrize(
    ("processor", "vendor"),
    [
        ("AMD64 Family 25 Model 17 Stepping 1, AuthenticAMD", "AuthenticAMD"),
        ("Intel64 Family 6 Model 143 Stepping 8, GenuineIntel", "GenuineIntel"),
        ("arm", ""),
        ("", ""),
    ],
)
def test_others_tell_it_in_the_name_of_the_processor(monkeypatch, processor, vendor):
    def absent(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    monkeypatch.setattr(platform, "processor", lambda: processor)
    assert cpu_vendor() == vendor
    assert cpu_name() == (processor or platform.machine())
