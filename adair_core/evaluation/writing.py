"""Reports as files: which kind a path asks for, and what a folder gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from adair_core.errors import UsageError, expected
from adair_core.evaluation.comparison import Comparison
from adair_core.evaluation.examples import Example
from adair_core.evaluation.markdown import markdown
from adair_core.evaluation.report import Report, written

SUFFIXES = (".html", ".md", ".csv", ".json")
"""The kinds of reports, by the ending of the file's name."""


def kind_of(path: Path) -> str:
    """Say what to write to a path: one of `SUFFIXES`, or ``""`` for a folder with all of them.

    Raises:
        UsageError: the ending is that of another kind of file.
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES and not path.is_dir():
        return suffix
    # "results-0.5" and "study.v2" are folders, "report.pdf" is a request that we cannot fulfil.
    if suffix[1:].isalpha() and not path.is_dir():
        raise UsageError(expected("--report", expected=f"a folder, or a file name in {', '.join(SUFFIXES)}", got=path))
    return ""


def wants_images(path: Path) -> bool:
    """Whether what will be written to a path shows images."""
    return kind_of(path) in ("", ".html")


def write(result: Report | Comparison, path: Path, examples: Sequence[Example] = ()) -> list[Path]:
    """Write a result to a file, or all kinds of reports to a folder.

    A folder gets ``report.json``, ``images.csv``, ``report.md``, ``report.html`` and, of a comparison,
    ``differences.csv``.

    Args:
        result: the numbers.
        path: its ending says what is written, see `kind_of`.
        examples: images for the HTML page.

    Returns:
        The files.

    Raises:
        UsageError: as `kind_of`.
        OSError: they cannot be written.
    """
    kind = kind_of(path)
    if kind:
        _writer(result, kind, examples)(path)
        return [path]
    files = {
        path / "report.json": ".json",
        path / "images.csv": ".csv",
        path / "report.md": ".md",
        path / "report.html": ".html",
    }
    for file, file_kind in files.items():
        _writer(result, file_kind, examples)(file)
    made = list(files)
    if isinstance(result, Comparison):
        result.differences_csv(path / "differences.csv")
        made.append(path / "differences.csv")
    return made


def _writer(result: Report | Comparison, kind: str, examples: Sequence[Example]) -> Callable[[Path], str]:
    if kind == ".json":
        return result.to_json
    if kind == ".csv":
        return result.to_csv
    comparison = result if isinstance(result, Comparison) else Comparison.with_input(result)
    if kind == ".md":
        return lambda path: written(markdown(comparison), path)
    from adair_core.evaluation.page import page  # slow to import, and not wanted by who prints numbers

    return lambda path: written(page(comparison, examples), path)
