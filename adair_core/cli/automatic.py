"""``--task auto``: each image is restored with the adapter that its diagnosis asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adair_core.cli.models import base_of_adapter, load_model
from adair_core.cli.sequences import Restorations
from adair_core.errors import UnknownNameError, UsageError, expected

if TYPE_CHECKING:
    from adair_core.diagnosis import Diagnoser
    from adair_core.inference import Settings
    from adair_core.inference.diagnosing import AdapterChooser

DIAGNOSER = "diagnoser"


def load_automatic(parameters: Mapping[str, Any], settings: Settings) -> tuple[Restorations, AdapterChooser]:
    """Load the base of the zoo's adapters, and what chooses among them.

    Args:
        parameters: of `adair_core.cli.models.model_options`, and ``scale``.
        settings: with one step.

    Raises:
        UsageError: options that name an adapter, or the zoo has no diagnoser or no adapter that it could choose.
        AdairError: the weights cannot be used.
    """
    from adair_core.diagnosis import Diagnoser
    from adair_core.inference.diagnosing import AdapterChooser

    if parameters["adapters"] or parameters["blend"] is not None:
        raise UsageError("--task auto chooses the adapter itself: leave --adapter and --blend out")
    if parameters["scale"] is not None:
        raise UsageError(expected("--scale", expected="a task that enlarges", got="--task auto"))
    try:
        diagnoser = Diagnoser.load(DIAGNOSER)
    except UnknownNameError as error:
        raise UsageError(f"--task auto needs a diagnoser, and no installed package has one ({error})") from error
    base = parameters["base"] or _common_base(diagnoser)
    loaded = load_model({**parameters, "base": base}, task=None)
    title = f"{loaded.model.info.name} and the adapter that each image needs"
    chooser = AdapterChooser(loaded.model, diagnoser, white=settings.white)
    return Restorations(loaded.model, title, settings.steps), chooser


def _common_base(diagnoser: Diagnoser) -> str:
    """The base of the adapters that are chosen among; they are of one, as the zoo's are trained together."""
    from adair_core.inference.diagnosing import zoo_adapter_for

    for finding in diagnoser.findings:
        spec = zoo_adapter_for(finding)
        base = None if spec is None else base_of_adapter(spec.versioned_name)
        if base is not None:
            return base
    raise UsageError("--task auto: the zoo has no adapter for anything that a diagnosis finds")
