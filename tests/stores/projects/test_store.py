"""Tests of projects: creation by a normalized name, lists, counts, and the discovery of unregistered projects."""

import asyncio
import random
from typing import Any

import pytest

from stores import times
from stores.calls import CallsStore
from stores.costs import CostsStore, NewCost
from stores.database import Database, project_registry
from stores.errors import BadInputError
from stores.feedback import FeedbackStore, NewFeedback
from stores.files import FilesStore, NewFile
from stores.objects import ObjectsStore
from stores.paging import PageRequest
from stores.projects import ProjectsFilter, ProjectsStore
from stores.query.explain import Pipeline, explain
from stores.query.sort import SortBy
from stores.tables import TablesStore
from tests.commands import Commands
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, start
from tests.stores.objects.builders import version

OTHER = "acme/other"
ALL = ("id", "entity", "name", "created_at", "last_activity_at")


@pytest.fixture
def projects(database: Database) -> ProjectsStore:
    """Return a store of projects over `database`."""
    return ProjectsStore(database)


async def put(database: Database, *project_ids: str, **times_: int) -> None:
    await project_registry.write_entries(
        database.projects, [project_registry.entry(project_id, **times_) for project_id in project_ids]
    )


async def ids_of(
    projects: ProjectsStore,
    request: PageRequest | None = None,
    sort_by: str = "",
    **filters: Any,
) -> list[str]:
    keys = [SortBy(key.strip("-"), key.startswith("-")) for key in sort_by.split()]
    page = await projects.page(request or PageRequest(), {"id"}, ProjectsFilter(**filters), keys)
    return [row["id"] for row in page.rows]


async def test_repeated_ensure_creates_one_project(projects: ProjectsStore, database: Database) -> None:
    began = times.now()
    first = await projects.ensure("acme", "chat")
    again = await projects.ensure("acme", "chat")

    assert first == again == {"id": PROJECT, "entity": "acme", "name": "chat"}
    project = await projects.one(PROJECT, ALL)
    assert project is not None
    assert began <= project.pop("created_at") <= times.now()
    assert project == first  # a project without data has no last activity
    assert await database.projects.count_documents({}) == 1


async def test_ensuring_keeps_an_existing_project_unchanged(projects: ProjectsStore, calls: CallsStore) -> None:
    await calls.write([start()])
    before = await projects.one(PROJECT, ALL)
    await projects.ensure("acme", "chat")

    assert await projects.one(PROJECT, ALL) == before


async def test_project_can_be_ensured_concurrently(database: Database, mongodb_uri: str) -> None:
    others = [Database.open(mongodb_uri, database.calls.database.name) for _ in range(4)]
    try:
        found = await asyncio.gather(*(ProjectsStore(other).ensure("acme", "chat") for other in others * 10))
    finally:
        for other in others:
            other.close()

    assert {row["name"] for row in found} == {"chat"}
    assert await database.projects.count_documents({}) == 1


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("  chat ", "chat"),
        ("my chat", "my chat"),
        ("cafe\N{COMBINING ACUTE ACCENT}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
        ("\N{NO-BREAK SPACE}プロジェクト", "プロジェクト"),
        ("Chat", "Chat"),
        ("🧵", "🧵"),
        ("x" * 128, "x" * 128),
        ("...", "..."),
        ("a\N{ZERO WIDTH JOINER}b", "a\N{ZERO WIDTH JOINER}b"),
    ],
)
async def test_name_is_normalised(projects: ProjectsStore, given: str, name: str) -> None:
    assert (await projects.ensure("acme", given))["name"] == name
    assert await ids_of(projects) == [f"acme/{name}"]


INVISIBLE = ["  ", "\N{ZERO WIDTH SPACE}", "\N{WORD JOINER} \N{SOFT HYPHEN}", "\N{LINE SEPARATOR}"]
BAD_AS_PREFIX = ["a/b", "a:b", "a\\b", "a#b", "a?b", "a%b", "x" * 129, "x" * 1000, "a\x00b", "a\n", "a\x7f", "\ud800"]
BAD = ["", ".", "..", *INVISIBLE, *BAD_AS_PREFIX]


async def test_invalid_entity_or_project_name_is_refused(projects: ProjectsStore) -> None:
    cases = [cases for bad in BAD for cases in ((bad, "chat", "entity"), ("acme", bad, "project"))]
    for entity, project, argument in cases:
        with pytest.raises(
            BadInputError, match="is not valid as half of a project id; use 1 to 128 characters"
        ) as caught:
            await projects.ensure(entity, project)
        assert caught.value.argument == argument
        assert caught.value.message.startswith(repr(project if argument == "project" else entity)[:64])
        assert len(str(caught.value)) < 500
    assert await ids_of(projects) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("   ", "'   ' is not valid as half of a project id; use"),
        (
            " .. ",
            "' .. ' is not valid as half of a project id: normalised (NFC, no outer spaces) it is '..', of 2",
        ),
        ("\U0001d15e" * 128, "normalised (NFC, no outer spaces) it is '\U0001d157\U0001d165"),
        ("\U0001d15e" * 128, "of 256 characters; use 1 to 128 characters"),
    ],
)
async def test_name_invalid_after_normalisation_is_reported_as_sent(
    projects: ProjectsStore, given: str, expected: str
) -> None:
    with pytest.raises(BadInputError) as caught:
        await projects.ensure("acme", given)
    assert expected in caught.value.message
    assert caught.value.message.startswith(repr(given[:64]))
    assert caught.value.argument == "project"
    assert await ids_of(projects) == []


@pytest.mark.parametrize("entity", [" acme", "acme ", "e\N{COMBINING ACUTE ACCENT}"])
async def test_invalid_entity_is_refused_and_not_normalised(projects: ProjectsStore, entity: str) -> None:
    with pytest.raises(BadInputError, match="has outer spaces or is not in composed form") as caught:
        await projects.ensure(entity, "chat")
    assert caught.value.argument == "entity"


async def test_single_project_is_found_or_missing(projects: ProjectsStore) -> None:
    await projects.ensure("acme", "chat")

    assert await projects.one(PROJECT, {"name"}) == {"id": PROJECT, "name": "chat"}
    assert await projects.one(PROJECT, {"call_count"}) == {"id": PROJECT}
    assert await projects.one("acme/none", ALL) is None
    with pytest.raises(BadInputError) as caught:
        await projects.one("acme", ALL)
    assert caught.value.argument == "project_id"


async def test_projects_are_sorted_by_id_and_other_fields(projects: ProjectsStore, database: Database) -> None:
    await put(database, "b/one", created_at=3, last_activity_at=5)
    await put(database, "a/two", created_at=2, last_activity_at=7)
    await put(database, "a/one", created_at=1)

    assert await ids_of(projects) == ["a/one", "a/two", "b/one"]
    assert await ids_of(projects, sort_by="-id") == ["b/one", "a/two", "a/one"]
    assert await ids_of(projects, sort_by="name") == ["a/one", "b/one", "a/two"]
    assert await ids_of(projects, sort_by="-entity -name") == ["b/one", "a/two", "a/one"]
    assert await ids_of(projects, sort_by="-created_at") == ["b/one", "a/two", "a/one"]
    assert await ids_of(projects, sort_by="-last_activity_at") == ["a/two", "b/one", "a/one"]
    assert await ids_of(projects, sort_by="last_activity_at") == ["b/one", "a/two", "a/one"]
    with pytest.raises(BadInputError, match="there is no field 'size'") as caught:
        await ids_of(projects, sort_by="size")
    assert caught.value.argument == "sort_by.0.field"


async def test_pages_follow_each_other(projects: ProjectsStore, database: Database) -> None:
    for number in range(11):
        active = {"last_activity_at": number % 4} if number % 3 else {}
        await put(database, f"e{number % 2}/n{number % 5}{number}", **active)

    for sort_by in ("id", "-id", "name", "-last_activity_at", "last_activity_at", "entity -name"):
        everything = await ids_of(projects, sort_by=sort_by)
        assert len(set(everything)) == 11
        for backward in (False, True):
            assert await walked(projects, sort_by, backward=backward) == everything


async def walked(projects: ProjectsStore, sort_by: str, *, backward: bool) -> list[str]:
    keys = [SortBy(key.strip("-"), key.startswith("-")) for key in sort_by.split()]
    seen: list[str] = []
    request, more = PageRequest(3, None, backward), True
    while more:
        page = await projects.page(request, {"id"}, None, keys)
        rows = [row["id"] for row in page.rows]
        seen = rows + seen if backward else seen + rows
        request = PageRequest(3, page.cursor(page.rows[0 if backward else -1]), backward)
        more = page.has_previous if backward else page.has_next
    return seen


async def test_filters_accept_an_entity_and_a_name_prefix(projects: ProjectsStore, database: Database) -> None:
    await put(database, "a/chat", "a/chat 2", "a/Chat", "a/x", "ab/chat", "a./chat", "b/chap")

    assert await ids_of(projects, entity="a") == ["a/Chat", "a/chat", "a/chat 2", "a/x"]
    assert await ids_of(projects, entity="a", name_prefix="ch") == ["a/chat", "a/chat 2"]
    assert await ids_of(projects, name_prefix="chat") == ["a./chat", "a/chat", "a/chat 2", "ab/chat"]
    assert await ids_of(projects, entity="", name_prefix="") == await ids_of(projects)
    assert await ids_of(projects, name_prefix=".") == []
    assert await ids_of(projects, entity="c") == []
    assert await projects.count() == 7
    assert await projects.count(ProjectsFilter("a", "ch")) == 2


async def test_name_prefix_may_be_any_text(projects: ProjectsStore, database: Database) -> None:
    rng = random.Random(6)
    signs = ["a", "b", "$", ".", "^", "é", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff"]
    names = sorted({"".join(rng.choices(signs, k=rng.randint(1, 4))) for _ in range(150)})
    await put(database, *(f"e/{name}" for name in names))

    prefixes = {name[:length] for name in names for length in (1, 2, 3)}
    for prefix in rng.sample(sorted(prefixes), 60):
        expected = {f"e/{name}" for name in names if name.startswith(prefix)}
        assert set(await ids_of(projects, name_prefix=prefix)) == expected, prefix
        assert set(await ids_of(projects, entity="e", name_prefix=prefix)) == expected, prefix


async def test_unsatisfiable_filter_is_refused(projects: ProjectsStore) -> None:
    cases = [*((bad, "entity") for bad in filter(None, BAD)), *((bad, "name_prefix") for bad in BAD_AS_PREFIX)]
    for bad, field in cases:
        which = ProjectsFilter(entity=bad) if field == "entity" else ProjectsFilter(name_prefix=bad)
        with pytest.raises(BadInputError) as caught:
            await projects.count(which)
        assert caught.value.argument == f"filter.{field}"


@pytest.mark.parametrize(
    ("filters", "sort_by", "index"),
    [
        ({}, "", "id"),
        ({"entity": "e7"}, "", "id"),
        ({"entity": "e7", "name_prefix": "n"}, "", "id"),
        ({}, "name", "name_id"),
        ({"name_prefix": "n29"}, "name", "name_id"),
        ({}, "-last_activity_at", "last_activity_at_id"),
    ],
)
async def test_lists_are_read_by_an_index(
    projects: ProjectsStore, database: Database, commands: Commands, filters: dict[str, Any], sort_by: str, index: str
) -> None:
    for number in range(30):
        await put(database, *(f"e{entity}/n{number}" for entity in range(10)), last_activity_at=number)

    assert await ids_of(projects, PageRequest(10), sort_by=sort_by, **filters)
    plan = await explain(database.projects, commands.last_pipeline)

    assert plan.indexes == {index}
    assert not plan.sorts_in_memory
    assert (plan.documents_examined, plan.keys_examined) == (0, plan.returned)
    assert plan.returned <= 11


async def test_sizes_of_all_projects_take_one_command(
    projects: ProjectsStore, database: Database, calls: CallsStore, objects: ObjectsStore, commands: Commands
) -> None:
    await calls.write([start(number) for number in range(5)] + [start(9, project_id=OTHER)])
    await calls.delete(PROJECT, [call_id(3)])
    for number in range(3):
        await objects.create(version(number))
    await objects.create(version({"_type": "Op"}, object_id="op"))
    await objects.delete(PROJECT, "prompt", ["v0"])
    await FeedbackStore(database).create([NewFeedback(OTHER, "a ref", "custom", {}) for _ in range(2)])
    project_ids = [PROJECT, OTHER, "acme/none"]
    commands.sent.clear()

    assert await projects.count_calls(project_ids) == {PROJECT: 4, OTHER: 1, "acme/none": 0}
    assert await projects.count_objects(project_ids) == {PROJECT: 3, OTHER: 0, "acme/none": 0}
    assert await projects.count_feedback(project_ids) == {PROJECT: 0, OTHER: 2, "acme/none": 0}
    assert commands.names == ["find", *["aggregate"] * 3]


@pytest.mark.not_on(
    "cluster", reason="a router counts no keys, since each shard leaves out documents that it does not own"
)
async def test_calls_are_counted_from_index_keys(
    projects: ProjectsStore, database: Database, calls: CallsStore
) -> None:
    await calls.write([start(number, project_id=f"acme/p{number % 2}") for number in range(600)])

    pipeline: Pipeline = [{"$match": {"project_id": "acme/p1", "visible": True}}, {"$count": "number"}]
    plan = await explain(database.calls, pipeline)

    assert "COUNT_SCAN" in plan.stages
    assert (plan.documents_examined, plan.keys_examined) == (0, 301)
    assert await projects.count_calls(["acme/p1"]) == {"acme/p1": 300}


async def test_unregistered_projects_are_registered(
    projects: ProjectsStore, database: Database, calls: CallsStore, objects: ObjectsStore
) -> None:
    await projects.ensure("acme", "listed")
    await calls.write([start(number, project_id="acme/calls") for number in range(1, 4)])
    await objects.create(version(project_id="acme/objects"))
    await TablesStore(database).create("acme/tables", [{"a": 1}])
    await FilesStore(database).create_all("acme/files", [NewFile.of(b"hello")])
    await FeedbackStore(database).create_one(NewFeedback("acme/feedback", "a ref", "custom", {}))
    await CostsStore(database).create("acme/costs", [NewCost("gpt", 1.0, 2.0)])
    await calls.write([start(9, project_id="acme/listed")])
    before = await projects.one("acme/listed", ALL)
    await database.projects.delete_many({"_id": {"$ne": "acme/listed"}})
    began = times.now()

    assert await projects.list_unlisted() == 6
    assert await projects.list_unlisted() == 0
    assert await ids_of(projects) == [
        f"acme/{name}" for name in ("calls", "costs", "feedback", "files", "listed", "objects", "tables")
    ]
    assert await projects.one("acme/listed", ALL) == before
    assert await projects.one("acme/calls", ALL) == {
        "id": "acme/calls",
        "entity": "acme",
        "name": "calls",
        "created_at": NOON + SECOND,
        "last_activity_at": NOON + 3 * SECOND,
    }
    files = await projects.one("acme/files", ALL)
    assert files is not None
    assert began <= files["created_at"] <= files["last_activity_at"] <= times.now()


async def test_unregistered_projects_are_found_by_one_key_each(database: Database, calls: CallsStore) -> None:
    await calls.write([start(number, project_id=f"acme/p{number % 4}") for number in range(400)])

    plan = await explain(database.calls, [{"$group": {"_id": "$project_id"}}])

    assert "DISTINCT_SCAN" in plan.stages
    assert (plan.documents_examined, plan.keys_examined) == (0, 4)
