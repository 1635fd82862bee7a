"""The model card of an adapter that is given to others."""

from __future__ import annotations

import json
import re
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


def without_folders(value: Any) -> Any:
    """Keep of each file or folder in JSON data its name alone: where it lies says whose it is, and helps nobody else.

    >>> without_folders({"images": ["/home/jo/photos/kodak/"], "steps": 200})
    {'images': ['kodak'], 'steps': 200}
    """
    if isinstance(value, dict):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_folders(item) for item in value]
    if isinstance(value, str):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return value
