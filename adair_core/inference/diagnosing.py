"""What is wrong with image files, and the adapter that a diagnosis chooses."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from adair_core.data.document import open_document
from adair_core.data.images import ImageRows, to_tensor
from adair_core.diagnosis import Diagnoser, Diagnosis, Finding
from adair_core.errors import UnknownNameError, UsageError
from adair_core.inference.highlights import check_range
from adair_core.inference.image_restoring import bands
from adair_core.inference.pages import Chosen
from adair_core.model.restoration_model import RestorationModel
from adair_core.model.zoo import adapter_for
from adair_core.specs import WeightsSpec


def diagnose_file(diagnoser: Diagnoser, path: Path, *, white: float = 1.0) -> list[Diagnosis]:
    """Diagnose each page of an image file; a large one is read row by row.

    Args:
        diagnoser: judges.
        path: the file.
        white: the value of white in float images.

    Raises:
        DataError: it cannot be read, or floats are not in the range that `white` says.
    """
    document = open_document(path)
    found = []
    for index in range(len(document)):
        with document.named(index):
            found.append(diagnose_image(diagnoser, document.open(index), path=path, white=white))
    return found


def diagnose_image(
    diagnoser: Diagnoser, image: ImageRows, *, path: Path | None = None, white: float = 1.0
) -> Diagnosis:
    """Diagnose an image that is read by its rows; gray as colour, whatever its alpha says.

    Args:
        diagnoser: judges.
        image: of any type.
        path: of its file, for messages.
        white: the value of white in float images.

    Raises:
        DataError: the image cannot be read, or its floats are not in the range that `white` says.
    """
    is_float = image.info.dtype == np.float32
    if is_float:
        check_range(path, (band.pixels for band in bands(image)), white)

    def read(top: int, bottom: int) -> Tensor:
        colors = to_tensor(image.rows(top, bottom))
        return colors / white if is_float else colors

    return diagnoser.diagnose_rows(read, image.info.height, image.info.width)


def zoo_adapter_for(finding: Finding) -> WeightsSpec | None:
    """Find the zoo's adapter that undoes what a diagnosis found.

    Returns:
        The adapter; None where the zoo has none, or none for the finding's own options, or no package has the task.
    """
    if finding.task is None:
        return None
    try:
        return adapter_for(finding.task, finding.options)
    except (UnknownNameError, UsageError):
        return None


@dataclass
class AdapterChooser:
    """Chooses the zoo's adapter for each image by its diagnosis; an adapter is loaded when it is first needed.

    Args:
        model: whose adapters are chosen among.
        diagnoser: judges.
        white: the value of white in float images.
    """

    model: RestorationModel
    diagnoser: Diagnoser
    white: float = 1.0
    _loaded: dict[str, str] = field(default_factory=dict)

    def __call__(self, image: ImageRows) -> Chosen:
        """Diagnose an image and load the adapter that it needs.

        Raises:
            AdairError: the image cannot be read or is in another range than `white` says, or the adapter cannot be
                used with the model.
        """
        diagnosis = diagnose_image(self.diagnoser, image, white=self.white)
        if diagnosis.verdict == "clean":
            return Chosen(None, str(diagnosis))
        if diagnosis.verdict == "unknown":
            return Chosen(None, f"{diagnosis}; name its task to restore it")
        spec = zoo_adapter_for(diagnosis.finding)
        if spec is None:
            return Chosen(None, f"{diagnosis}; the zoo has no adapter for that")
        if spec.versioned_name not in self._loaded:
            self._loaded[spec.versioned_name] = self.model.load_adapter(spec.versioned_name)
        return Chosen(self._loaded[spec.versioned_name], str(diagnosis))
