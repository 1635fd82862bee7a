"""Images of one scene, such as frames of one video: they are akin, so intervals and tests count scenes, not images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

from adair_core.errors import UsageError, expected, listing

Item = TypeVar("Item")


def scene_of(image: str, pattern: str) -> str:
    r"""Tell an image's scene by its name.

    Args:
        image: its name.
        pattern: regular expression. The scene is what its first group has matched, or all of it where it has no group;
            an image without a match is a scene of its own.

    >>> scene_of("1430_6.png", r"^\d+"), scene_of("GOPR0384_11_00/000001.png", "(.*)/"), scene_of("bird.png", "(.*)/")
    ('1430', 'GOPR0384_11_00', 'bird.png')
    """
    found = re.search(pattern, image)
    if found is None:
        return image
    return (found.group(1) if found.re.groups else found.group()) or image


def scenes_of(images: Iterable[str], pattern: str | None) -> list[str] | None:
    """Tell the scene of each image; ``None`` without a pattern: each is one of its own."""
    return None if pattern is None else [scene_of(image, pattern) for image in images]


def by_scene(items: Sequence[Item], scenes: Sequence[str] | None) -> list[list[Item]]:
    """Put what belongs to images of one scene together, in the order of their first images.

    Args:
        items: one for each image.
        scenes: of each image; None = each is one of its own.

    >>> by_scene([1, 11, 3], ["a", "b", "a"]), by_scene([1, 11, 3], None)
    ([[1, 3], [11]], [[1], [11], [3]])
    """
    if scenes is None:
        return [[item] for item in items]
    found: dict[str, list[Item]] = {}
    for item, scene in zip(items, scenes, strict=True):
        found.setdefault(scene, []).append(item)
    return list(found.values())


def check_scene_pattern(pattern: str, images: Sequence[str]) -> None:
    """Check what is said to tell scenes apart.

    Raises:
        UsageError: it is not a regular expression, or no image's name has a match.
    """
    try:
        matched = [image for image in images if re.search(pattern, image)]
    except re.error as error:
        got = f"{pattern!r} ({error})"
        raise UsageError(expected("scene", expected="a regular expression for images' names", got=got)) from error
    if not matched:
        wanted = f"a regular expression that matches in images' names, such as {listing(images, limit=3)}"
        raise UsageError(expected("scene", expected=wanted, got=repr(pattern)))
