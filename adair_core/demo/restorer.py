"""The one network behind the page: adapters are loaded when first needed, and one image is restored at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from adair_core.data.images import ImageRows
from adair_core.demo.offers import AUTO, Offer
from adair_core.diagnosis import Diagnoser, Finding
from adair_core.errors import DataError
from adair_core.inference import Settings
from adair_core.inference.diagnosing import diagnose_image, zoo_adapter_for
from adair_core.model import RestorationModel


@dataclass
class Restorer:
    """A model with its adapters.

    Args:
        model: the base, on its device.
        offers: adapters that people can choose, all of this base.
        diagnoser: chooses among them for `AUTO`; ``None`` = people choose.
        settings: tiles, precision and so on; strength and scale are the image's.
        accept_unknown_base: take adapters that do not say on which base they were trained.
    """

    model: RestorationModel
    offers: Sequence[Offer]
    diagnoser: Diagnoser | None = None
    settings: Settings = field(default_factory=Settings)
    accept_unknown_base: bool = False
    _loaded: dict[str, str] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    @property
    def labels(self) -> list[str]:
        """What people choose from."""
        return [*([AUTO] if self.diagnoser is not None else []), *(offer.label for offer in self.offers)]

    def choose(self, label: str, image: ImageRows) -> tuple[Offer | None, str]:
        """Find the adapter for an image.

        Args:
            label: of `labels`; anything else is nobody's choice.
            image: what `AUTO` looks at.

        Returns:
            The adapter, ``None`` where none should be used; and what was found, for people.

        Raises:
            DataError: nothing was chosen, or the image cannot be read.
        """
        if label == AUTO and self.diagnoser is not None:
            return self._advice(self.diagnoser, image)
        for offer in self.offers:
            if offer.label == label:
                return offer, ""
        raise DataError("Please choose what to restore.")

    def _advice(self, diagnoser: Diagnoser, image: ImageRows) -> tuple[Offer | None, str]:
        diagnosis = diagnose_image(diagnoser, image)
        if diagnosis.verdict == "clean":
            return None, f"Nothing found that needs restoring: {diagnosis}. Choose a task to restore it all the same."
        if diagnosis.verdict == "unknown":
            return None, f"Not sure what is wrong: {diagnosis}. Please choose what to restore."
        offer = self._helping(diagnosis.finding)
        if offer is None:
            return None, f"Found {diagnosis}, for which there is no adapter here."
        return offer, f"Found {diagnosis}."

    @contextmanager
    def using(self, offer: Offer) -> Iterator[RestorationModel]:
        """Take the model with this adapter; others wait until it is given back.

        Raises:
            AdairError: the adapter cannot be used.
        """
        with self._turn:
            if offer.adapter not in self._loaded:
                self._loaded[offer.adapter] = self.model.load_adapter(
                    offer.adapter, name=f"demo-{len(self._loaded)}", accept_unknown_base=self.accept_unknown_base
                )
            self.model.set_adapters([self._loaded[offer.adapter]])
            yield self.model

    def _helping(self, finding: Finding) -> Offer | None:
        """The zoo's adapter for a finding and its options; else one of the command line for that task."""
        spec = zoo_adapter_for(finding)
        wanted = None if spec is None else spec.versioned_name
        zoo = [offer for offer in self.offers if offer.adapter == wanted]
        own = [offer for offer in self.offers if offer.task == finding.task and "@" not in offer.adapter]
        return next(iter([*own, *zoo]), None)
