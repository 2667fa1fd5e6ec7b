"""Tests that the repository's own pages have valid links, are complete and are in the wheel."""

from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from app.docs import FOLDER
from app.docs.site import INDEX, addresses, read_pages

ROOT = Path(__file__).parents[3]
PAGES = {page.source: page for page in read_pages(FOLDER)}


def test_every_page_is_linked_once_below_a_heading_of_the_index() -> None:
    linked = [source for sources in PAGES[INDEX].sections.values() for source in sources]

    assert sorted(linked) == sorted(PAGES.keys() - {INDEX})


@pytest.mark.parametrize("source", PAGES)
def test_page_starts_with_its_title_and_a_paragraph(source: str) -> None:
    types = [token.type for token in PAGES[source].tokens if token.nesting == 1]

    assert types[:2] == ["heading_open", "paragraph_open"]
    assert [heading.level for heading in PAGES[source].headings].count(1) == 1


@pytest.mark.parametrize("source", PAGES)
def test_every_link_and_image_of_a_page_exists(source: str) -> None:
    there = addresses(FOLDER)
    dead = []
    for link in PAGES[source].links:
        target, _, anchor = link.partition("#")
        if target in PAGES and anchor:
            is_there = anchor in {heading.anchor for heading in PAGES[target].headings}
        elif target.startswith(".."):
            is_there = (FOLDER / target).exists()  # a file of the repository, which the site shows as text
        else:
            is_there = target in there
        if not is_there:
            dead.append(link)

    assert dead == []


@pytest.mark.parametrize("source", PAGES)
def test_images_are_served_from_the_same_host(source: str) -> None:
    text = (FOLDER / source).read_text("utf-8")

    assert "](http" not in "".join(line for line in text.splitlines() if "![" in line)


def test_wheel_contains_all_files_of_the_site() -> None:
    packed = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}

    made_of = [FOLDER / source for source in addresses(FOLDER)] + list((FOLDER / "assets").iterdir())
    made_of.append(FOLDER.parent / "graphiql" / "favicon.svg")
    assert {path.relative_to(ROOT).as_posix() for path in made_of} <= packed
