"""Random generators that are pure functions of what they are for."""

from __future__ import annotations

import hashlib

import torch

SEED_BITS = 63


def seed_of(*keys: int | str) -> int:
    """Hash keys to a seed in [0, 2**63), the same on every machine, in every process and Python version.

    ``seed = BLAKE2b(keys) mod 2**63``, where each key is preceded by its type and its length: ``("ab", "c")`` and
    ``("a", "bc")``, or ``1`` and ``"1"``, are different keys.

    Args:
        keys: whole numbers of any size and sign, and strings.

    Raises:
        TypeError: a key is neither.

    >>> seed_of(0, "patch", 7) == seed_of(0, "patch", 7) != seed_of(0, "patch", 8)
    True
    """
    digest = hashlib.blake2b(digest_size=8)
    for key in keys:
        if isinstance(key, bool) or not isinstance(key, (int, str)):
            raise TypeError(f"key: expected an int or a str, got {key!r}")
        text = str(key).encode("utf-8", "surrogatepass")
        digest.update(f"{type(key).__name__[0]}{len(text)}:".encode() + text)
    return int.from_bytes(digest.digest(), "little") & (1 << SEED_BITS) - 1


def generator(*keys: int | str) -> torch.Generator:
    """Return a CPU generator whose draws depend on the keys alone.

    torch's CPU generator (MT19937) is seeded with the low 32 bits: of a million samples about a hundred share their
    draws with another one, which is harmless in training.

    Args:
        keys: see `seed_of`; by convention the run's seed, what the draws are for, and the sample's index.
    """
    return torch.Generator().manual_seed(seed_of(*keys))
