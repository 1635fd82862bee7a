"""Links of the documentation: what the site's hook makes of those that leave docs/."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def rewritten(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
    from docs_hooks import on_page_markdown

    def rewrite(markdown: str, *, repo_url: str | None = None, page: str = "plugins.md") -> str:
        config = {"docs_dir": str(ROOT / "docs"), "repo_url": repo_url}
        return on_page_markdown(markdown, page=SimpleNamespace(file=SimpleNamespace(src_uri=page)), config=config)

    return rewrite


def test_without_a_repository_the_text_stays(rewritten):
    assert rewritten("see [the set-up](../setup.py), too") == "see the set-up, too"


def test_with_a_repository_the_link_leads_there(rewritten):
    link = rewritten("[adapter](../adair_core/adapter.py#L3)", repo_url="https://host/adair/")
    assert link == "[adapter](https://host/adair/blob/main/adair_core/adapter.py#L3)"


def test_links_between_pages_and_pictures_are_left_alone(rewritten):
    for text in ("[x](restore.md)", "![x](../setup.py)", "[x](https://host/a)"):
        assert rewritten(text) == text
    assert rewritten("[x](../restore.md)", page="folder/page.md") == "[x](../restore.md)"


def test_a_file_that_does_not_exist_is_a_warning(rewritten, caplog):
    with caplog.at_level(logging.WARNING):
        assert rewritten("[x](../nowhere.py)") == "x"
    assert "plugins.md: link to ../nowhere.py: there is no such file in the repository" in caplog.text
