"""A server stores the requests as the same documents that the floor writes."""

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.benchmarks.ingest import bodies_of, documents_of, pairs_of_stock
from tests.benchmarks.servers import server
from tests.benchmarks.sides import Connection

COUNT = 30


@pytest.mark.parametrize("apart", [False, True], ids=["whole", "apart"])
def test_both_sides_write_the_same(mongodb_uri: str, database_name: str, tmp_path: Path, *, apart: bool) -> None:
    pairs = list(islice(pairs_of_stock(), COUNT))
    inserts, updates = documents_of(pairs, apart=apart)

    with server(tmp_path, mongodb_uri, database_name) as started, Connection(started.url) as connection:
        answers = [connection.ask(body)["callCreateBatch"]["res"] for body in bodies_of(pairs, apart=apart)]
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        database = client[database_name]
        database["nested"].insert_many(inserts)
        for update in updates:
            database["nested"].update_one(update._filter, update._doc)
        stored = list(database["calls"].find(sort={"_id": 1}))
        expected = list(database["nested"].find(sort={"_id": 1}))

    assert [len(answer) for answer in answers] == ([COUNT, COUNT] if apart else [2 * COUNT])
    assert len(stored) == COUNT
    assert stored == expected
