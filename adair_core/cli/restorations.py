"""Networks, and what stands in for them, as `adair evaluate` measures them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adair_core.cli.candidates import FROZEN, INPUT, Candidate, frozen_base
from adair_core.cli.choices import DEFAULT_BASE
from adair_core.cli.models import Loaded, load_model, tile_of
from adair_core.cli.output import say
from adair_core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from adair_core.evaluation import Restorer
    from adair_core.evaluation.run import Candidate as Restoring
    from adair_core.specs import Protocol


class Network:
    """A network with the options of the command line; it counts the images that went through it in tiles.

    Args:
        loaded: the network.
        parameters: ``tile``, ``precision``, ``exact``, ``self_ensemble``, ``no_graphs``.
        strength: out = in + strength * (restored - in).
    """

    def __init__(self, loaded: Loaded, parameters: Mapping[str, Any], *, strength: float = 1.0) -> None:
        self.loaded, self.strength = loaded, strength
        self.tile, self.exact = tile_of(parameters["tile"]), parameters["exact"]
        self.precision, self.graphs = parameters["precision"], not parameters["no_graphs"]
        self.ensemble = parameters["self_ensemble"]
        self.calls = self.in_tiles = 0

    @property
    def tiles(self) -> str:
        """How it restores, for reports: ``auto`` only where no adapter asks for tiles."""
        suited = self.loaded.model.suited_tile if self.tile == "auto" else None
        return "exact" if self.exact else str(suited or self.tile).lower()

    def __call__(self, image: Tensor) -> Tensor:
        """Restore ``(1, 3, H, W)``."""
        shares: list[float] = []
        result = self.loaded.model.restore(
            image,
            strength=self.strength,
            tile=self.tile,
            precision=self.precision,
            exact=self.exact,
            ensemble=self.ensemble,
            graphs=self.graphs,
            on_share=shares.append,
        )
        self.calls += 1
        self.in_tiles += bool(shares)
        return result


@dataclass(frozen=True)
class Restoration:
    """Something to measure.

    Attributes:
        restore: how it restores.
        restorer: what reports say about it.
    """

    restore: Restoring
    restorer: Restorer

    @classmethod
    def of_network(cls, network: Network) -> Restoration:
        """Describe a network."""
        from adair_core.evaluation import Restorer

        info = network.loaded.model.info
        strong = "" if network.strength == 1 else f", strength {network.strength:g}"
        averaged = ", self-ensemble" if network.ensemble else ""
        restorer = Restorer(
            title=network.loaded.title + strong + averaged,
            base=info.name,
            fingerprint=info.fingerprint,
            adapters=dict(network.loaded.adapters),
            strength=network.strength,
            precision=network.precision,
            tile=network.tiles,
            ensemble=network.ensemble,
        )
        return cls(network, restorer)

    @classmethod
    def of_input(cls) -> Restoration:
        """The candidate ``input``: the degraded image as it is."""
        from adair_core.evaluation import Restorer

        return cls(lambda image: image, Restorer(title=INPUT, strength=0))

    @classmethod
    def of_folder(cls, folder: Path, protocol: Protocol) -> Restoration:
        """Images that something else restored.

        Raises:
            DataError: as `ResultFolder.of`.
        """
        from adair_core.evaluation import Restorer, ResultFolder

        return cls(ResultFolder.of(folder, protocol), Restorer(title=f"images in {folder}"))


def candidate_restorations(
    candidates: Sequence[Candidate], parameters: Mapping[str, Any], protocol: Protocol, *, task: str | None
) -> dict[str, Restoration]:
    """Load what the candidates name, in their order.

    Raises:
        UsageError: options that do not fit ``--compare``; the adapters of ``frozen`` have several bases.
        AdairError: weights or images cannot be used.
    """
    if parameters["adapters"] or parameters["blend"] is not None:
        raise UsageError("--compare names the adapters itself: leave --adapter and --blend out")
    made = {}
    for candidate in candidates:
        if candidate.what == INPUT:
            made[candidate.name] = Restoration.of_input()
        elif candidate.is_folder:
            made[candidate.name] = Restoration.of_folder(Path(candidate.what), protocol)
        else:
            chosen = {**parameters, "adapters": (candidate.what,)}
            if candidate.what == FROZEN:
                chosen |= {"adapters": (), "base": frozen_base(candidates, parameters["base"]) or DEFAULT_BASE}
            elif candidate.is_base:
                chosen |= {"adapters": (), "base": candidate.what}
            network = Network(load_model(chosen, task=task), parameters, strength=candidate.strength)
            made[candidate.name] = Restoration.of_network(network)
    return made


def tell_tiles(restorations: Iterable[Restoration]) -> None:
    """Say how many images went through in tiles, which changes numbers a little."""
    networks = [each.restore for each in restorations if isinstance(each.restore, Network)]
    in_tiles = sum(network.in_tiles for network in networks)
    if in_tiles:
        say(
            f"{in_tiles} of {sum(network.calls for network in networks)} restorations were made in tiles; --tile none "
            f"makes them whole, as published numbers are, and needs more memory"
        )
