"""adair: image restoration with one frozen network and a small adapter for every task.

Importing this package never changes the process (threads, allocator, random state).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    DataSet,
    DegradationSpec,
    MetricSpec,
    Protocol,
    Site,
    SpandrelForm,
    TaskSpec,
    WeightsSpec,
)
from adair_core.tuning import Tuning, tune_process

if TYPE_CHECKING:
    from adair_core.training import (
        AdapterRecipe,
        Callback,
        Data,
        PretrainRecipe,
        RunResult,
        Settings,
        Stage,
        pretrain,
        train,
    )

__version__ = "0.1.0"

__all__ = [
    "AdairError",
    "Adapter",
    "AdapterConfig",
    "AdapterRecipe",
    "AdapterSpec",
    "BackboneSpec",
    "Callback",
    "CallbackSpec",
    "Choice",
    "Condition",
    "Config",
    "ConfiguredDegradation",
    "Data",
    "DataSet",
    "Degradation",
    "DegradationSpec",
    "Draws",
    "FeatureAdapter",
    "LowRankAdapter",
    "MetricSpec",
    "PretrainRecipe",
    "Protocol",
    "Range",
    "RestorationModel",
    "RunResult",
    "Settings",
    "Site",
    "SpandrelForm",
    "Stage",
    "TaskSpec",
    "Tuning",
    "WeightAdapter",
    "WeightsSpec",
    "__version__",
    "build_backbone",
    "hookimpl",
    "load",
    "plugins",
    "pretrain",
    "train",
    "tune_process",
]

_OF_TRAINING = frozenset(
    {"AdapterRecipe", "Callback", "Data", "PretrainRecipe", "RunResult", "Settings", "Stage", "pretrain", "train"}
)


def __getattr__(name: str) -> Any:
    """Import what belongs to training when it is first used: it takes its time."""
    if name in _OF_TRAINING:
        from adair_core import training

        return getattr(training, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
