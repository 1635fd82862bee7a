"""The weights that a run starts from, as its recipe records them."""

from __future__ import annotations

from typing import Literal

from adair_core.errors import AdairError, BaseMismatchError, UsageError, WeightsError, expected
from adair_core.model.adapter_files import AdapterFile, read_adapter
from adair_core.model.backbone import BaseInfo
from adair_core.model.zoo import find_weights
from adair_core.plugins import completed, plugins
from adair_core.specs import Choice


def resolved_base(name: str, fingerprint: str | None, info: BaseInfo) -> dict[str, str]:
    """Fill in a base's version, or the absolute path of its file, and its fingerprint.

    Args:
        name: zoo name or file.
        fingerprint: that the recipe asks for, if it does.
        info: about the weights that were found.

    Returns:
        The fields ``base`` and ``base_fingerprint`` of a recipe.

    Raises:
        BaseMismatchError: the weights are not those of the fingerprint.
    """
    known = _recorded("base", name, fingerprint, info.fingerprint, BaseMismatchError)
    return {"base": known, "base_fingerprint": info.fingerprint}


def starting_adapter(name: str) -> tuple[AdapterFile, Choice]:
    """Read the adapter that a training is to start from.

    Args:
        name: of the zoo, or its folder.

    Returns:
        What its folder says, and its type with every option.

    Raises:
        UnknownNameError: the zoo has no such name and there is no such folder.
        UsageError: adair did not write it, or it is not an adapter.
        WeightsError: its files cannot be used.
    """
    file = read_adapter(find_weights(name, kind="adapter").path)
    if file.choice is None:
        hint = "load_adapter(..., accept_unknown_base=True) and save_adapter make one of it"
        raise UsageError(expected(f"adapter {name} to start from", expected="one of adair's", got="PEFT's", hint=hint))
    return file, completed(file.choice, plugins().adapters[file.choice.name].config, what="adapter type")


def resolved_start(name: str, fingerprint: str | None, adapter: Choice) -> dict[str, str]:
    """Fill in the version, or the absolute path, and the fingerprint of the adapter that a training starts from.

    Args:
        name: of the zoo, or its folder.
        fingerprint: that the recipe asks for, if it does.
        adapter: the type that is trained, with every option.

    Returns:
        The fields ``start_from`` and ``start_fingerprint`` of a recipe.

    Raises:
        UsageError: it is of another type or has other options.
        WeightsError: its files cannot be used, or the weights are not those of the fingerprint.
    """
    file, choice = starting_adapter(name)
    if choice != adapter:
        hint = "leave the adapter's type and options out, or start from a new one"
        wanted, got = described(choice), described(adapter)
        raise UsageError(expected(f"adapter type to start from {name}", expected=wanted, got=got, hint=hint))
    known = _recorded("adapter", name, fingerprint, file.fingerprint, WeightsError)
    return {"start_from": known, "start_fingerprint": file.fingerprint}


def described(choice: Choice) -> str:
    """Write a choice with all of its options."""
    return f"{choice.name} with {', '.join(f'{name}={value}' for name, value in choice.options.items())}"


def _recorded(
    kind: Literal["base", "adapter"], name: str, wanted: str | None, found: str, mismatch: type[AdairError]
) -> str:
    """How a recipe names weights, once they are known to be those of the fingerprint that it asks for, if it does."""
    if wanted not in (None, found):
        asked = f"the weights of fingerprint {wanted}, as the recipe says"
        hint = f"name the {kind} that the recipe was made with, or leave the fingerprint out"
        raise mismatch(expected(f"{kind} {name}", expected=asked, got=found, hint=hint))
    weights = find_weights(name, kind=kind)
    # A path means the same from any folder.
    return weights.name if weights.name in plugins().weights else str(weights.path.absolute())
