"""Tests that links in README and the pages resolve, and that index.md lists every page."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, PAGES, Page, page
from tests.installation import ROOT

GROUPS = ["Tutorial", "How-to guides", "Reference", "Explanation", "Contributing"]


def broken(found: Page, link: str) -> str | None:
    """Return the reason why a link is broken, or None."""
    if re.match(r"https?://", link):
        return None
    path, _, anchor = link.partition("#")
    target = (ROOT / found.path).parent / path if path else ROOT / found.path
    if not target.exists():
        return f"{link}: there is no such file"
    if anchor and anchor not in Page(str(target.resolve().relative_to(ROOT))).anchors:
        return f"{link}: the page has no such heading"
    return None


@pytest.mark.parametrize("found", PAGES, ids=str)
def test_links_on_a_page_resolve(found: Page) -> None:
    assert [reason for link in found.links if (reason := broken(found, link))] == []


def test_index_lists_every_page_once_by_kind() -> None:
    listed = page("index").links

    assert re.findall(r"^## (.+)$", page("index").text, re.MULTILINE) == GROUPS
    assert sorted(listed) == sorted(
        str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if path.name != "index.md"
    )
    folders = [str(Path(link).parent) for link in listed]
    assert sorted(folders[1:-1], key=["how-to", "reference", "explanation"].index) == folders[1:-1]


def test_readme_is_short() -> None:
    assert len(page("README").text.splitlines()) <= 250


def test_pages_name_only_existing_tests() -> None:
    named = {name for each in PAGES for name in re.findall(r"`([\w/]+/test_\w+\.py)`", each.text)}

    assert [name for name in sorted(named) if not (ROOT / "tests" / name.removeprefix("tests/")).exists()] == []
