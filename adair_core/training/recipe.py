"""The fully resolved configuration of a run: written beside every result, and enough to repeat it."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from typing_extensions import Self, override

from adair_core.errors import listing
from adair_core.plugins import completed, plugins
from adair_core.specs import AdapterSpec, BackboneSpec, Choice, TaskSpec


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class Stage(_Frozen):
    """One stage of progressive training: it begins after `start` of all steps."""

    start: float = Field(0.0, ge=0, lt=1, description="fraction of the steps after which the stage begins")
    patch_size: int = Field(64, ge=1, description="side of the square patches, in pixels")
    batch_size: int = Field(8, ge=1, description="patches a step, over all processes and accumulation steps")


class Settings(_Frozen):
    """How a network is trained, whatever it learns."""

    steps: int = Field(1000, ge=1, description="optimiser steps")
    batch_size: int = Field(8, ge=1, description="patches a step, over all processes and accumulation steps")
    patch_size: int = Field(64, ge=1, description="side of the square training patches, in pixels")
    stages: tuple[Stage, ...] = Field(
        (), description="progressive training: start:patch:batch,...; overrides patch and batch size"
    )
    flat_share: float = Field(
        0.0, ge=0, le=1, description="share of the patches with an area of one exact colour, such as a border"
    )
    gray_share: float = Field(
        0.0, ge=0, le=1, description="share of the patches that are shown in gray, degraded and clean"
    )
    accumulate: int = Field(1, ge=1, description="gradient accumulation: parts in which a batch is computed")
    optimizer: Literal["adamw", "muon", "sgd"] = Field(
        "adamw", description="optimiser; muon learns more from a step than adamw where matrices train"
    )
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    final_learning_rate: float = Field(1e-6, ge=0, description="learning rate that the cosine ends at")
    warmup: int = Field(50, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(
        1e-4, ge=0, description="weight decay, decoupled from the gradient; with sgd added to it"
    )
    loss: Literal["l1", "charbonnier"] = Field("l1", description="training loss")
    clip: float | None = Field(1.0, gt=0, description="largest gradient norm; none = no clipping")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the weights' moving average; 0 = off")
    precision: Literal["float64", "float32", "bfloat16", "float16"] = Field("float32", description="compute precision")
    recompute: bool = Field(
        False, description="compute activations again in the backward pass: less memory, more time, the same result"
    )
    compile: bool = Field(False, description="torch.compile the network")
    seed: int = Field(0, ge=0, description="seed of every random draw")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    workers: int | None = Field(None, ge=0, description="loader processes; none = chosen from the cores")
    keep: Literal["last", "best"] = Field(
        "last", description="weights that are written: those after the last step, or those that validated best"
    )
    validate_every: int = Field(250, ge=0, description="steps between validations; 0 = only at the end")
    checkpoint_every: int = Field(250, ge=1, description="steps between checkpoints")
    callbacks: tuple[str, ...] = Field((), description="training callbacks, by name")

    @field_validator("stages", mode="before")
    @classmethod
    def _parse_stages(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        stages = []
        for part in filter(None, value.split(",")):
            fields = part.split(":")
            if len(fields) != 3:
                raise ValueError(f"expected start:patch:batch, such as 0:64:16,0.6:96:8, got {part!r}")
            stages.append({"start": fields[0], "patch_size": fields[1], "batch_size": fields[2]})
        return stages

    @field_validator("stages")
    @classmethod
    def _start_apart(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        starts = [stage.start for stage in stages]
        if len(set(starts)) < len(starts):
            raise ValueError(f"expected stages that start apart, got starts {listing(starts)}")
        return stages

    @property
    def given(self) -> dict[str, Any]:
        """Those that somebody set; the others are free to have other defaults."""
        return {name: getattr(self, name) for name in self.model_fields_set}

    def stage_at(self, step: int) -> Stage:
        """Return the stage of a step (0-based)."""
        current = Stage(start=0, patch_size=self.patch_size, batch_size=self.batch_size)
        for stage in sorted(self.stages, key=lambda stage: stage.start):
            if step >= round(stage.start * self.steps):
                current = stage
        return current


def default_settings(*specs: AdapterSpec | BackboneSpec | TaskSpec) -> dict[str, Any]:
    """Return the settings of a run that differ from the usual ones where nothing is said: a later record's go first."""
    return {name: value for spec in specs for name, value in spec.defaults.items()}


class Data(_Frozen):
    """Where the training and the validation images come from.

    With no `images` and no pairs, the sample photos of scikit-image are used.
    """

    images: tuple[Path, ...] = Field((), description="folders of clean images")
    pairs_input: Path | None = Field(None, description="folder of degraded images")
    pairs_target: Path | None = Field(None, description="folder of clean images with equal names")
    validation: Path | None = Field(None, description="folder of clean validation images; none = some are held out")
    validation_input: Path | None = Field(None, description="degraded validation images, for real pairs")
    strict: bool = Field(False, description="refuse a data set with unreadable or too small images")


class Recipe(_Frozen):
    """What both training phases share.

    Attributes:
        phase: ``pretrain`` or ``train``, as the commands are called.
        environment: what bits depend on besides the recipe: versions, CPU, threads, a hash of the images; recorded,
            compared on resume. ``earlier`` has what was otherwise in sittings before.
    """

    data: Data = Data()
    settings: Settings = Settings()
    environment: dict[str, Any] = Field(default_factory=dict)
    phase: str

    @abstractmethod
    def with_every_option(self) -> Self:
        """Fill in what its choices leave out, as those of a recipe do that is older than an option.

        Raises:
            UnknownNameError: no plugin offers what it names.
            UsageError: an option is wrong.
        """


class PretrainRecipe(Recipe):
    """Phase 1: a backbone learns to undo a mixture of synthetic degradations.

    Attributes:
        base: zoo name with its version, or a file: the weights to start from; ``None`` starts from random ones.
        base_fingerprint: of those weights.
    """

    phase: Literal["pretrain"] = "pretrain"
    base: str | None = None
    base_fingerprint: str | None = None
    backbone: Choice
    preset: str | None = None
    degradation: Choice = Field(description="usually one-of, whose options hold the mixture and its weights")

    @override
    def with_every_option(self) -> Self:
        backbone = plugins().backbones[self.backbone.name].config
        degradation = plugins().degradations[self.degradation.name].config
        complete = {
            "backbone": completed(self.backbone, backbone, what="backbone"),
            "degradation": completed(self.degradation, degradation, what="degradation"),
        }
        return self.model_copy(update=complete)


class AdapterRecipe(Recipe):
    """Phase 2: an adapter learns a task on a frozen base.

    Attributes:
        base: zoo name with its version, or a file.
        base_fingerprint: of the base's weights.
        start_from: zoo name with its version, or a folder: the adapter whose weights to start from, of this type and
            these options; ``None`` starts from a new one.
        start_fingerprint: of those weights.
    """

    phase: Literal["train"] = "train"
    base: str
    base_fingerprint: str | None = None
    adapter: Choice
    preset: str | None = None
    start_from: str | None = None
    start_fingerprint: str | None = None
    task: Choice

    @override
    def with_every_option(self) -> Self:
        adapter, task = plugins().adapters[self.adapter.name].config, plugins().task(self.task.name).config
        complete = {
            "adapter": completed(self.adapter, adapter, what="adapter type"),
            "task": completed(self.task, task, what="task"),
        }
        return self.model_copy(update=complete)
