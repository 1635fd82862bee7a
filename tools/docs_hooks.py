"""What ``make docs`` does beyond MkDocs: links from a page to files of the repository that are not pages.

On a code host ``[setup](../setup.py)`` leads to the file. On the site there is no such file: the link leads to the
repository, if mkdocs.yml has a ``repo_url``, and else only its text stays. A file that does not exist is a warning,
which ends a strict build, either way.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)#\s]*)(#[^)\s]*)?\)")
_log = logging.getLogger("mkdocs.hooks.links")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Rewrite the links of a page that leave the folder of the documentation (a MkDocs event).

    Args:
        markdown: the page's source.
        page: for its place.
        config: the site's.
    """
    docs = Path(config["docs_dir"])
    root = docs.parent

    def rewritten(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        path = posixpath.normpath(posixpath.join(docs.name, posixpath.dirname(page.file.src_uri), target))
        if path.startswith(f"{docs.name}/"):
            return match[0]
        if path.startswith("..") or not (root / path).exists():
            _log.warning("%s: link to %s: there is no such file in the repository", page.file.src_uri, target)
        repository = config["repo_url"]
        return f"[{text}]({repository.rstrip('/')}/blob/main/{path}{anchor})" if repository else text

    return _LINK.sub(rewritten, markdown)
