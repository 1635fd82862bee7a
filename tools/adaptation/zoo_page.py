"""The page of docs that shows what comes with the package, from the adapters' own cards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adair_core.model.adapter_files import AdapterFile, read_adapter
from adaptation.peers import NOTES, PUBLISHED
from adaptation.study_tables import table
from adaptation.zoo import ENTRIES

HEAD = """# The zoo: adapters that come with the package

<!-- written by python tools/train_zoo.py page -->

`adair restore photo.jpg --task NAME` uses the newest of these for its task; `adair weights` lists all. Each is a
LoRA of rank {rank} on `{base}`: {parameters:,} parameters, {kilobytes} KB. Its folder in `plugins/zoo/` has the recipe
that repeats the training, and says what it was not made for.

PSNR in dB and SSIM are means over the images of a set that nothing was trained on, with the 95 %
bootstrap interval over the images, or over the rooms of SOTS, of which it has two images each; Rain100L and
super-resolution in luma (Y), as is usual for them, the others in RGB. *Input* is the degraded image (for
super-resolution its bicubic enlargement), *base alone* the frozen network without an adapter; *classical* are methods
without learning, measured in the same way, which are told what the adapters are not: the strength of the noise, or the
very kernel of the blur. {tiled}The splits of Rain100L and SOTS indoor are our own: no published figure is for them. LOL
eval15 and CC15 are the published sets, but who publishes on them learned from more: all 485 pairs of LOL, or real
noise. Of some adapters a figure was known when the recipe was settled: see below.

"""
TAIL = """
## Terms

The weights are for research use: several of their training sets are for non-commercial research. `tools/train_zoo.py`
trains, measures and publishes them again.
"""
SEEN = "What was known of their test sets when their recipes were settled"
COLUMNS = ("adapter", "set", "condition", "input", "base alone", "adapter, PSNR", "SSIM", "classical, PSNR")


def page(package: Path, classical: Sequence[Mapping[str, Any]] = ()) -> str:
    """Write docs/zoo.md.

    Args:
        package: folder of the zoo with its ``index.json``.
        classical: what classical methods reach, see `adaptation.baselines.summaries`.
    """
    index = json.loads((package / "index.json").read_text(encoding="utf-8"))
    newest: dict[str, Mapping[str, Any]] = {}
    for spec in sorted((spec for spec in index if spec["kind"] == "adapter"), key=lambda spec: spec["version"]):
        newest[spec["name"]] = spec
    files = {name: read_adapter(package / newest[name]["path"]) for name in ENTRIES if name in newest}
    rows: list[list[object]] = []
    for name, file in files.items():
        for number, row in enumerate(file.card.metrics):
            title = f"`{_how(newest[name])}`" if number == 0 else ""
            psnr = f"**{row['psnr']:.2f}** ({row['psnr, 95 %']})"
            degraded, alone = f"{row['psnr input']:.2f}", f"{row['psnr base alone']:.2f}"
            ours = [degraded, alone, psnr, f"{row['ssim']:.4f}", _classical(classical, name, row)]
            rows.append([title, row["set"], row["condition"], *ours])
    limits = [f"- `{name}`: {newest[name]['summary']}; {ENTRIES[name].limits}." for name in files]
    seen = [f"- `{name}`: {ENTRIES[name].seen}." for name in files if ENTRIES[name].seen]
    first = next(iter(files.values()))
    weights = package / newest[next(iter(files))]["path"] / "adapter_model.safetensors"
    head = HEAD.format(
        base=first.base,
        rank=None if first.choice is None else first.choice.options["rank"],
        parameters=sum(tensor.numel() for tensor in first.tensors.values()),
        kilobytes=round(weights.stat().st_size / 1e3),
        tiled=_tiled(files),
    )
    return "\n".join(
        [
            head + table(COLUMNS, rows),
            *_section("Beside published figures", _beside(files, newest)),
            *_section("What they were not made for", limits),
            *_section(SEEN, seen),
            TAIL,
        ]
    )


def _tiled(files: Mapping[str, AdapterFile]) -> str:
    """Which adapters, and the base beside them, restored in tiles."""
    tiled = [f"`{name}` in those of {file.card.tile} pixels" for name, file in files.items() if file.card.tile]
    if not tiled:
        return ""
    return (
        "The base beside an adapter restores as the adapter does: in the [tiles](tiling.md) that its card asks for ("
        f"{', '.join(tiled)}), or whole images. "
    )


def _beside(files: Mapping[str, AdapterFile], specs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """For each task a table for each set on which others have published, and what to know before comparing."""
    tasks: dict[str, list[str]] = {}
    for name in PUBLISHED:
        if name in files:
            tasks.setdefault(specs[name]["task"], []).append(name)
    parts: list[str] = []
    for task, names in tasks.items():
        tables = [_peers(task, title, {name: files[name] for name in names}) for title in PUBLISHED[names[0]]]
        if any(tables):
            parts += [*filter(None, tables), *dict.fromkeys(NOTES[name] for name in names)]
    return ["\n\n".join(parts)] if parts else []


def _peers(task: str, title: str, files: Mapping[str, AdapterFile]) -> str:
    """The adapters of a task on a set, above the figures that others have published; empty without the adapters'."""
    measured = {name: [row for row in file.card.metrics if row["set"] == title] for name, file in files.items()}
    conditions = [str(row["condition"]) for rows in measured.values() for row in rows]
    own = [float(row["psnr"] or 0) for rows in measured.values() for row in rows]
    if not own:
        return ""
    methods = {
        method: [value for name, rows in measured.items() if rows for value in PUBLISHED[name][title][method]]
        for method in PUBLISHED[next(iter(files))][title]
    }
    compared = {f"**`--task {task}`**": own, **methods}
    return table(
        [title, *conditions], [[name, *(f"{value:.2f}" for value in values)] for name, values in compared.items()]
    )


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *lines] if lines else []


def _classical(methods: Sequence[Mapping[str, Any]], entry: str, row: Mapping[str, Any]) -> str:
    wanted = {"task": entry, "set": row["set"], "condition": row["condition"]}
    there = [method for method in methods if all(method[key] == value for key, value in wanted.items())]
    return "; ".join(f"{method['psnr']:.2f} {method['method']}" for method in there)


def _how(spec: Mapping[str, Any]) -> str:
    """The options that choose it."""
    options = (
        f"--scale {value}" if key == "scale" else f"--task.{key} {value}" for key, value in spec["options"].items()
    )
    return " ".join([f"--task {spec['task']}", *options])
