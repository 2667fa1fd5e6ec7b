"""The server and the floor return the same answers, so that their times are comparable."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient

from tests.benchmarks import floor
from tests.benchmarks.bench import Bench
from tests.benchmarks.loading import load_stock
from tests.benchmarks.reading import check, measure_reads
from tests.benchmarks.reads import FULL, newest, reads
from tests.benchmarks.servers import server
from tests.benchmarks.sides import Connection
from tests.benchmarks.stock import id_of

COUNT = 1000
DEPTH = 500


@pytest.fixture
def bench(mongodb_uri: str, database_name: str, tmp_path: Path) -> Iterator[Bench]:
    load_stock(mongodb_uri, database_name, COUNT)
    floor.make_nested(mongodb_uri, database_name)
    with (
        server(tmp_path, mongodb_uri, database_name) as started,
        floor.opened(mongodb_uri, database_name) as (runner, nested),
    ):
        yield Bench(started, started, runner, nested, rounds=1)


def test_each_case_reads_the_same_rows_as_the_floor(bench: Bench) -> None:
    section = measure_reads(bench, COUNT, DEPTH)

    assert {"list 1,000, 22 fields", "trace of 200 calls, slim", f"page of 100 at {DEPTH} by cursor"} < section.keys()
    for name, row in section.items():
        assert row.loomql_ms, name
        assert row.loomql_cpu_ms, name
        assert row.ratio, name


def test_single_differing_value_is_detected(bench: Bench, mongodb_uri: str, database_name: str) -> None:
    case = newest("list", 50, FULL)
    with Connection(bench.compiled.url) as connection, MongoClient[dict[str, object]](mongodb_uri) as client:
        check(bench, connection, case)
        changed = client[database_name][floor.NESTED].update_one(
            {"id": id_of(COUNT - 20)}, {"$inc": {"inputs.order.items": 1}}
        )

        assert changed.modified_count == 1
        with pytest.raises(AssertionError, match="differ"):
            check(bench, connection, case)


def test_each_case_has_a_unique_name() -> None:
    names = [case.name for case in reads(COUNT, "", DEPTH)]

    assert len(set(names)) == len(names)
    assert len([name for name in names if name.startswith("list")]) == 6
