"""adair: image restoration with one frozen network and a small adapter for every task.

Importing this package never changes the process (threads, allocator, random state).
"""

from __future__ import annotations

from adair_core.adapter import Adapter, AdapterConfig, FeatureAdapter, LowRankAdapter, WeightAdapter
from adair_core.degradation import ConfiguredDegradation, Degradation, Draws, Range
from adair_core.errors import AdairError
from adair_core.hookspecs import hookimpl
from adair_core.model import RestorationModel, build_backbone, load
from adair_core.plugins import plugins
from adair_core.specs import (
    AdapterSpec,
    BackboneSpec,
    CallbackSpec,
    Choice,
    Condition,
    Config,
    DegradationSpec,
    MetricSpec,
    Protocol,
    Site,
    TaskSpec,
    WeightsSpec,
)

__version__ = "0.1.0"

__all__ = [
    "AdairError",
    "Adapter",
    "AdapterConfig",
    "AdapterSpec",
    "BackboneSpec",
    "CallbackSpec",
    "Choice",
    "Condition",
    "Config",
    "ConfiguredDegradation",
    "Degradation",
    "DegradationSpec",
    "Draws",
    "FeatureAdapter",
    "LowRankAdapter",
    "MetricSpec",
    "Protocol",
    "Range",
    "RestorationModel",
    "Site",
    "TaskSpec",
    "WeightAdapter",
    "WeightsSpec",
    "__version__",
    "build_backbone",
    "hookimpl",
    "load",
    "plugins",
]
