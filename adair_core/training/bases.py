"""The base that a run starts from, as its recipe records it."""

from __future__ import annotations

from adair_core.errors import BaseMismatchError, expected
from adair_core.model.backbone import BaseInfo
from adair_core.model.zoo import find_weights
from adair_core.plugins import plugins


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
        raise BaseMismatchError(
            expected(
                f"base {name}",
                expected=f"the weights of fingerprint {fingerprint}, as the recipe says",
                got=info.fingerprint,
                hint="name the base that the recipe was made with, or leave the fingerprint out",
            )
        )
    found = find_weights(name, kind="base")
    # A path means the same from any folder.
    known = found.name if found.name in plugins().weights else str(found.path.absolute())
    return {"base": known, "base_fingerprint": info.fingerprint}
