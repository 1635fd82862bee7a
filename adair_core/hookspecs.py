"""The hooks that a plugin may implement, and the two markers.

A plugin is a module (or an object) named by an entry point of the group ``adair.plugins``. It implements any of
these functions, marked with `hookimpl`; each returns an iterable of records. A hook has no side effects and is
called once.
"""

from __future__ import annotations

from collections.abc import Iterable

import click
import pluggy

from adair_core.specs import (
    AdapterSpec,
    BackboneSpec,
    CallbackSpec,
    DegradationSpec,
    MetricSpec,
    TaskSpec,
    WeightsSpec,
)

PROJECT = "adair"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def adair_degradations() -> Iterable[DegradationSpec]:
    """Offer degradations; each is also a task of the same name.

    Example::

        @hookimpl
        def adair_degradations():
            return [DegradationSpec(name="film-grain", summary="silver grain", config=FilmGrainConfig, build=FilmGrain)]
    """
    return ()


@hookspec
def adair_tasks() -> Iterable[TaskSpec]:
    """Offer tasks: where pairs come from and how results are judged.

    Example::

        @hookimpl
        def adair_tasks():
            return [TaskSpec(name="despeckle", summary="remove speckle", config=SpeckleConfig,
                             degradation=lambda config: Choice(name="speckle"), protocol=speckle_protocol)]
    """
    return ()


@hookspec
def adair_adapters() -> Iterable[AdapterSpec]:
    """Offer adapter types.

    Example::

        @hookimpl
        def adair_adapters():
            return [AdapterSpec(name="scale", summary="one scale a channel", config=ScaleConfig,
                                kinds=frozenset({"branch"}), build=lambda config, site: Scale(site.channels))]
    """
    return ()


@hookspec
def adair_backbones() -> Iterable[BackboneSpec]:
    """Offer network architectures.

    Example::

        @hookimpl
        def adair_backbones():
            return [BackboneSpec(name="dncnn", summary="17 convolutions", config=DnCNNConfig, build=DnCNN,
                                 sites=lambda model: [Site.of(model, "body.0", "conv3x3", level=1)])]
    """
    return ()


@hookspec
def adair_metrics() -> Iterable[MetricSpec]:
    """Offer full-reference metrics.

    Example::

        @hookimpl
        def adair_metrics():
            return [MetricSpec(name="mae", summary="mean absolute error", build=lambda: mean_absolute_error,
                               higher_is_better=False)]
    """
    return ()


@hookspec
def adair_weights() -> Iterable[WeightsSpec]:
    """Offer trained weights: bases and adapters.

    Example::

        @hookimpl
        def adair_weights():
            return [WeightsSpec(name="grain", summary="film grain on restormer-tiny", version=1, kind="adapter",
                                path=Path(__file__).parent / "grain", terms="CC-BY-4.0", task="film-grain")]
    """
    return ()


@hookspec
def adair_commands() -> Iterable[click.Command]:
    """Offer commands; a command named ``x`` becomes ``adair x``.

    Example::

        @hookimpl
        def adair_commands():
            return [histogram_command]
    """
    return ()


@hookspec
def adair_callbacks() -> Iterable[CallbackSpec]:
    """Offer training callbacks, switched on with ``--callback NAME``.

    Example::

        @hookimpl
        def adair_callbacks():
            return [CallbackSpec(name="beep", summary="beep at the end", build=Beep)]
    """
    return ()
