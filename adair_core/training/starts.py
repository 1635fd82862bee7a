"""The weights that a run starts from, as its recipe records them."""

from __future__ import annotations

from adair_core.errors import BaseMismatchError, UsageError, WeightsError, expected
from adair_core.model.adapter_files import AdapterFile, read_adapter
from adair_core.model.backbone import BaseInfo
from adair_core.model.zoo import find_weights
from adair_core.plugins import plugins
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
    if fingerprint not in (None, info.fingerprint):
        hint = "name the base that the recipe was made with, or leave the fingerprint out"
        raise BaseMismatchError(_other_weights(f"base {name}", fingerprint, info.fingerprint, hint))
    found = find_weights(name, kind="base")
    # A path means the same from any folder.
    known = found.name if found.name in plugins().weights else str(found.path.absolute())
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
    return file, file.choice


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
    if fingerprint not in (None, file.fingerprint):
        hint = "name the adapter that the recipe was made with, or leave the fingerprint out"
        raise WeightsError(_other_weights(f"adapter {name}", fingerprint, file.fingerprint, hint))
    found = find_weights(name, kind="adapter")
    known = found.name if found.name in plugins().weights else str(found.path.absolute())
    return {"start_from": known, "start_fingerprint": file.fingerprint}


def described(choice: Choice) -> str:
    """Write a choice with all of its options."""
    return f"{choice.name} with {', '.join(f'{name}={value}' for name, value in choice.options.items())}"


def _other_weights(what: str, wanted: str | None, found: str, hint: str) -> str:
    asked = f"the weights of fingerprint {wanted}, as the recipe says"
    return expected(what, expected=asked, got=found, hint=hint)
