"""The model card of an adapter that is given to others."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from adair_core.model.adapter_card import AdapterCard


def shared_card(text: str, card: AdapterCard, *, title: str, terms: str | None, base_terms: str | None) -> str:
    """Write a model card: what the adapter's own says, the terms, and how to get it; data about it for the Hub first.

    Args:
        text: of the adapter's own card, `adair_core.model.adapter_card.card_text`.
        card: what it was made of.
        title: of the place.
        terms: of use of the adapter.
        base_terms: of use of its base.
    """
    tags = ["adair", "image-restoration", *([card.task] if card.task else [])]
    front = ["library_name: adair", "pipeline_tag: image-to-image", f"tags: {json.dumps(tags)}"]
    own = terms or "not stated; ask who made it"
    parts = [
        "---\n" + "\n".join(front) + "\n---",
        text.strip(),
        f"## Terms\n\n- Adapter: {own}\n- Base: {base_terms or 'not stated'}",
        f"## Use\n\n```sh\nadair adapters pull {title} -o adapter\nadair restore photo.jpg --adapter ./adapter\n```",
    ]
    return "\n\n".join(parts) + "\n"


PLACES = frozenset({"data", "base", "start_from"})
"""Parts of a recipe whose texts are all names of files and folders."""
ABSOLUTE = re.compile(r"(/|~|[A-Za-z]:\\|\\\\).*", re.DOTALL)


def recipe_without_folders(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of each file or folder in a recipe its name alone.

    Options may have slashes that are none of a path's; there only absolute paths count.

    >>> recipe_without_folders({"data": {"images": ["photos/kodak"]}, "task": {"of": "1/255", "psf": "/jo/psf.png"}})
    {'data': {'images': ['kodak']}, 'task': {'of': '1/255', 'psf': 'psf.png'}}
    """
    return {key: without_folders(value, everywhere=key in PLACES) for key, value in recipe.items()}


def without_folders(value: Any, *, everywhere: bool = True) -> Any:
    """Keep of each file or folder in JSON data its name alone: where it lies says whose it is, and helps nobody else.

    Args:
        value: the data.
        everywhere: every text is the name of a file or folder; else only those that are absolute paths.
    """
    if isinstance(value, Mapping):
        return {key: without_folders(item, everywhere=everywhere) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_folders(item, everywhere=everywhere) for item in value]
    if isinstance(value, str) and (everywhere or ABSOLUTE.fullmatch(value)):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return value
