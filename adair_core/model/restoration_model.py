"""The model that users hold: a base with adapters, and images in and out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adair_core.derived import Derived
from adair_core.model.adapter_card import AdapterCard
from adair_core.model.adapter_files import install_read, read_adapter, write_adapter
from adair_core.model.backbone import BaseInfo
from adair_core.model.captures import kernel_settings
from adair_core.model.maps import Map, WriteBand
from adair_core.model.memory import pixels_within_budget, probed
from adair_core.model.peft_form import refuse_outside_peft
from adair_core.model.replaying import ReplayedBackbone
from adair_core.model.restoring import ImageT, Precision, restore_image, restore_rows
from adair_core.model.tiling import OnShare, Tile
from adair_core.model.weights_file import StorageType
from adair_core.model.zoo import find_weights
from adair_core.specs import Site


class RestorationModel(ReplayedBackbone):
    """A frozen base with adapters from folders and the zoo, and `restore` for images of any kind.

    Args:
        backbone: maps ``(B, C, H, W)`` to ``(B, C, H, W)``; it is frozen.
        sites: the places that it declares.
        info: about the base.

    Attributes:
        info: about the base.
    """

    def __init__(self, backbone: nn.Module, sites: Sequence[Site], *, info: BaseInfo) -> None:
        super().__init__(backbone, sites, what=f"backbone {info.backbone.name!r}")
        self.info = info
        self._probed = Derived[int](size=4)

    @property
    def suited_tile(self) -> int | None:
        """Side of the tiles in which the active adapters restore best, in pixels, as their cards say.

        None is the whole image: also where one of several adapters says so or nothing, and without adapters.
        """
        sides = [self.adapter(name).tile for name, strength in self.active.items() if strength != 0]
        known = [side for side in sides if side is not None]
        return max(known) if known and len(known) == len(sides) else None

    def load_adapter(
        self, name_or_path: str | Path, *, name: str | None = None, accept_unknown_base: bool = False
    ) -> str:
        """Load an adapter and make it the active one.

        Args:
            name_or_path: zoo name, such as ``"denoise"``, or an adapter's folder.
            name: what to call it; by default its zoo name without the version, or the folder's name.
            accept_unknown_base: take an adapter that does not say which base it was trained on, as PEFT's do not.

        Returns:
            Its name.

        Raises:
            UnknownNameError: the zoo has no such name and there is no such folder.
            UsageError: the name is taken, it is not an adapter, or it is PEFT's with options that adair has not.
            BaseMismatchError: it was trained on another base, or does not say on which.
            WeightsError: its files are missing or damaged, do not fit, or no plugin offers its type.
        """
        found = find_weights(name_or_path, kind="adapter")
        name = found.short_name if name is None else name
        self.refuse_name(name)
        file = read_adapter(found.path)
        self.place_adapter(
            name, install_read(file, self.sites, info=self.info, accept_unknown_base=accept_unknown_base)
        )
        return name

    def save_adapter(
        self, name: str, folder: str | Path, *, card: AdapterCard | None = None, dtype: StorageType = "float32"
    ) -> None:
        """Write an adapter's folder, with its configuration, its weights and its card.

        Args:
            name: of the adapter.
            folder: made if it is not there; an adapter in it is replaced.
            card: what people should know about it, and the tiles that suit it; None = an empty one with the tiles that
                it had.
            dtype: in which the weights are stored.

        Raises:
            UnknownNameError: there is no such adapter.
            WeightsError: it cannot be written, or a weight is not finite.
        """
        adapter = self.adapter(name)
        if card is None:
            card = AdapterCard(tile=adapter.tile)
        write_adapter(Path(folder), adapter, info=self.info, card=card, dtype=dtype)

    def export_peft(self, name: str, folder: str | Path, *, card: AdapterCard | None = None) -> None:
        """Write an adapter's folder so that PEFT loads it on the bare backbone.

        `save_adapter` writes the same where PEFT can hold the adapter; this refuses where it cannot.

        Args:
            name: of the adapter.
            folder: made if it is not there; an adapter in it is replaced.
            card: what people should know about it.

        Raises:
            UnknownNameError: there is no such adapter.
            UsageError: PEFT has no form for it, as for factors of depthwise convolutions.
            WeightsError: it cannot be written.
        """
        refuse_outside_peft(self.adapter(name), name=name)
        self.save_adapter(name, folder, card=card)

    def restore(
        self,
        image: ImageT,
        *,
        strength: float = 1.0,
        tile: Tile = "auto",
        overlap: int | None = None,
        precision: Precision | None = None,
        exact: bool = False,
        ensemble: bool = False,
        graphs: bool = True,
        on_share: OnShare | None = None,
    ) -> ImageT:
        """Restore an image of any usual kind with the active adapters.

        Args:
            image: array ``(H, W)`` or ``(H, W, C)`` or tensor ``(B, C, H, W)``, with 1 to 4 channels (gray or RGB, with
                or without alpha, which is kept and hides what is under it from the network): uint8, uint16 or float
                in [0, 1]; floats outside (unclipped noise) too.
            strength: out = in + strength * (restored - in); 0 returns the input's bits without running the network.
            tile: largest side of the tiles in which the image is restored; ``None`` = whole; ``"auto"`` = those that
                suit the active adapters (`suited_tile`), and else whole if that takes no more than about 2 GiB
                (`adair_core.model.memory`), or tiles that do.
            overlap: pixels that neighbouring tiles share, at most half a tile (128 with ``"auto"``, or half of what
                that is); ``None`` = 64, of tiles below 256 pixels 32, or half a tile.
            precision: ``"bfloat16"`` and ``"float16"`` compute in mixed precision, faster and in half the memory;
                ``None`` = that of the weights.
            exact: compute what ``tile=None`` does, but for the order of additions, within about 2 GiB, for images that
                memory would not hold: layer by layer, band by band, with features in a temporary file where there are
                too many. Takes about twice as long as tiles.
            ensemble: restore the image, or each of its tiles, in its eight orientations and average (self-ensemble): a
                little better, in eight times the time. Not with `exact`.
            graphs: on a CUDA device, replay graphs of small images and tiles whose shape comes again and again
                (`replay`), to the same bits; ``False`` launches every kernel by itself.
            on_share: told after each tile, if it takes several, how much of the image is done.

        Returns:
            The same kind of image; floats are not clipped.

        Raises:
            DataError: the image is of a kind or shape that cannot be restored.
            UsageError: strength, tile, overlap or precision are out of range.
            AdairError: the network's output is not finite.

        Warns:
            SmallerTilesWarning: memory ran out, and the image was restored in smaller tiles than asked for.
        """
        with self._restoring(precision) as place:
            return restore_image(
                self,
                image,
                strength=strength,
                tile=tile,
                overlap=overlap,
                precision=precision,
                exact=exact,
                ensemble=ensemble,
                replay=self.replay if graphs else None,
                on_share=on_share,
                **place,
            )

    def restore_rows(
        self,
        image: Map,
        write: WriteBand,
        *,
        strength: float = 1.0,
        tile: Tile = "auto",
        overlap: int | None = None,
        precision: Precision | None = None,
        exact: bool = False,
        ensemble: bool = False,
        graphs: bool = True,
        on_share: OnShare | None = None,
    ) -> None:
        """Restore an image that is larger than memory, as `restore` does, from rows to rows.

        Args:
            image: `adair_core.model.restoring.restore_rows` says of which kind.
            write: gets the restored rows in their order.
            strength: see `restore`.
            tile: see `restore`; ``None`` needs memory for the whole image.
            overlap: see `restore`.
            precision: see `restore`.
            exact: see `restore`.
            ensemble: see `restore`.
            graphs: see `restore`.
            on_share: see `restore`.

        Raises:
            UsageError: as `restore`.
            AdairError: as `restore`; `write` may have got rows by then.

        Warns:
            SmallerTilesWarning: as `restore`.
        """
        with self._restoring(precision) as place:
            restore_rows(
                self,
                image,
                write,
                strength=strength,
                tile=tile,
                overlap=overlap,
                precision=precision,
                exact=exact,
                ensemble=ensemble,
                replay=self.replay if graphs else None,
                on_share=on_share,
                **place,
            )

    @contextlib.contextmanager
    def _restoring(self, precision: Precision | None) -> Iterator[dict[str, Any]]:
        """Evaluate without gradients; gives the network's device, type and tiles, and what it can work on at once."""

        def affordable(network: Callable[[Tensor], Tensor], images: Tensor) -> int:
            # Measured once for many images: it takes as long as a small one.
            key = (precision, self._active, self._kept is None, images.shape[1], kernel_settings(own.device.type))
            reads = self._reads({}, [(self._active, 1)]).tensors
            return pixels_within_budget(self._probed.get(key, reads, lambda: probed(network, images)))

        own = next(self.backbone.parameters(), torch.empty(0))
        was_training = self.training
        if was_training:
            self.eval()
        try:
            with torch.no_grad():
                yield {
                    "device": own.device,
                    "dtype": own.dtype,
                    "suited": self.suited_tile,
                    "affordable": affordable,
                }
        finally:
            if was_training:
                self.train()
