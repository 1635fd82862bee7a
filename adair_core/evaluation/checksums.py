"""Checksums of images and of data sets: two results are comparable only if the pixels were the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from adair_core.errors import DataError
from adair_core.evaluation.cells import plural
from adair_core.evaluation.images import EvaluationImages, unpack
from adair_core.specs import Config, DataSet, Protocol


class MeasuredImage(Config):
    """An image of a data set.

    Attributes:
        name: its path in the folder.
        target: checksum of the target.
        input: checksum of the input of a real pair; ``None`` where the protocol makes the inputs.
    """

    name: str
    target: str
    input: str | None = None


def image_checksum(image: Tensor) -> str:
    """Hash the pixels: not the file, so that a lossless copy in another format is the same image.

    BLAKE2b, 16 bytes, of ``{height}x{width}:`` and the values in 16 bits (``round(65535 x)``, little-endian), channel
    by channel. An 8-bit image and its 16-bit copy (times 257) have the same checksum.

    Args:
        image: ``(1, 3, H, W)``, float in [0, 1].

    Returns:
        32 hexadecimal digits.

    >>> image_checksum(torch.zeros(1, 3, 2, 2)) == image_checksum(torch.zeros(1, 3, 1, 4))
    False
    """
    height, width = image.shape[-2:]
    levels = (image.detach().cpu().double().clamp(0, 1) * 65535).round().to(torch.int32)
    digest = hashlib.blake2b(f"{height}x{width}:".encode(), digest_size=16)
    digest.update(levels.numpy().astype("<u2").tobytes())
    return digest.hexdigest()


def measured_image(name: str, given: Tensor | None, target: Tensor) -> MeasuredImage:
    """Describe an image, before anything is cut off.

    Args:
        name: of the image.
        given: ``(1, 3, H, W)``, the input of a real pair.
        target: the same shape.
    """
    return MeasuredImage(
        name=name, target=image_checksum(target), input=None if given is None else image_checksum(given)
    )


def data_set_checksum(images: Sequence[MeasuredImage]) -> str:
    """Hash the checksums of all images in their order, which is that of the noise; names do not count.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    for image in images:
        digest.update(f"{image.input or '-'} {image.target}\n".encode())
    return digest.hexdigest()


def known_data_set(protocol: Protocol, images: Sequence[MeasuredImage]) -> DataSet | None:
    """Find the data set, among those that the protocol names, that these images are, pixel for pixel."""
    sizes = {known.images for known in protocol.data_sets}
    found = data_set_checksum(images) if len(images) in sizes else ""
    return next((known for known in protocol.data_sets if known.checksum == found), None)


def data_set_remark(protocol: Protocol, images: Sequence[MeasuredImage]) -> str:
    """Say in one line what the images are, as far as the protocol knows."""
    known = known_data_set(protocol, images)
    if known is not None:
        return f"data set: {known.name}, checksum verified"
    checksum = f"checksum {data_set_checksum(images)[:8]}"
    if not protocol.data_sets:
        return f"data set: {checksum}"
    alike = [known.name for known in protocol.data_sets if known.images == len(images)]
    if alike:
        return (
            f"data set: {checksum}; as many images as {' or '.join(alike)}, but other pixels or another order: not "
            f"comparable with what is published for it"
        )
    names = ", ".join(known.name for known in protocol.data_sets)
    return f"data set: {checksum}; none of those that the protocol knows ({names})"


def require_known_data_set(protocol: Protocol, images: EvaluationImages) -> None:
    """Refuse images that a protocol with `Protocol.known_data_only` does not name. Reads all of them.

    Raises:
        DataError: they are none of its data sets.
    """
    if not protocol.known_data_only:
        return
    found = [measured_image(*unpack(images[index])) for index in range(len(images))]
    if known_data_set(protocol, found) is None:
        sets = [f"{known.name} ({known.images} images, {known.checksum})" for known in protocol.data_sets]
        raise DataError(
            f"protocol {protocol.name!r}: expected the images of {', '.join(sets) or 'a data set, but it names none'}, "
            f"got {plural(len(found), 'image')} with checksum {data_set_checksum(found)}; use the original files in "
            f"their order, or set known_data_only to false"
        )
