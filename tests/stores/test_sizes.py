"""Tests that every size equals a recount of the raw documents after any changes, and is read from indexes alone."""

import asyncio
import json
import random
from collections import Counter
from typing import Any, Final

import pytest

from stores.calls import CallEnd, CallsStore, CallStart
from stores.database import Collection, Database, Document
from stores.errors import BadInputError, NotFoundError
from stores.files import FilesStats, FilesStore, NewFile
from stores.objects import ObjectsStore
from stores.paging import PageRequest
from stores.projects import ProjectsStore
from stores.query.explain import explain
from stores.tables import Append, Pop, TablesStore, TableUpdate
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, end, start, trace_id
from tests.stores.objects.builders import version

OTHER = "acme/other"
SIZES: Final = frozenset(
    {
        "trace_storage_size_bytes",
        "objects_storage_size_bytes",
        "tables_storage_size_bytes",
        "files_storage_size_bytes",
    }
)
NOTHING = dict.fromkeys(SIZES, 0)

JSONS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"a": 1},
    {"ü": ["é🧵", 1.5, None, True]},
    {"n": {"m": 10**30}},
    {"text": "x" * 3000},
)


@pytest.fixture
def projects(database: Database) -> ProjectsStore:
    """Return a store of projects over `database`."""
    return ProjectsStore(database)


def text_size(text: str) -> int:
    """Return the length of Python's default JSON text of a parsed text."""
    return len(json.dumps(json.loads(text)))


def call_size(call: Document) -> int:
    return sum(text_size(text) for text in call.get("json", {}).values())


async def all_of(collection: Collection, project_id: str) -> list[Document]:
    return await collection.find({"project_id": project_id}).to_list(None)


async def recount(database: Database, project_id: str) -> dict[str, int]:
    """Return the four sizes, counted from the raw documents: JSON texts, and bytes of file chunks."""
    files = [file["_id"] for file in await all_of(database.files, project_id)]
    parts = await database.file_chunks.find({"files_id": {"$in": files}}).to_list(None)
    values = [value["json"]["val"] for value in await all_of(database.objects, project_id) if value["visible"]]
    calls = [call for call in await all_of(database.calls, project_id) if call.get("visible")]
    rows = [row["json"]["val"] for row in await all_of(database.table_rows, project_id)]
    return {
        "trace_storage_size_bytes": sum(map(call_size, calls)),
        "objects_storage_size_bytes": sum(map(text_size, values)),
        "tables_storage_size_bytes": sum(map(text_size, rows)),
        "files_storage_size_bytes": sum(len(part["data"]) for part in parts),
    }


class Life:
    """Random creates, updates, deletes and repeats over few ids in two projects."""

    def __init__(self, database: Database, seed: int) -> None:
        self.rng = random.Random(seed)
        self.calls = CallsStore(database)
        self.objects = ObjectsStore(database)
        self.tables = TablesStore(database)
        self.files = FilesStore(database)
        self.known: dict[str, list[str]] = {PROJECT: [], OTHER: []}

    async def step(self) -> None:
        """Run one random change."""
        project = self.rng.choice((PROJECT, PROJECT, OTHER))
        deed = self.rng.choice((self.write, self.write, self.delete, self.name, self.version, self.table, self.file))
        await deed(project)

    def value(self) -> Any:
        """Return a JSON object, sometimes with a data URL that becomes a file."""
        if self.rng.random() < 0.1:
            return {"url": "data:text/plain;base64," + "QUJD" * (300 + self.rng.randrange(3))}
        return {**self.rng.choice(JSONS), "k": self.rng.randrange(3)}

    async def write(self, project: str) -> None:
        """Write starts and ends in any order."""
        batch: list[CallStart | CallEnd] = []
        for _ in range(self.rng.randint(1, 4)):
            number = self.rng.randrange(12)
            root = number // 3 * 3
            if self.rng.random() < 0.5:
                inside = {"trace_id": trace_id(root), "parent_id": None if root == number else call_id(root)}
                batch.append(start(number, project_id=project, inputs=self.value(), attributes=self.value(), **inside))
            else:
                batch.append(end(number, project_id=project, output=self.value(), summary=self.value()))
        await self.calls.write(batch)

    async def delete(self, project: str) -> None:
        """Delete a call with its descendants; the call may not exist."""
        if self.rng.random() < 0.4:
            await self.calls.delete(project, [call_id(self.rng.randrange(14))])

    async def name(self, project: str) -> None:
        """Rename a call."""
        await self.calls.rename(project, call_id(self.rng.randrange(14)), self.rng.choice(("", "a name")))

    async def version(self, project: str) -> None:
        """Create a version again or for the first time, or delete one version or all of its name."""
        object_id = f"n{self.rng.randrange(3)}"
        if self.rng.random() < 0.6:
            val = self.rng.choice((self.value(), [1, "é"], "text", None))
            await self.objects.create(version(val, project_id=project, object_id=object_id))
            return
        chosen = self.rng.choice((None, ["latest"], ["v0"]))
        try:
            await self.objects.delete(project, object_id, chosen)
        except NotFoundError:
            return  # no version exists, or it is already deleted

    async def table(self, project: str) -> None:
        """Create a table from rows or from digests that may be unknown, or update one."""
        known = self.known[project]
        match self.rng.randrange(3):
            case 1 if known:
                changes: list[TableUpdate] = [Append(self.value()), Pop(0), Append(self.value())]
                known.append(
                    (await self.tables.update(project, self.rng.choice(known), changes[: self.rng.choice((1, 3))]))[0]
                )
            case 2 if known:
                known.append(await self.tables.create_from_digests(project, [self.rng.choice("xyz") * 43] * 2))
            case _:
                rows = [self.value() for _ in range(self.rng.randint(1, 6))]
                known.append((await self.tables.create(project, rows))[0])

    async def file(self, project: str) -> None:
        """Store a small or large file, perhaps again."""
        content = self.rng.choice((b"", b"hello", b"x" * 300_000, b"%d" % self.rng.randrange(9)))
        await self.files.create_all(project, [NewFile.of(content)])


@pytest.mark.parametrize("seed", range(4))
async def test_sizes_equal_a_recount(database: Database, projects: ProjectsStore, seed: int) -> None:
    life = Life(database, seed)
    for _ in range(5):
        for _ in range(25):
            await life.step()
        found = await projects.sizes([PROJECT, OTHER, "acme/none"], SIZES)
        assert found["acme/none"] == NOTHING
        for project in (PROJECT, OTHER):
            assert found[project] == await recount(database, project)
            await check_numbers(database, project, life, found[project])
    assert all(found[PROJECT].values())


async def check_numbers(database: Database, project: str, life: Life, sizes: dict[str, int]) -> None:
    """Check sizes and counts of calls, traces, tables, files and projects against the raw documents."""
    documents = [call for call in await all_of(database.calls, project) if call.get("visible")]
    traces: Counter[str] = Counter()
    for call in documents:
        traces[call["trace_id"]] += call_size(call)
    expected = {
        call["id"]: (call_size(call), traces[call["trace_id"]] if "parent_id" not in call else None)
        for call in documents
    }
    page = await life.calls.page(project, PageRequest(), {"storage_size_bytes", "total_storage_size_bytes"})
    rows = {row["id"]: (row["storage_size_bytes"], row.get("total_storage_size_bytes")) for row in page.rows}
    assert rows == expected
    stats = await life.calls.stats(project, {"count", "total_storage_size_bytes"})
    assert (stats.count, stats.total_storage_size_bytes) == (
        len(documents),
        sum(all_ or 0 for _, all_ in rows.values()),
    )
    files = await all_of(database.files, project)
    assert await life.files.stats(project) == FilesStats(len(files), sizes["files_storage_size_bytes"])
    projects = ProjectsStore(database)
    assert await projects.count_calls([project]) == {project: len(documents)}
    visible = [one for one in await all_of(database.objects, project) if one["visible"]]
    assert await projects.count_objects([project]) == {project: len(visible)}
    row_sizes = {row["digest"]: text_size(row["json"]["val"]) for row in await all_of(database.table_rows, project)}
    for digest in life.known[project][-3:]:
        table = await database.tables.find_one({"project_id": project, "digest": digest})
        assert table is not None
        chunks = {chunk["digest"]: chunk["row_digests"] for chunk in await all_of(database.table_chunks, project)}
        members = [row for chunk in table["chunks"] for row in chunks[chunk]]
        [table_stats] = await life.tables.stats(project, [digest], ["count", "storage_size_bytes"])
        assert (table_stats["count"], table_stats["storage_size_bytes"]) == (
            len(members),
            sum(row_sizes.get(row, 0) for row in members),
        )


async def test_deleted_versions_have_no_size(projects: ProjectsStore, objects: ObjectsStore) -> None:
    async def size() -> int:
        sizes = await projects.sizes([PROJECT], frozenset({"objects_storage_size_bytes"}))
        size: int = sizes[PROJECT]["objects_storage_size_bytes"]
        return size

    for val in ("a" * 98, "b" * 48):
        await objects.create(version(val))
    assert await size() == 150

    await objects.delete(PROJECT, "prompt", ["v0"])
    assert await size() == 50

    await objects.delete(PROJECT, "prompt")
    assert await size() == 0


async def test_deleted_and_unstarted_calls_have_no_size(projects: ProjectsStore, calls: CallsStore) -> None:
    await calls.write([start(1, inputs={"a": 1}), start(2, inputs={"a": 1}), end(3, output="x")])
    await calls.delete(PROJECT, [call_id(1), call_id(9)])

    sizes = await projects.sizes([PROJECT], frozenset({"trace_storage_size_bytes"}))

    assert sizes == {PROJECT: {"trace_storage_size_bytes": len('{}{"a": 1}')}}


async def test_table_keeps_its_size_once_all_its_rows_exist(
    database: Database, projects: ProjectsStore, commands: Commands
) -> None:
    tables = TablesStore(database)
    _, [row] = await tables.create(OTHER, [{"a": 1}])
    digest = await tables.create_from_digests(PROJECT, [row, row])
    sizes: list[tuple[int, list[str]]] = []

    async def ask() -> None:
        commands.sent.clear()
        sizes.append(
            ((await tables.stats_of_one(PROJECT, digest, ["storage_size_bytes"]))["storage_size_bytes"], commands.names)
        )

    await ask()
    await tables.create(PROJECT, [{"a": 1}])
    await ask()
    await ask()

    assert [size for size, _ in sizes] == [0, 16, 16]
    assert [names for _, names in sizes] == [["find"] * 4, ["find"] * 5 + ["update"], ["find"]]
    assert (await projects.sizes([PROJECT], SIZES))[PROJECT]["tables_storage_size_bytes"] == 8


async def test_size_only_shrinks_while_calls_are_deleted(projects: ProjectsStore, calls: CallsStore) -> None:
    for root in range(0, 6000, 1500):  # a delete moves each call to another place in the index that is being read
        below = {"trace_id": trace_id(root), "parent_id": call_id(root)}
        await calls.write([start(root), *(start(number, **below) for number in range(root + 1, root + 1500))])
    wanted = frozenset({"trace_storage_size_bytes"})

    async def delete() -> None:
        for root in range(0, 6000, 1500):
            await calls.delete(PROJECT, [call_id(root)])

    deleting = asyncio.ensure_future(delete())
    read: list[int] = []
    while not deleting.done():
        read.append((await projects.sizes([PROJECT], wanted))[PROJECT]["trace_storage_size_bytes"])
    await deleting

    assert read[0] == 6000 * len("{}{}")
    assert read == sorted(read, reverse=True)
    assert len(read) > 5
    assert await projects.sizes([PROJECT], wanted) == {PROJECT: {"trace_storage_size_bytes": 0}}
    assert await calls.count(PROJECT) == 0


async def test_only_selected_sizes_are_read_in_one_query_for_all_projects(
    projects: ProjectsStore, calls: CallsStore, commands: Commands
) -> None:
    many = [f"acme/p{number}" for number in range(25)]
    await calls.write([start(number, project_id=project) for number, project in enumerate(many)])
    commands.sent.clear()

    assert await projects.sizes(many, SIZES) == {project: NOTHING | {"trace_storage_size_bytes": 4} for project in many}
    assert sorted(body[name] for name, body in commands.sent) == [
        *("calls", "files.files", "hour_marks", "objects", "table_rows")
    ]
    commands.sent.clear()

    assert await projects.sizes([many[3]], frozenset({"files_storage_size_bytes"})) == {
        many[3]: {"files_storage_size_bytes": 0}
    }
    assert await projects.sizes([many[3]], frozenset()) == {many[3]: {}}
    assert [body["aggregate"] for _, body in commands.sent] == ["files.files"]


async def test_invalid_project_id_is_refused(projects: ProjectsStore) -> None:
    for bad in ("acme", "acme/a/b", "acme/a:b", "", "x" * 1000 + "/y", "acme/\x00", "acme/\ud800"):
        with pytest.raises(BadInputError, match="is not a project id; write entity/project") as caught:
            await projects.sizes([bad], SIZES)
        assert caught.value.argument == "project_id"


@pytest.mark.not_on("cluster", reason="a shard reads documents unless the index has the shard key")
async def test_every_size_is_read_from_an_index_alone(
    database: Database, projects: ProjectsStore, calls: CallsStore, objects: ObjectsStore, commands: Commands
) -> None:
    for project in (PROJECT, OTHER):
        await calls.write([part(number, project_id=project) for number in range(300) for part in (start, end)])
        await TablesStore(database).create(project, [{"n": number} for number in range(300)])
        await FilesStore(database).create_all(project, [NewFile.of(b"%d" % number) for number in range(50)])
        for number in range(20):
            await objects.create(version(number, project_id=project))
    commands.sent.clear()

    await projects.sizes([PROJECT], SIZES)

    plans = {
        body["aggregate"]: await explain(database.calls.database[body["aggregate"]], body["pipeline"])
        for name, body in commands.sent.copy()
        if name == "aggregate"
    }
    assert {name: plan.indexes for name, plan in plans.items()} == {
        "calls": {"trace_id_started_at_id_storage_size_bytes"},
        "objects": {"created_at_id_size_bytes"},
        "table_rows": {"size_bytes"},
        "files.files": {"length"},
    }
    assert {name: plan.documents_examined for name, plan in plans.items()} == dict.fromkeys(plans, 0)
    assert {name: plan.keys_examined for name, plan in plans.items()} == {
        "calls": 300,
        "objects": 20,
        "table_rows": 300,
        "files.files": 50,
    }


async def test_trace_sizes_of_a_page_are_read_from_an_index_alone(
    database: Database, calls: CallsStore, commands: Commands
) -> None:
    traces: list[dict[str, Any]] = [
        {"trace_id": trace_id(number // 5), "parent_id": call_id(number // 5 * 5)} for number in range(1000)
    ]
    for number in range(0, 1000, 5):
        traces[number]["parent_id"] = None
    await calls.write([start(number, **place) for number, place in enumerate(traces)])
    await calls.page(PROJECT, PageRequest(50), {"total_storage_size_bytes"})

    plan = await explain(database.calls, commands.last("aggregate")["pipeline"])

    assert plan.indexes == {"trace_id_started_at_id_storage_size_bytes"}
    assert plan.documents_examined == 0
    assert plan.keys_examined < 100
