"""What a plugin's own tests need (with pytest): contracts, and running the program with plugins of the test's own.

A contract is a class of tests. Subclass it, name your thing, and pytest runs them::

    from adair_core.testing import DegradationContract

    class TestFilmGrain(DegradationContract):
        name = "film-grain"

The built-in degradations, adapter types and backbones pass the same contracts.
"""

from __future__ import annotations

import pytest

# Before the contracts are imported: pytest shows the values of failed assertions only in modules that it rewrites.
pytest.register_assert_rewrite(
    "adair_core.testing.adapter_contract",
    "adair_core.testing.backbone_contract",
    "adair_core.testing.config_checks",
    "adair_core.testing.degradation_contract",
)

from adair_core.testing.adapter_contract import AdapterContract  # noqa: E402
from adair_core.testing.backbone_contract import BackboneContract  # noqa: E402
from adair_core.testing.degradation_contract import DegradationContract  # noqa: E402
from adair_core.testing.fake_packages import installed, write_package  # noqa: E402
from adair_core.testing.running import Outcome, run_program  # noqa: E402

__all__ = [
    "AdapterContract",
    "BackboneContract",
    "DegradationContract",
    "Outcome",
    "installed",
    "run_program",
    "write_package",
]
