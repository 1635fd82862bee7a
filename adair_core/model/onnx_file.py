"""ONNX files: the network with its adapters, for any height and width, compared with PyTorch before they are kept."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adair_core.atomic_file import replacing
from adair_core.errors import AdairError, UsageError, WeightsError
from adair_core.model.merged import merged_copy
from adair_core.model.restoration_model import RestorationModel
from adair_core.ops.transforms import decomposed

OPSET = 18
INPUT, OUTPUT = "image", "restored"
TOLERANCE = 1e-4
"""Largest difference from PyTorch's result, of images in [0, 1]: a fortieth of a level of 8 bits."""
SIZES = ((37, 53), (61, 45), (48, 64))
"""Heights and widths at which files are checked: odd ones that the export did not see, and one without padding."""
# No multiple of what networks pad to: else a path without padding would be recorded, which holds for multiples only.
_EXAMPLE = (45, 59)


@dataclass(frozen=True)
class OnnxCheck:
    """What a file was found to be.

    Attributes:
        opset: version of the operators.
        sizes: heights and widths at which it was compared.
        largest_error: largest difference from PyTorch's result, for images in [0, 1].
        runtime: version of onnxruntime.
    """

    opset: int
    sizes: Sequence[tuple[int, int]]
    largest_error: float
    runtime: str


def write_onnx(
    path: Path, model: RestorationModel, *, strength: float = 1.0, metadata: Mapping[str, str], overwrite: bool = False
) -> OnnxCheck:
    """Write an ONNX file that restores an image of any size, and compare it with the model.

    Its input is ``image``, ``(1, C, H, W)`` float32 in [0, 1]; its output is ``restored``, of the same size, not
    clipped.

    Args:
        path: the file.
        model: on the CPU, with its active adapters, of any type; weights get merged.
        strength: the network returns in + strength * (restored - in).
        metadata: what the file should say about its origin.
        overwrite: whether an old file is replaced.

    Returns:
        What the comparison found.

    Raises:
        UsageError: onnx, onnxscript or onnxruntime is not installed.
        WeightsError: the file cannot be written, or the network not be exported.
        AdairError: onnxruntime refuses it, or its result differs; no file is left then.
    """
    require_onnx()
    restoring = _Restoring(merged_copy(model), strength).eval()
    channels = _channels(model)
    program = _export(restoring, channels, where=str(path))
    _describe(program.model, metadata)
    try:
        with replacing(path, overwrite=overwrite) as temporary:
            program.save(temporary, external_data=False)
            return _check(temporary, restoring, channels, where=str(path))
    except FileExistsError as error:
        raise UsageError(f"{path} exists already; give another name, or --overwrite") from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written: {error.strerror or error}") from error


def require_onnx() -> None:
    """Check that ONNX files can be written and checked.

    Raises:
        UsageError: a package is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"ONNX files are written with onnx and onnxscript and checked with onnxruntime, and {error.name} is not "
            f"installed; install them: pip install 'adair[onnx]'"
        ) from error


class _Restoring(nn.Module):
    def __init__(self, model: RestorationModel, strength: float) -> None:
        super().__init__()
        self.model, self.strength = model, strength

    def forward(self, image: Tensor) -> Tensor:
        restored: Tensor = self.model(image)
        return restored if self.strength == 1 else image + self.strength * (restored - image)


def _channels(model: RestorationModel) -> int:
    """Channels of the input, for backbones that have no option for it those of an image."""
    found = model.info.backbone.options.get("in_channels", 3)
    return found if isinstance(found, int) else 3


def _export(restoring: nn.Module, channels: int, *, where: str) -> Any:
    image = torch.rand(1, channels, *_EXAMPLE, generator=torch.Generator().manual_seed(0))
    free = torch.export.Dim.DYNAMIC
    try:
        with _quiet(), torch.no_grad(), decomposed():
            exported = torch.export.export(restoring, (image,), dynamic_shapes=({2: free, 3: free},), strict=False)
            return torch.onnx.export(
                exported, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], opset_version=OPSET, verbose=False
            )
    # What a third party's network may do that neither exporter knows.
    except Exception as error:
        summary = " ".join(str(error).split())[:300]
        raise WeightsError(f"{where}: the network cannot be exported ({type(error).__name__}: {summary})") from error


def _describe(file: Any, metadata: Mapping[str, str]) -> None:
    """Say where a file comes from, in place of the source lines and paths that the exporter notes at every node."""
    graph = file.graph
    nodes = list(graph.all_nodes())
    values = (value for node in nodes for value in node.outputs)
    for part in (file, graph, *nodes, *values, *graph.inputs, *graph.initializers.values()):
        part.metadata_props.clear()
    file.metadata_props.update(metadata)
    file.producer_name = "adair"


def _check(file: Path, restoring: nn.Module, channels: int, *, where: str) -> OnnxCheck:
    import onnxruntime

    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(1, channels, *size, generator=generator) for size in SIZES]
    version = str(onnxruntime.__version__)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors are raised: it need not print them as well
    try:
        session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
        results = [session.run([OUTPUT], {INPUT: image.numpy()})[0] for image in images]
    # Its errors have no common class but this.
    except Exception as error:
        summary = " ".join(str(error).split())[:300]
        raise AdairError(f"{where}: not written: onnxruntime {version} refuses it: {summary}") from error
    worst = 0.0
    for size, image, got in zip(SIZES, images, results, strict=True):
        with torch.no_grad():
            wanted = restoring(image)
        difference = (torch.from_numpy(got) - wanted).abs().max().item()
        if not difference <= TOLERANCE:
            raise AdairError(
                f"{where}: not written: at {size[0]} x {size[1]} onnxruntime {version} differs from PyTorch by "
                f"{difference:.2g}, expected at most {TOLERANCE:g}; please report it with the base and adapters"
            )
        worst = max(worst, difference)
    return OnnxCheck(OPSET, SIZES, worst, version)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the exporters say about themselves: deprecations in their own code, and their progress."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
