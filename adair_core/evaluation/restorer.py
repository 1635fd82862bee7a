"""What a report says about what restored its images."""

from __future__ import annotations

from pydantic import Field

from adair_core.specs import Config


class Restorer(Config):
    """What restored the images.

    Attributes:
        title: in a few words.
        base: versioned zoo name, or file.
        fingerprint: of the base's weights.
        adapters: names or folders -> how much of each.
        strength: out = in + strength * (restored - in).
        precision: in which the network computed.
        tile: ``auto`` (whole, unless memory asks for tiles), ``none``, ``exact`` or the side of the tiles in pixels,
            that were asked for or suit the adapter.
        ensemble: whether results are averaged over the image's eight orientations.
    """

    title: str
    base: str = ""
    fingerprint: str = ""
    adapters: dict[str, float] = Field(default_factory=dict)
    strength: float = 1.0
    precision: str = "float32"
    tile: str = "auto"
    ensemble: bool = False
