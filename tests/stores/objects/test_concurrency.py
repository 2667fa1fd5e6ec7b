"""Tests that a name stays consistent when several processes write it and some are killed."""

import asyncio
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from stores.database import Database
from stores.objects import ObjectsStore
from stores.paging import PageRequest
from tests.stores.calls.builders import PROJECT
from tests.stores.objects.builders import version

ROOT = Path(__file__).parents[3]

WRITER = """
import asyncio, sys
from stores.database import Database
from stores.objects import ObjectsStore, ObjectVersion

uri, name, writer, count = sys.argv[1:]

async def write():
    store = ObjectsStore(Database.open(uri, name))
    for number in range(int(count)):
        await store.create(ObjectVersion("acme/chat", "prompt", {"by": writer, "n": number}))
        print(number, flush=True)

asyncio.run(write())
"""

DYING_WRITER = """
import asyncio, sys
from stores.database import Database
from stores.objects import ObjectVersion, documents
from stores.objects.store import NameWriter

async def write():
    database = Database.open(*sys.argv[1:])
    document = documents.new_document(ObjectVersion("acme/chat", "prompt", "lost").checked(), "object")

    async def create(session):
        await NameWriter(database, session, "acme/chat", "object", "prompt").create(document)
        print("written", flush=True)
        await asyncio.sleep(100)

    await database.transaction(create)

asyncio.run(write())
"""


def python(script: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def writer(uri: str, database_name: str, name: str, count: int) -> "subprocess.Popen[str]":
    return python(WRITER, uri, database_name, name, str(count))


async def everything(objects: ObjectsStore) -> list[dict[str, Any]]:
    wanted = {"digest", "version_index", "is_latest", "val"}
    page = await objects.page(PROJECT, PageRequest(size=1000), wanted)
    return sorted(page.rows, key=lambda row: int(row["version_index"]))


def check_whole(rows: list[dict[str, Any]], count: int) -> None:
    assert [row["version_index"] for row in rows] == list(range(count))
    assert len({row["digest"] for row in rows}) == count
    assert [row["is_latest"] for row in rows] == [0] * (count - 1) + [1]


async def test_concurrent_creates_leave_unique_indexes_and_one_latest(objects: ObjectsStore) -> None:
    digests = await asyncio.gather(*(objects.create(version({"n": number})) for number in range(100)))

    rows = await everything(objects)
    check_whole(rows, 100)
    assert {row["digest"] for row in rows} == set(digests)


async def test_concurrent_creates_by_ten_clients_are_consistent(
    mongodb_uri: str, database_name: str, objects: ObjectsStore
) -> None:
    databases = [Database.open(mongodb_uri, database_name) for _ in range(10)]
    stores = [ObjectsStore(database) for database in databases]

    digests = await asyncio.gather(*(stores[number % 10].create(version({"n": number})) for number in range(100)))

    for database in databases:
        database.close()
    rows = await everything(objects)
    check_whole(rows, 100)
    assert {row["digest"] for row in rows} == set(digests)


async def test_concurrent_creates_of_one_value_make_one_version(objects: ObjectsStore) -> None:
    digests = await asyncio.gather(*(objects.create(version({"n": number % 4})) for number in range(40)))

    rows = await everything(objects)
    assert len(rows) == len(set(digests)) == 4
    assert [row["version_index"] for row in rows] == [0, 1, 2, 3]
    assert sum(row["is_latest"] for row in rows) == 1


async def test_concurrent_creates_and_deletes_leave_one_latest(objects: ObjectsStore) -> None:
    first = [await objects.create(version({"n": number})) for number in range(20)]

    await asyncio.gather(
        *(objects.delete(PROJECT, "prompt", [digest]) for digest in first),
        *(objects.create(version({"n": number})) for number in range(20, 40)),
    )

    rows = await everything(objects)
    assert [row["version_index"] for row in rows] == list(range(20, 40))
    assert sum(row["is_latest"] for row in rows) == 1


async def test_concurrent_deletes_delete_each_version_once(objects: ObjectsStore) -> None:
    plain = [await objects.create(version({"n": number})) for number in range(8)]
    ops = [await objects.create(version({"_type": "Op", "n": number})) for number in range(8)]

    deleted = await asyncio.gather(
        *(objects.delete(PROJECT, "prompt", [op, digest]) for digest, op in zip(plain[:4], ops[:4], strict=True)),
        *(objects.delete(PROJECT, "prompt", [op], "op") for op in ops[4:]),
        *(objects.create(version({"n": number})) for number in range(8, 12)),
    )

    assert [count for count in deleted if isinstance(count, int)] == [2, 2, 2, 2, 1, 1, 1, 1]
    rows = await everything(objects)
    assert {row["kind"] for row in rows} == {"object"}
    assert [row["version_index"] for row in rows] == list(range(4, 12))
    assert sum(row["is_latest"] for row in rows) == 1


async def test_several_processes_write_one_name(mongodb_uri: str, database_name: str, objects: ObjectsStore) -> None:
    writers = [writer(mongodb_uri, database_name, str(number), 25) for number in range(4)]

    codes = await asyncio.gather(*(finished(process) for process in writers))

    assert codes == [(0, 25)] * 4
    check_whole(await everything(objects), 100)


async def finished(process: "subprocess.Popen[str]") -> tuple[int, int]:
    with process:
        answered, _ = await asyncio.to_thread(process.communicate)
    return process.returncode, len(answered.splitlines())


async def test_killed_writers_leave_a_consistent_name(
    mongodb_uri: str, database_name: str, objects: ObjectsStore
) -> None:
    moments = random.Random(5)
    answered: set[tuple[str, int]] = set()
    for life in range(4):
        with writer(mongodb_uri, database_name, str(life), 10_000) as process:
            assert process.stdout
            lines = [await asyncio.to_thread(process.stdout.readline)]
            await asyncio.sleep(moments.uniform(0.05, 0.3))
            process.kill()
            lines += process.stdout.readlines()
        answered |= {(str(life), int(line)) for line in lines if line.endswith("\n")}
        # The killed writer's locks are free again.
        await objects.create(version({"by": "last", "n": life}))

    rows = await everything(objects)
    check_whole(rows, len(rows))
    values = [json.loads(row["json"]["val"]) for row in rows]
    assert answered <= {(value["by"], value["n"]) for value in values}
    assert {life for life, _ in answered} == {"0", "1", "2", "3"}


async def test_writer_killed_in_a_transaction_does_not_block_others(
    mongodb_uri: str, database_name: str, objects: ObjectsStore
) -> None:
    first = await objects.create(version(1))
    with python(DYING_WRITER, mongodb_uri, database_name) as process:
        assert process.stdout
        assert await asyncio.to_thread(process.stdout.readline) == "written\n"
        process.kill()

    second = await objects.create(version(2))

    rows = await everything(objects)
    assert [row["digest"] for row in rows] == [first, second]
    check_whole(rows, 2)
