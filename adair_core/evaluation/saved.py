"""Reading what was saved: results of earlier runs, protocols of one's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from adair_core.errors import DataError, UsageError, expected
from adair_core.evaluation.comparison import Comparison
from adair_core.evaluation.report import Report
from adair_core.plugins import parse_config
from adair_core.specs import Protocol


def saved_comparison(files: Mapping[str, Path], *, scene: str | None = None) -> Comparison:
    """Compare saved results; the first is the reference.

    Args:
        files: name -> JSON file of a report, or of a comparison, whose candidates are all taken.
        scene: counts scenes as `Report.with_scene` does; None = as the files do.

    Raises:
        DataError: a file is missing or is not a result.
        UsageError: they cannot be compared (see `adair_core.evaluation.comparable`), or two candidates share a name.
    """
    reports: dict[str, Report] = {}
    for name, path in files.items():
        found = read_result(path)
        named = {name: found} if isinstance(found, Report) else found.reports
        taken = sorted(set(named) & set(reports))
        if taken:
            raise UsageError(f"{path}: there is another candidate named {taken[0]!r}; compare the single results")
        reports |= {each: report if scene is None else report.with_scene(scene) for each, report in named.items()}
    return Comparison(reports=reports)


def read_result(path: Path) -> Report | Comparison:
    """Read what ``adair evaluate`` wrote as JSON.

    Raises:
        DataError: there is no such file, or it is not a result.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text)
        is_comparison = isinstance(document, dict) and "reports" in document
        return Comparison.from_json(text) if is_comparison else Report.from_json(text)
    except FileNotFoundError:
        raise DataError(
            f"{path}: there is no such file; expected a result of adair evaluate --report FILE.json"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{path}: expected a result of adair evaluate, got something else ({place}: {first['msg']})"
        ) from error
    except ValueError as error:
        raise DataError(f"{path}: expected JSON, a result of adair evaluate, got something else ({error})") from error


def read_protocol(path: Path) -> Protocol:
    """Read a protocol from a JSON file.

    Raises:
        DataError: there is no such file.
        UsageError: it is not JSON, or not a protocol; names the fields that are wrong.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; --show-protocol prints one to start from") from None
    except ValueError as error:
        raise UsageError(expected(str(path), expected="a protocol as JSON", got=str(error))) from error
    if not isinstance(document, dict):
        raise UsageError(expected(str(path), expected="a protocol: a JSON object", got=type(document).__name__))
    return parse_config(Protocol, document, what=str(path))
