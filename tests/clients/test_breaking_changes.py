"""Tests with @graphql-inspector that the schema has no breaking change since the last release."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.released import PRESENT, RELEASED, promised, versions
from tests.node import Node

SOURCES = Path(__file__).parent

ANEW = "begin graphql_schema/released.graphql anew, as app/docs/contributing.md says"

Change = tuple[str, str, str]

BREAKING = [
    ("  traceName: String!\n", "  nickname: String!\n", "CallSchema.traceName"),
    ("  traceName: String!\n", "  traceName: String\n", "CallSchema.traceName"),
    ("  startedAt: DateTime!\n", "  startedAt: String!\n", "CallSchema.startedAt"),
    ("  callUpdate(\n", "  callUpdate(\n    force: Boolean!\n", "Mutation.callUpdate.force"),
    ("input CallBatchMode @oneOf {\n", "input CallBatchMode @oneOf {\n  delete: ID!\n", "CallBatchMode.delete"),
    ("  UPDATED\n", "  CHANGED\n", "CallEventType.UPDATED"),
    (
        "union CallBatchResult = CallStartRes | CallEndRes\n",
        "union CallBatchResult = CallStartRes\n",
        "CallBatchResult",
    ),
    ("type CallSchema implements Node {\n", "type CallSchema {\n", "CallSchema"),
    ("BigInt", "Number", "CallSchema.wbRunStep"),
]
HARMLESS = [
    ("  traceName: String!\n", "  traceName: String!\n  nickname: String\n"),
    ("  callUpdate(\n", "  callUpdate(\n    force: Boolean\n"),
    ("  callsStats(\n", '  count: Int! @deprecated(reason: "callsStats counts, too.")\n  callsStats(\n'),
]

DEPRECATING = """
type Query {
  node: Node
  old(by: OldInput): OldOnly @deprecated
  calls(sort: Sort, range: Range, offset: Int @deprecated): Int
}
interface Node { ref: ID! }
type ByRef implements Node { ref: ID! }
type OldOnly { count: Int }
input OldInput { id: ID }
input Range {
  a: Int @deprecated
  b: Int
}
enum Sort { UP DOWN @deprecated }
"""
RID_OF_IT = """
type Query {
  node: Node
  calls(sort: Sort, range: Range): Int
}
interface Node { ref: ID! }
type ByRef implements Node { ref: ID! }
input Range {
  b: Int
}
enum Sort { UP }
"""


async def changes(node: Node, *sdls: Path, since: Path = RELEASED) -> list[list[Change]]:
    """Return the changes from a released SDL to each of the others: severity, place and message."""
    output = json.loads(await node.run(str(SOURCES / "diff.mjs"), str(since), *map(str, sdls)))
    return [[(grave, where, what) for grave, where, what in found] for found in output]


async def test_schema_has_no_breaking_change_since_the_last_release(node: Node) -> None:
    [found] = await changes(node, PRESENT)

    assert [change for change in found if change[0] == "BREAKING"] == [], (
        f"deprecate it for a release first, or leave it as it is{or_anew()}"
    )


def or_anew() -> str:
    """Return a hint that the SDL may be saved again, or an empty string after the first release."""
    return "" if any(done for _, done in versions()) else f"; before the first release one may {ANEW}"


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[str, str], Path]:
    """Return a function that writes the released SDL with one changed passage and returns the file."""
    numbers = itertools.count()

    def write(before: str, after: str) -> Path:
        sdl = RELEASED.read_text()
        assert before in sdl
        file = tmp_path / f"{next(numbers)}.graphql"
        file.write_text(sdl.replace(before, after))
        return file

    return write


async def test_breaking_change_is_detected(node: Node, changed: Callable[[str, str], Path]) -> None:
    found = await changes(node, *(changed(before, after) for before, after, _ in BREAKING))

    broken = [[place for grave, place, _ in each if grave == "BREAKING"] for each in found]
    assert [place for places, (*_, place) in zip(broken, BREAKING, strict=True) if place not in places] == []


async def test_additions_and_deprecations_are_not_breaking(node: Node, changed: Callable[[str, str], Path]) -> None:
    found = await changes(node, *(changed(before, after) for before, after in HARMLESS))

    assert all(each and not any(grave == "BREAKING" for grave, *_ in each) for each in found)


@pytest.fixture
def small(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes a small SDL and returns the file."""
    numbers = itertools.count()

    def write(sdl: str) -> Path:
        file = tmp_path / f"small-{next(numbers)}.graphql"
        file.write_text(sdl)
        return file

    return write


async def test_field_deprecated_in_a_release_may_be_removed(node: Node, small: Callable[[str], Path]) -> None:
    before, after = small(DEPRECATING), small(RID_OF_IT)

    assert await changes(node, after, since=before) == [
        [("NON_BREAKING", "OldOnly", "Unreachable from root"), ("NON_BREAKING", "OldInput", "Unreachable from root")]
    ]


@pytest.mark.parametrize(
    ("passage", "changed_to", "place"),
    [
        ("old(by: OldInput): OldOnly @deprecated", "old(by: String): OldOnly @deprecated", "Query.old.by"),
        ("old(by: OldInput): OldOnly @deprecated", "old(by: OldInput): Int @deprecated", "Query.old"),
        ("type ByRef implements Node { ref: ID! }", "", "ByRef"),
        ("b: Int\n", "", "Range.b"),
    ],
)
async def test_removal_without_deprecation_is_detected(
    node: Node, small: Callable[[str], Path], passage: str, changed_to: str, place: str
) -> None:
    assert passage in DEPRECATING
    [found] = await changes(node, small(DEPRECATING.replace(passage, changed_to)), since=small(DEPRECATING))

    assert place in [where for grave, where, _ in found if grave == "BREAKING"]


def test_stored_sdl_is_that_of_the_last_release() -> None:
    (newest, is_released), *_ = versions()
    released = [version for version, done in versions() if done]
    version, sdl = promised()

    assert version == (released[0] if released else newest), ANEW
    if is_released:
        assert sdl == PRESENT.read_text(), f"{ANEW}; or CHANGELOG.md needs the heading of the next release"
