"""Tests that an index answers frequent queries of objects: no sort in memory, few documents examined in vain."""

import pytest

from stores.calls import CallsStore
from stores.database import Database
from stores.objects import ObjectsFilter, ObjectsStore
from stores.paging import PageRequest
from stores.query.explain import explain
from stores.query.sort import SortBy
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, start
from tests.stores.lookups import documents_examined
from tests.stores.objects.builders import version

OP = {"_type": "Op"}
PROMPT = {"_class_name": "Prompt", "_bases": ["BaseObject", "BaseModel"]}
NEWEST = [SortBy("created_at", descending=True)]


@pytest.fixture
async def stock(objects: ObjectsStore) -> ObjectsStore:
    """Store twelve names with five versions each; every third is an op, and every third is a prompt."""
    for number in range(60):
        val = ([1], OP, PROMPT)[number % 3]
        await objects.create(version(_numbered(val, number), object_id=f"n{number % 12}"))
    return objects


def _numbered(val: object, number: int) -> object:
    return {**val, "n": number} if isinstance(val, dict) else [number]


CASES = (
    (None, None, 21),
    (None, NEWEST, 21),
    (ObjectsFilter(latest_only=True), None, 12),
    (ObjectsFilter(latest_only=True), NEWEST, 12),
    (ObjectsFilter(is_op=True), None, 20),
    (ObjectsFilter(is_op=True), NEWEST, 20),
    (ObjectsFilter(base_object_classes=["Prompt"]), NEWEST, 20),
    (ObjectsFilter(object_ids=["n4"], is_op=True), [SortBy("version_index")], 5),
)
"""Filters and sorts, and the number of documents that the page returns."""


async def test_each_list_is_read_by_an_index(stock: ObjectsStore, database: Database, commands: Commands) -> None:
    for objects_filter, sort_by, returned in CASES:
        await stock.page(PROJECT, PageRequest(size=20), {"digest"}, objects_filter, sort_by)

        plan = await explain(database.objects, commands.last_pipeline)

        assert plan.returned == returned, (objects_filter, sort_by)
        assert not plan.sorts_in_memory, (objects_filter, sort_by)
        assert plan.documents_examined == returned, (objects_filter, sort_by)


async def test_relations_of_a_page_read_only_what_they_return(
    stock: ObjectsStore, calls: CallsStore, database: Database, commands: Commands
) -> None:
    taken = "weave:///acme/chat/object/n0:x"
    await calls.write([start(number, inputs={"p": taken if number % 5 else "x"}) for number in range(50)])
    names = [(PROJECT, "op", f"n{number}") for number in (1, 4, 7)]

    versions = await stock.versions.pages(names, frozenset({"digest"}), PageRequest(size=3))
    looked_at_versions = await documents_examined(database, commands)
    used = await calls.consumers.pages([(PROJECT, taken)], frozenset({"id"}), PageRequest(size=4))
    of_calls = await explain(database.calls, commands.last_pipeline)

    assert [[row["object_id"] for row in page.rows] for page in versions.values()] == [
        ["n1"] * 3,
        ["n4"] * 3,
        ["n7"] * 3,
    ]
    assert all(page.has_next for page in versions.values())
    assert looked_at_versions <= 3 * 4
    assert len(used[PROJECT, taken].rows) == 4
    assert of_calls.documents_examined <= 5
