"""``adair new-plugin``: a working package to start from."""

from __future__ import annotations

import keyword
import re
import sys
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import click
import rich_click

from adair_core.cli.command import Command
from adair_core.cli.output import say
from adair_core.errors import UsageError, expected
from adair_core.new_folder import make_folder
from adair_core.plugins import plugins
from adair_core.registry import Registry
from adair_core.specs import NAME_PATTERN

_USAGE = {
    "degradation": "adair train --task {name}",
    "adapter": "adair train --task denoise --adapter {name}",
    "backbone": "adair pretrain --backbone {name}",
}

_HOOKS = {"degradation": "adair_degradations", "adapter": "adair_adapters", "backbone": "adair_backbones"}


@rich_click.command(
    "new-plugin",
    cls=Command,
    examples=["new-plugin film-grain --kind degradation", "new-plugin scale-shift --kind adapter --out plugins/"],
)
@rich_click.argument("name")
@rich_click.option("--kind", type=click.Choice(sorted(_USAGE)), required=True, help="what the plugin offers")
@rich_click.option(
    "--out", "-o", type=click.Path(path_type=Path), default=Path(), help="where the package's folder goes"
)
def command(name: str, kind: str, out: Path) -> None:
    """Write a working plugin package to start from.

    NAME is what the plugin will be called, lower-case words joined by '-'. The package, adair-plugin-NAME, holds the
    code, a README and a test that uses adair's contract.
    """
    _check_name(name, kind)
    distribution = f"adair-plugin-{name}"
    folder = out / distribution
    if folder.exists():
        raise UsageError(f"{folder} exists already; choose another name or --out, or delete it")
    module = distribution.replace("-", "_")
    values = {
        "name": name,
        "distribution": distribution,
        "module": module,
        "class_name": _class_name(name, kind),
        "summary": f"The {kind} {name}",
        "usage": _USAGE[kind].format(name=name),
    }
    targets = {
        "package/pyproject.toml": "pyproject.toml",
        "package/README.md": "README.md",
        "package/gitignore": ".gitignore",
        f"{kind}/plugin.py": f"{module}.py",
        f"{kind}/test.py": f"tests/test_{name.replace('-', '_')}.py",
    }
    templates = resources.files("adair_core.cli") / "templates"
    for source, target in targets.items():
        text = (templates / f"{source}.template").read_text(encoding="utf-8")
        file = folder / target
        make_folder(file.parent)
        file.write_text(Template(text).substitute(values), encoding="utf-8")
    say(f"wrote {folder}")
    say(f"next: pip install -e '{folder}[dev]' && pytest {folder}, then {values['usage']}")


def _class_name(name: str, kind: str) -> str:
    """``FilmGrain`` for ``film-grain``; with the kind where Python, or the module that is written, has that name."""
    made = "".join(word.capitalize() for word in name.split("-"))
    template = resources.files("adair_core.cli") / "templates" / kind / "plugin.py.template"
    taken = re.search(rf"\b{made}\b", template.read_text(encoding="utf-8"))
    return made + kind.capitalize() if keyword.iskeyword(made) or taken else made


def _check_name(name: str, kind: str) -> None:
    wanted = "lower-case words joined by '-' that start with a letter, such as film-grain"
    if not NAME_PATTERN.fullmatch(name) or "." in name or not name[0].isalpha():
        raise UsageError(expected("NAME", expected=wanted, got=repr(name)))
    if keyword.iskeyword(name) or name in sys.stdlib_module_names:
        raise UsageError(expected("NAME", expected=f"a name that Python does not use, {wanted}", got=repr(name)))
    loaded = plugins()
    taken: Registry[Any] = loaded.registries[_HOOKS[kind]]
    if name in taken:
        raise UsageError(f"NAME: {kind} {name!r} exists already, in {taken.provenance(name)}; choose another name")
