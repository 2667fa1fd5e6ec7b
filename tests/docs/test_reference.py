"""Tests that the reference pages agree with the code."""

import re
from pathlib import Path

import pytest

from app.settings import Settings, variable
from graphql_schema.permissions import FIELD_PERMISSIONS
from stores.errors import StoreError
from tests.docs.error_codes import CODES
from tests.docs.limits import GROUPS
from tests.docs.reference import COMMAND, FOLDER, SECTIONS, generated, stale_pages

PAGES = {str(path.relative_to(FOLDER)): path.read_text("utf-8") for path in FOLDER.rglob("*.md")}


def test_generated_sections_are_up_to_date() -> None:
    stale = [str(path.relative_to(FOLDER)) for path, _ in stale_pages()]

    assert not stale, f"these pages differ from the code; run `{COMMAND}`: {', '.join(stale)}"


def test_every_section_is_on_one_page() -> None:
    names = [
        name for page in PAGES.values() for name in re.findall(r"^\[//\]: # \(generated: (\w+)\)$", page, re.MULTILINE)
    ]

    assert sorted(names) == sorted(SECTIONS), "a page and SECTIONS in tests/docs/reference.py differ"


def test_only_the_generated_section_of_a_page_is_written(tmp_path: Path) -> None:
    page = "# Limits\n\nText.\n\n[//]: # (generated: conversions)\nold\n[//]: # (end)\n\n## More\n"
    (tmp_path / "limits.md").write_text(page)

    [(path, new)] = stale_pages(tmp_path)

    assert path.name == "limits.md"
    assert new.startswith("# Limits\n\nText.\n\n[//]: # (generated: conversions)\n\n| Type |")
    assert new.endswith("|\n\n[//]: # (end)\n\n## More\n")
    assert generated(new) == new


@pytest.mark.parametrize("page", sorted(PAGES))
def test_page_starts_with_a_title_and_a_summary(page: str) -> None:
    title, blank, summary, *_ = PAGES[page].splitlines()

    assert title.startswith("# ")
    assert not blank
    assert re.match(r"[A-Z`]", summary)


def test_every_setting_and_root_field_is_in_the_reference() -> None:
    settings, permissions = PAGES["reference/settings.md"], PAGES["reference/permissions.md"]

    missing = [name for name in Settings.model_fields if f"| `{variable(name)}` |" not in settings]
    assert not missing, f"run `{COMMAND}`: {missing}"
    fields = [name for each in FIELD_PERMISSIONS.values() for name in each]
    missing = [name for name in fields if f"`{name}`" not in permissions]
    assert not missing, f"run `{COMMAND}`: {missing}"


def test_every_error_code_has_a_row() -> None:
    codes = {kind.code for kind in _classes(StoreError)}

    assert codes <= CODES.keys()


def _classes(kind: type[StoreError]) -> set[type[StoreError]]:
    return {kind}.union(*map(_classes, kind.__subclasses__()))


def test_every_limiting_setting_is_listed_among_the_limits() -> None:
    named = " ".join(limit for rows in GROUPS.values() for _, limit, _ in rows)
    limits = [name for name in Settings.model_fields if name.startswith(("max_", "rate_"))]

    assert [name for name in limits if name.upper() not in named] == ["max_event_bytes"]
