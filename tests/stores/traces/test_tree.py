"""Tests of the tree of a trace's calls: its order, depth limit and pages."""

from typing import Any

import pytest

from stores.errors import BadInputError
from stores.paging import PageRequest, Row
from stores.traces import Tree

PARENTS = {"a": None, "b": "a", "c": "a", "d": "b", "e": "gone"}


def rows(parents: dict[str, str | None] = PARENTS) -> list[Row]:
    """Return calls as the store reads them, oldest first."""
    return [
        {"id": name, "parent_id": parent, "trace_id": "t", "started_at": at}
        for at, (name, parent) in enumerate(parents.items())
    ]


async def tree(calls: list[Row] | None = None, max_depth: int | None = None, trace_id: str = "t") -> Tree:
    return await Tree.from_calls("acme/chat", trace_id, rows() if calls is None else calls, max_depth)


def values_of(found: Tree, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row.get(name) for name in names) for row in found.rows]


def ids(found: Tree, request: PageRequest) -> list[str]:
    return [row["id"] for row in found.page(request).rows]


async def test_each_call_follows_its_parent_oldest_first() -> None:
    found = await tree()

    assert values_of(found, "id", "position", "depth", "tree_parent_id", "num_children", "num_descendants") == [
        ("a", 0, 0, None, 2, 3),
        ("b", 1, 1, "a", 1, 1),
        ("d", 2, 2, "b", 0, 0),
        ("c", 3, 1, "a", 0, 0),
        ("e", 4, 0, None, 0, 0),
    ]


async def test_calls_below_the_depth_limit_are_counted() -> None:
    found = await tree(max_depth=1)

    assert values_of(found, "id", "position", "num_descendants") == [("a", 0, 3), ("b", 1, 1), ("c", 2, 0), ("e", 3, 0)]


async def test_no_calls_make_an_empty_tree() -> None:
    page = (await tree([])).page(PageRequest(5))

    assert (page.rows, page.has_next, page.has_previous) == ([], False, False)


async def test_pages_in_both_directions_form_one_list() -> None:
    found = await tree()
    first = found.page(PageRequest(2))
    last = found.page(PageRequest(2, backward=True))

    assert (first.has_next, first.has_previous, last.has_next, last.has_previous) == (True, False, False, True)
    assert [row["id"] for row in first.rows] == ["a", "b"]
    assert [row["id"] for row in last.rows] == ["c", "e"]
    assert ids(found, PageRequest(9, first.cursor(first.rows[-1]))) == ["d", "c", "e"]
    assert ids(found, PageRequest(9, last.cursor(last.rows[0]), backward=True)) == ["a", "b", "d"]


async def test_cursor_follows_its_call_and_else_its_former_position() -> None:
    page = (await tree()).page(PageRequest(2))
    cursor = page.cursor(page.rows[-1])

    grown = await tree(rows({"0": None, **PARENTS}))
    without = await tree(rows({name: parent for name, parent in PARENTS.items() if name != "b"}))

    assert ids(grown, PageRequest(9, cursor)) == ["d", "c", "e"]
    assert ids(without, PageRequest(9, cursor)) == [row["id"] for row in without.rows[1:]]


@pytest.mark.parametrize("other", [{"trace_id": "u"}, {"max_depth": 1}])
async def test_cursor_of_another_tree_is_refused(other: dict[str, Any]) -> None:
    page = (await tree()).page(PageRequest(1))
    another = await tree(**other)

    with pytest.raises(BadInputError) as refused:
        another.page(PageRequest(1, page.cursor(page.rows[0])))

    assert refused.value.argument == "after"
