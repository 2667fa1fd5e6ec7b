"""The SDL of the last release, with which tests compare the current one."""

import re
from typing import Final

from tests.installation import ROOT

PRESENT: Final = ROOT / "graphql_schema" / "schema.graphql"
RELEASED: Final = PRESENT.with_name("released.graphql")


def versions() -> list[tuple[str, bool]]:
    """Return the versions of the changelog, newest first, and whether each is released."""
    headings = re.findall(r"^## (\S+)(.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    return [(version, "unreleased" not in rest) for version, rest in headings]


def promised() -> tuple[str, str]:
    """Return the version of the saved SDL, and that SDL."""
    heading, _, sdl = RELEASED.read_text().partition("\n")
    version = re.fullmatch(r"# loomql (\S+), as its clients know it", heading)
    assert version, heading
    return version[1], sdl
