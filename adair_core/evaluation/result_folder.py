"""What other programs restored, as images in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from adair_core.data.images import read_image, to_tensor
from adair_core.data.sources import by_stem
from adair_core.errors import DataError, expected
from adair_core.specs import Protocol


@dataclass(frozen=True)
class ResultFolder:
    """A candidate of a comparison: restored images, found by the names of the originals, whatever their endings.

    Under a protocol of several conditions, each has a subfolder named by its label.

    Attributes:
        folder: where they are.
        files: path inside the folder without the ending -> file.
        has_subfolders: whether each condition has its own.
    """

    folder: Path
    files: Mapping[str, Path]
    has_subfolders: bool

    @classmethod
    def of(cls, folder: Path, protocol: Protocol) -> ResultFolder:
        """List a folder.

        Raises:
            DataError: there is no such folder, it has no images, or two of one name.
        """
        return cls(folder, by_stem(folder), has_subfolders=len(protocol.conditions) > 1)

    def read(self, condition: str, name: str) -> Tensor:
        """Read the restored image.

        Args:
            condition: label.
            name: of the original.

        Returns:
            ``(1, 3, H, W)`` in [0, 1].

        Raises:
            DataError: there is none of that name, or it cannot be read.
        """
        stem = Path(name).with_suffix("").as_posix()
        wanted = f"{condition}/{stem}" if self.has_subfolders else stem
        if wanted not in self.files:
            raise DataError(
                expected(str(self.folder), expected=f"a restored image {wanted}.*", got="none of that name")
            )
        return to_tensor(read_image(self.files[wanted]))
