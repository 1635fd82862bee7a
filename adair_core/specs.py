"""The frozen records that plugins return from their hooks.

A record describes; it does nothing. The core validates a plugin's whole batch of records before any of them
becomes visible (`adair_core.plugins`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

if TYPE_CHECKING:
    from adair_core.adapter import Adapter, PeftFactors
    from adair_core.degradation import Degradation

NAME_PATTERN = re.compile(r"[a-z0-9]+([-.][a-z0-9]+)*")

SiteKind = Literal["conv1x1", "dwconv", "conv3x3", "branch", "stage", "whole"]
SITE_KINDS: tuple[str, ...] = get_args(SiteKind)


class Config(BaseModel):
    """Base of every plugin's configuration: immutable, strict about unknown fields, its numbers finite.

    Each field becomes a command-line option (``--adapter.rank``, ``--task.sigma``); its ``description`` is the
    option's help text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class Choice(Config):
    """A plugin's thing by name, with options; in recipes and weights with every one, as defaults may change."""

    name: str = Field(description="registered name")
    options: dict[str, Any] = Field(default_factory=dict, description="fields of its configuration")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What every record has.

    Attributes:
        name: lower case words joined by ``-`` (or ``.``), unique among records of the same kind.
        summary: one line for tables and ``--help``.
    """

    name: str
    summary: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME_PATTERN.fullmatch(self.name):
            raise ValueError(f"name: expected lower-case words joined by '-', such as 'film-grain', got {self.name!r}")
        if not isinstance(self.summary, str) or not self.summary.strip() or "\n" in self.summary:
            raise ValueError(f"{self.name}: summary: expected one non-empty line, got {self.summary!r}")


@dataclass(frozen=True, kw_only=True)
class DegradationSpec(Spec):
    """A seeded transform, clean image -> degraded image.

    Attributes:
        config: pydantic model of its parameters.
        build: makes the degradation from an instance of `config`.
    """

    config: type[BaseModel]
    build: Callable[[Any], Degradation]


@dataclass(frozen=True)
class Site:
    """A named place in a backbone where adapters attach.

    Attributes:
        path: dotted module path inside the backbone; ``""`` is the backbone itself.
        kind: ``conv1x1``, ``dwconv``, ``conv3x3``: a convolution whose weight may be changed; ``branch``: a module
            whose output is added to the residual stream; ``stage``: a module whose output is a whole level's features;
            ``whole``: the backbone with all its parameters (declared by the core for every backbone).
        channels: channels of the module's output.
        level: resolution level, 1 = full resolution, each further level halves it.
        shapes: the module's own parameters: name relative to `path` -> shape.
        groups: groups of a convolution, else 1.
    """

    path: str
    kind: SiteKind
    channels: int
    level: int
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    groups: int = 1

    def __post_init__(self) -> None:
        if self.kind not in SITE_KINDS:
            raise ValueError(f"site {self.path!r}: kind: expected one of {', '.join(SITE_KINDS)}, got {self.kind!r}")

    @classmethod
    def of(cls, model: nn.Module, path: str, kind: SiteKind, *, level: int, channels: int | None = None) -> Site:
        """Describe the module at `path` of `model`.

        Args:
            model: the backbone.
            path: dotted path of the module.
            kind: see the class.
            level: see the class.
            channels: output channels; needed unless the module is a convolution.

        Raises:
            ValueError: there is no such module, or its channels are not known.
        """
        try:
            module = model.get_submodule(path)
        except AttributeError as error:
            raise ValueError(f"site {path!r}: no such module in {type(model).__name__}") from error
        if channels is None:
            if not isinstance(module, nn.Conv2d):
                raise ValueError(f"site {path!r}: channels are needed for a {type(module).__name__}")
            channels = module.out_channels
        shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
        groups = module.groups if isinstance(module, nn.Conv2d) else 1
        return cls(path, kind, channels, level, shapes, groups)


@dataclass(frozen=True, kw_only=True)
class AdapterSpec(Spec):
    """An adapter type: a way to adapt a base.

    Attributes:
        config: pydantic model of its hyper-parameters.
        kinds: the site kinds that it can attach to.
        build: makes the adapter of one site: ``build(config, site)``; ``None`` leaves the site alone.
        presets: named sets of options, such as one for each size budget.
        from_peft: for a type that PEFT has under the same name (in capitals): what a PEFT file says -> options.
        defaults: training settings that differ from the usual ones (fields of `adair_core.training.Settings`), above
            all the learning rate, which small adapters want higher than whole networks; a task's go before them.
    """

    config: type[BaseModel]
    kinds: frozenset[SiteKind]
    build: Callable[[Any, Site], Adapter | None]
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    from_peft: Callable[[PeftFactors], Mapping[str, Any]] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SpandrelForm:
    """How the library spandrel, and the programs that load weights with it, know a backbone.

    Spandrel reads the shape of a network from the names and shapes of its weights, which not every shape allows.

    Attributes:
        architecture: spandrel's name of it, such as ``"NAFNet"``; its parameters have the backbone's names there.
        package: what has to be installed for it: ``"spandrel"`` or ``"spandrel-extra-arches"``.
        problem: configuration -> why spandrel would not recognise a network of this shape; empty if it would.
        correction: configuration -> path of the convolution whose output is added to the image, ``None`` if there is
            none; with its parameters times s, the network returns in + s (restored - in).
    """

    architecture: str
    package: str
    problem: Callable[[Any], str]
    correction: Callable[[Any], str | None]


@dataclass(frozen=True, kw_only=True)
class BackboneSpec(Spec):
    """A network architecture.

    The module that `build` returns maps ``(B, in_channels, H, W)`` to ``(B, out_channels, H, W)`` for any H, W >= 1;
    padding is its own affair.

    Attributes:
        config: pydantic model of its shape.
        build: makes the module, randomly initialised from torch's global generator.
        sites: the places where adapters may attach, in forward order.
        presets: named shapes; ``presets[default_preset]`` is what ``--backbone NAME`` alone means.
        default_preset: see `presets`.
        spandrel: for one that spandrel has too.
        defaults: settings of its pre-training that differ from the usual ones (fields of
            `adair_core.training.Settings`).
    """

    config: type[BaseModel]
    build: Callable[[Any], nn.Module]
    sites: Callable[[nn.Module], Sequence[Site]]
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    default_preset: str | None = None
    spandrel: SpandrelForm | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


class Condition(Config):
    """One row of a protocol's table: the degradation under which the images are restored.

    With ``degradation=None`` the data are folders of real pairs.
    """

    label: str = Field(description="row label, such as 'sigma 25'")
    degradation: Choice | None = None


class DataSet(Config):
    """A set of images that published numbers are measured on, known by its pixels.

    Its checksum is that of `adair_core.evaluation.checksums.data_set_checksum`, which reports record.
    """

    name: str
    images: int = Field(ge=1, description="how many")
    checksum: str = Field(pattern="^[0-9a-f]{32}$", description="of all images in their order")
    source: str = Field("", description="where the files that were hashed come from")


class Protocol(Config):
    """How a result is measured; data, not code.

    The noise of image i (0-based, in sorted file order) under condition c is drawn from a generator that is a pure
    function of (seed, c, i): the numbers do not depend on what else is evaluated.
    """

    name: str
    conditions: tuple[Condition, ...] = Field(min_length=1)
    metrics: tuple[str, ...] = ("psnr", "ssim")
    color: Literal["rgb", "y"] = Field("rgb", description="colour space of the metrics; y is BT.601 luma, as in MATLAB")
    crop: int = Field(0, ge=0, description="pixels removed from each border before the metrics")
    quantize: bool = Field(True, description="round the restored image to 8 bits before the metrics")
    multiple_of: int = Field(1, ge=1, description="crop targets to a multiple of this (super-resolution scales)")
    seed: int = 0
    generator: Literal["torch-mt19937"] = Field(
        "torch-mt19937", description="what draws: torch's CPU generator, seeded by `adair_core.data.seeds.seed_of`"
    )
    ground_truth_mean: bool = Field(
        False, description="scale each result to its target's mean brightness before the metrics; reports are marked"
    )
    data_sets: tuple[DataSet, ...] = Field((), description="sets that published numbers are measured on")
    known_data_only: bool = Field(False, description="refuse images that are none of `data_sets`")
    note: str = Field("", description="where the protocol comes from; what its numbers may be compared with")


@dataclass(frozen=True, kw_only=True)
class TaskSpec(Spec):
    """A named restoration problem.

    Attributes:
        config: pydantic model of the task's options (``--task.sigma 5,55``).
        degradation: options -> how a clean image becomes an input; ``None`` for a task that needs real pairs.
        protocol: options -> how results are judged.
        defaults: training settings that differ from the usual ones (fields of `adair_core.training.Settings`).
    """

    config: type[BaseModel]
    degradation: Callable[[Any], Choice | None]
    protocol: Callable[[Any], Protocol]
    defaults: Mapping[str, Any] = field(default_factory=dict)


Metric = Callable[[Tensor, Tensor], float]


@dataclass(frozen=True, kw_only=True)
class MetricSpec(Spec):
    """A full-reference image metric.

    Attributes:
        build: makes the metric: ``metric(restored, target) -> float`` on ``(1, C, H, W)`` float tensors in [0, 1].
        higher_is_better: direction.
        unit: such as ``"dB"``; empty for none.
        color: ``"rgb"`` if it compares coloured images even where a protocol judges the luma, as networks that were
            trained on RGB do.
    """

    build: Callable[[], Metric]
    higher_is_better: bool
    unit: str = ""
    color: Literal["protocol", "rgb"] = "protocol"


WeightsKind = Literal["base", "adapter", "diagnoser"]


@dataclass(frozen=True, kw_only=True)
class WeightsSpec(Spec):
    """Weights that a package ships.

    Attributes:
        version: the name with its version, ``restormer-tiny@1``, never changes meaning; a bare name is the newest.
        kind: what the weights are.
        path: safetensors file of a base, folder of an adapter.
        terms: the weights' own terms of use.
        task: the task of an adapter.
        options: of the task that this adapter is for, such as ``{"scale": 3}``, where adapters share a task; whatever
            the task's other options are, the adapter serves.
    """

    version: int
    kind: WeightsKind
    path: Path
    terms: str
    task: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def versioned_name(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, kw_only=True)
class CallbackSpec(Spec):
    """Something that watches training (`adair_core.training.Callback`), switched on with ``--callback NAME``.

    Attributes:
        build: makes the callback.
    """

    build: Callable[[], Any]
