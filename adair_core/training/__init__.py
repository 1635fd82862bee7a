"""Training: recipes, the loop of both phases, and everything that a run folder holds."""

from __future__ import annotations

from adair_core.training.adapter_training import train
from adair_core.training.callbacks import Callback, Run, RunResult, StepRecord, ValidationRecord
from adair_core.training.pretraining import pretrain
from adair_core.training.recipe import AdapterRecipe, Data, PretrainRecipe, Settings, Stage

__all__ = [
    "AdapterRecipe",
    "Callback",
    "Data",
    "PretrainRecipe",
    "Run",
    "RunResult",
    "Settings",
    "Stage",
    "StepRecord",
    "ValidationRecord",
    "pretrain",
    "train",
]
