"""The photos that come with scikit-image: training data for a first try, with nothing to download.

They are read from scikit-image's own files, as any other image; its functions would download those that a later
version no longer ships.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from adair_core.data.decoding import read_image
from adair_core.data.pixels import Array
from adair_core.errors import DataError


@dataclass(frozen=True)
class SamplePhoto:
    """One of scikit-image's colour photos.

    Attributes:
        name: of scikit-image's function.
        file: in its data folder.
        shows: what is to be seen.
        terms: as scikit-image states them.
        is_held_out: never trained on, so that results on it mean something.
    """

    name: str
    file: str
    shows: str
    terms: str
    is_held_out: bool = False


SAMPLE_PHOTOS = (
    SamplePhoto("astronaut", "astronaut.png", "Eileen Collins (NASA)", "public domain"),
    SamplePhoto("coffee", "coffee.png", "a cup on a wooden table (Rachel Michetti)", "CC0"),
    SamplePhoto("hubble_deep_field", "hubble_deep_field.jpg", "galaxies (NASA)", "public domain"),
    SamplePhoto("immunohistochemistry", "ihc.png", "stained tissue (CMMI)", "no known copyright restrictions"),
    SamplePhoto("retina", "retina.jpg", "the back of an eye (Mikael Häggström)", "CC0"),
    SamplePhoto("rocket", "rocket.jpg", "a launch at night (SpaceX)", "public domain"),
    SamplePhoto("chelsea", "chelsea.png", "a cat (Stefan van der Walt)", "CC0", is_held_out=True),
)


def sample_photo_files(*, held_out: bool = False) -> list[Path]:
    """Return the files of the photos to train on, or of those that are held out.

    Raises:
        DataError: the installed scikit-image does not have one of them.
    """
    package = find_spec("skimage")
    if package is None or not package.submodule_search_locations:
        raise DataError("sample photos: scikit-image is not installed; install it or name a folder with --data")
    folder = Path(package.submodule_search_locations[0]) / "data"
    files = [folder / photo.file for photo in SAMPLE_PHOTOS if photo.is_held_out == held_out]
    for file in files:
        if not file.is_file():
            raise DataError(f"sample photos: this scikit-image comes without {file}; name a folder with --data")
    return files


def sample_photos(*, held_out: bool = False) -> dict[str, Array]:
    """Return the photos to train on, or those that are held out, by name.

    Returns:
        ``(H, W, 3)`` uint8 arrays.

    Raises:
        DataError: the installed scikit-image does not have one of them.

    >>> {name: photo.shape for name, photo in sample_photos(held_out=True).items()}
    {'chelsea': (300, 451, 3)}
    """
    names = [photo.name for photo in SAMPLE_PHOTOS if photo.is_held_out == held_out]
    files = sample_photo_files(held_out=held_out)
    return {name: read_image(file).pixels for name, file in zip(names, files, strict=True)}
