"""The whole image's result for images that are larger than memory.

Tiles change what transposed attention computes: its statistics are those of a tile, not of the image. Here a network
runs once over the whole image, layer by layer, and each layer band by band: local operations read a band of rows with
as many rows beside it as they look far (their halo); those that look at the whole image pass over it twice, once to
add up their statistics and once to apply them. The result is the untiled one but for the order of additions.

A network needs no other form for it. It is given a tensor without values, `Streamed`, whose operations go to the
handlers below. A network that does something else with it is refused, with the name of the operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_leaves, tree_map

from adair_core.errors import UsageError
from adair_core.model.maps import Border, Bordered, Channels, Converted, Joined, Map, Store, Values, Window
from adair_core.ops import depthwise, layer_norm2d
from adair_core.ops.layout import accumulation_dtype

WORKING = 512 * 1024**2
"""Bytes that the computation of a band takes, about."""

INNER = 48
"""Values that an operation holds for each of its input's, with what the allocator keeps. Measured on restormer tiny."""

WHAT = "the whole image's result band by band"

SHORTEST = 1e-12
"""Of the lengths of q and k; see `adair_core.ops.channel_attention.reference`."""


class NotStreamableError(UsageError):
    """The network does something that is neither local nor a known reduction over the image."""


class Streamed(Tensor):
    """One image's features ``(1, C, H, W)``, which are never in memory as a whole.

    Attributes:
        map: the values.
        store: where results go.
        place: device that computes.
    """

    map: Map
    store: Store
    place: torch.device

    @staticmethod
    def __new__(cls, values: Map, store: Store, place: torch.device) -> Streamed:
        """Make one; a constructor would be too late, as tensors have their shapes from the beginning."""
        c, h, w = values.channels, values.height, values.width
        made: Streamed = Tensor._make_wrapper_subclass(
            cls, (1, c, h, w), strides=(c * h * w, 1, c * w, c), dtype=values.dtype, device=place
        )
        made.map, made.store, made.place = values, store, place
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Run an operation band by band."""
        name = f"{func.namespace}::{func._opname}"
        handler = HANDLERS.get(name)
        if handler is None:
            raise NotStreamableError(
                f"{WHAT}: expected a network of local operations and known reductions, got {name}; restore in ordinary "
                f"tiles, or whole"
            )
        return handler(func, args, kwargs or {})


def restore_exactly(
    network: Callable[[Tensor], Tensor], image: Map, *, store: Store, device: torch.device, dtype: torch.dtype
) -> Map:
    """Run a network over a whole image, band by band.

    Args:
        network: ``(1, C, H, W)`` to ``(1, D, H, W)``; run without gradients.
        image: of C channels; is read once for each operation that takes it.
        store: for the features.
        device: where the network is.
        dtype: of its weights.

    Returns:
        D channels, in `dtype`.

    Raises:
        NotStreamableError: the network cannot be run so.
        AdairError: there is no room for the features.
    """
    with torch.no_grad():
        result = network(Streamed(Converted(image, dtype), store, device))
    assert isinstance(result, Streamed)
    return result.map


Handler = Callable[[Any, Sequence[Any], dict[str, Any]], Any]


def _streams(args: Any) -> list[Streamed]:
    return [value for value in tree_leaves(args) if isinstance(value, Streamed)]


def _rows(streams: Sequence[Streamed]) -> int:
    """How many rows are computed at once."""
    wide = sum(stream.map.channels for stream in streams) * streams[0].map.width * streams[0].dtype.itemsize
    return max(1, streams[0].store.working // (INNER * wide))


def _band(args: Any, like: Streamed, top: int, bottom: int) -> Any:
    """The arguments of one band: rows of what has all the rows, everything else as it is."""
    height, width = like.shape[-2:]

    def part(value: Any) -> Any:
        if isinstance(value, Streamed):
            return value.map.read(top, bottom).to(like.place)
        # Features of one image; a convolution's weights may have the same sides.
        whole = isinstance(value, Tensor) and value.ndim == 4 and value.shape[0] == 1
        return value[:, :, top:bottom] if whole and value.shape[-2:] == (height, width) else value

    return tree_map(part, args)


def _stored(
    streams: Sequence[Streamed], compute: Callable[[int, int], Tensor], *, up: int = 1, down: int = 1
) -> Streamed:
    """Compute a map band by band.

    Args:
        streams: what it is computed from; of equal height.
        compute: from rows [top, bottom) of them to the result's rows.
        up: rows of the result for one row.
        down: rows that make one row of the result; a band has a multiple of them.
    """
    first = streams[0]
    height, step = first.map.height, _rows(streams)
    step = max(down, step - step % down)
    made = None
    for top in range(0, height, step):
        band = compute(top, min(top + step, height))
        if made is None:
            made = first.store.new(band.shape[1], height // down * up, band.shape[3], band.dtype)
        made.write(top // down * up, band)
    assert made is not None
    return Streamed(made, first.store, first.place)


def _local(halo: int) -> Handler:
    """A handler for an operation that looks `halo` rows far, and treats the image's border as zeros or not at all."""

    def run(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        return _run_local(func, args, kwargs, halo)

    return run


def _run_local(func: Any, args: Sequence[Any], kwargs: dict[str, Any], halo: int) -> Any:
    streams = _streams((args, kwargs))
    first = streams[0]
    outputs = len(func._schema.returns)

    def compute(top: int, bottom: int) -> Tensor:
        # At the image's border the operation itself sees where the image ends; rows beside a band are cut off again.
        start, end = max(top - halo, 0), min(bottom + halo, first.map.height)
        given, named = _band((tuple(args), kwargs), first, start, end)
        result = func(*given, **named)
        whole: Tensor = result[0] if outputs > 1 else result
        return whole[:, :, top - start : top - start + bottom - top]

    made = _stored(streams, compute)
    # What else the operators return is for their gradients.
    return made if outputs == 1 else (made, *(torch.empty(0) for _ in range(outputs - 1)))


def _view(make: Callable[..., Map]) -> Handler:
    """A handler for an operation that computes nothing."""

    def run(_func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        first = _streams(args)[0]
        return Streamed(make(*args, **kwargs), first.store, first.place)

    return run


def _same(x: Streamed, *_: Any, **__: Any) -> Map:
    return x.map


def _sliced(x: Streamed, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Map:
    length = x.shape[dim]
    low, high, stride = slice(start, end, step).indices(length)
    if stride != 1 or high <= low:
        raise NotStreamableError(f"{WHAT}: a slice [{start}:{end}:{step}] of features")
    if dim % 4 == 1:
        return Channels(x.map, low, high)
    if dim % 4 == 2:
        return Window(x.map, (low, high), (0, x.map.width))
    if dim % 4 == 3:
        return Window(x.map, (0, x.map.height), (low, high))
    return x.map


def _split(_func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Streamed]:
    x, size, dim = (*args, kwargs.get("dim", 0))[:3]
    if dim % 4 != 1:
        raise NotStreamableError(f"{WHAT}: features are split along another side")
    sizes = list(size) if isinstance(size, Sequence) else [size] * -(-x.map.channels // size)
    parts, start = [], 0
    for count in sizes:
        stop = min(start + count, x.map.channels)
        parts.append(Streamed(Channels(x.map, start, stop), x.store, x.place))
        start = stop
    return parts


def _joined(parts: Sequence[Tensor], dim: int = 0) -> Map:
    if dim % 4 != 1:
        raise NotStreamableError(f"{WHAT}: features are joined along another side")
    return Joined([part.map if isinstance(part, Streamed) else Values(part.cpu()) for part in parts])


def _bordered(mode: Border) -> Handler:
    def make(x: Streamed, border: Sequence[int], value: float = 0.0) -> Map:
        widths = [*border, 0, 0, 0, 0][:4]
        if len(border) > 4 or min(widths) < 0:
            raise NotStreamableError(f"{WHAT}: padding by {list(border)}")
        return Bordered(x.map, widths, mode, value)

    return _view(make)


def _convolution(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Streamed:
    x, weight, _, stride, padding, dilation, transposed, _, _ = args
    kernel = tuple(weight.shape[2:])
    if not transposed and set(stride) == {1}:
        reach = tuple(spread * (side - 1) for spread, side in zip(dilation, kernel, strict=True))
        if tuple(2 * pad for pad in padding) == reach:
            return _run_local(func, args, kwargs, padding[0])  # type: ignore[no-any-return]
    if not transposed and tuple(stride) == kernel and not any(padding) and set(dilation) == {1}:
        step = stride[0]
        whole = Streamed(Window(x.map, (0, x.map.height // step * step), (0, x.map.width)), x.store, x.place)
        return _rescaled(func, (whole, *args[1:]), kwargs, down=step)
    raise NotStreamableError(
        f"{WHAT}: a convolution of {kernel[0]} x {kernel[1]} with stride {stride[0]} and "
        f"padding {padding[0]}; expected one that keeps the size, or whose stride is its size"
    )


def _rescaled(func: Any, args: Sequence[Any], kwargs: dict[str, Any], *, up: int = 1, down: int = 1) -> Streamed:
    x: Streamed = args[0]

    def compute(top: int, bottom: int) -> Tensor:
        result: Tensor = func(x.map.read(top, bottom).to(x.place), *args[1:], **kwargs)
        return result

    return _stored([x], compute, up=up, down=down)


def _shuffled(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Streamed:
    return _rescaled(func, args, kwargs, up=args[1])


def _unshuffled(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Streamed:
    return _rescaled(func, args, kwargs, down=args[1])


def _mean(_func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    x, dims, keep = (*args, kwargs.get("keepdim", False))[:3]
    if {dim % 4 for dim in dims or ()} != {2, 3}:
        raise NotStreamableError(f"{WHAT}: a mean over {dims}, not over all pixels")
    total = torch.zeros(1, x.map.channels, dtype=torch.float64)
    step = _rows([x])
    for top in range(0, x.map.height, step):
        total += x.map.read(top, min(top + step, x.map.height)).sum((2, 3), dtype=torch.float64)
    mean: Tensor = (total / (x.map.height * x.map.width)).to(x.place, x.dtype)
    return mean[..., None, None] if keep else mean


class _Gram:
    """q k^T of each head and the squared lengths of q's and k's rows, added up band by band in float64."""

    def __init__(self, heads: int, channels: int) -> None:
        size = channels // heads
        self.heads = heads
        self.products = torch.zeros(heads, size, size, dtype=torch.float64)
        self.squares = torch.zeros(2, heads, size, dtype=torch.float64)

    def add(self, q: Tensor, k: Tensor) -> None:
        """Add a band: ``(1, C, rows, W)`` each."""
        size = q.shape[1] // self.heads
        rows = [part[0].reshape(self.heads, size, -1).to(accumulation_dtype(part)) for part in (q, k)]
        self.products += (rows[0] @ rows[1].mT).cpu()
        self.squares += torch.stack([part.square().sum(-1) for part in rows]).cpu()

    def attention(self, temperature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The attention ``(heads, c, c)``, the cosines and the lengths, in float64."""
        lengths = self.squares.sqrt().clamp_min(SHORTEST)
        cosines = self.products / (lengths[0, ..., None] * lengths[1, ..., None, :])
        return torch.softmax(cosines * temperature.cpu().double(), dim=-1), cosines, lengths


def _channel_attention(_func: Any, args: Sequence[Any], _kwargs: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    qkv, temperature, heads = args
    channels = qkv.map.channels // 3
    gram = _Gram(heads, channels)
    step = _rows([qkv])
    for top in range(0, qkv.map.height, step):
        q, k, _ = qkv.map.read(top, min(top + step, qkv.map.height)).to(qkv.place).chunk(3, 1)
        gram.add(q, k)
    attention, cosines, lengths = gram.attention(temperature)
    mixing = _block_diagonal(attention).to(qkv.place, qkv.dtype)[..., None, None]
    values = Channels(qkv.map, 2 * channels, 3 * channels)

    def compute(top: int, bottom: int) -> Tensor:
        return functional.conv2d(values.read(top, bottom).to(qkv.place), mixing)

    made = _stored([Streamed(values, qkv.store, qkv.place)], compute)
    return made, cosines[None].to(accumulation_dtype(qkv)), lengths[:, None].to(accumulation_dtype(qkv))


def _block_diagonal(matrices: Tensor) -> Tensor:
    made: Tensor = torch.block_diag(*matrices)  # type: ignore[no-untyped-call]
    return made


def _attention_branch(_func: Any, args: Sequence[Any], _kwargs: dict[str, Any]) -> tuple[Tensor, ...]:
    x, norm, norm_bias, weight, bias, taps, taps_bias, temperature, out, out_bias, eps, residual, _ = args
    channels = x.map.channels

    def expanded(top: int, bottom: int, first: int, last: int) -> Tensor:
        """Channels [first, last) of q, k and v in some rows."""
        start, end = max(top - 1, 0), min(bottom + 1, x.map.height)
        band = layer_norm2d(x.map.read(start, end).to(x.place), norm, norm_bias, eps)
        own = None if bias is None else bias[first:last].to(x.dtype)
        wide = functional.conv2d(band, weight[first:last].to(x.dtype), own)
        mixed = depthwise(wide, taps[first:last], None if taps_bias is None else taps_bias[first:last])
        return mixed[:, :, top - start : top - start + bottom - top]

    gram = _Gram(temperature.shape[0], channels)
    step = _rows([x])
    for top in range(0, x.map.height, step):
        gram.add(*expanded(top, min(top + step, x.map.height), 0, 2 * channels).chunk(2, 1))
    attention, cosines, lengths = gram.attention(temperature)
    folded = out.flatten(1).cpu().double() @ _block_diagonal(attention)
    folded = folded.to(x.place, x.dtype)[..., None, None]

    def compute(top: int, bottom: int) -> Tensor:
        own = None if out_bias is None else out_bias.to(x.dtype)
        branch: Tensor = functional.conv2d(expanded(top, bottom, 2 * channels, 3 * channels), folded, own)
        return branch + x.map.read(top, bottom).to(x.place) if residual else branch

    made = _stored([x], compute)
    kind = accumulation_dtype(x)
    return made, torch.empty(0), cosines[None].to(kind), lengths[:, None].to(kind)


POINTWISE = (
    *("add", "sub", "mul", "div", "neg", "pow", "rsub", "lerp", "addcmul"),
    *("relu", "leaky_relu", "gelu", "silu", "sigmoid", "tanh", "hardtanh", "clamp", "_to_copy", "clone"),
)

HANDLERS: dict[str, Handler] = {
    **{f"aten::{name}": _local(0) for name in POINTWISE},
    **{f"aten::{name}": _view(_same) for name in ("detach", "alias", "contiguous", "lift_fresh")},
    "aten::slice": _view(_sliced),
    "aten::split": _split,
    "aten::split_with_sizes": _split,
    "aten::cat": _view(_joined),
    "aten::reflection_pad2d": _bordered("reflect"),
    "aten::replication_pad2d": _bordered("replicate"),
    "aten::constant_pad_nd": _bordered("constant"),
    "aten::convolution": _convolution,
    "aten::pixel_shuffle": _shuffled,
    "aten::pixel_unshuffle": _unshuffled,
    "aten::mean": _mean,
    "adair::layer_norm2d": _local(0),
    "adair::depthwise": _local(1),
    "adair::depthwise_gate": _local(1),
    "adair::feed_forward": _local(1),
    "adair::bottleneck": _local(1),
    "adair::channel_attention": _channel_attention,
    "adair::attention_branch": _attention_branch,
}
"""What can be done with `Streamed`: operation -> how."""
