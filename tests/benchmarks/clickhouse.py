"""ClickHouse in this process (chDB), with LoomQL's calls in a table as its experts would lay it out.

The table is sorted by project and time. Columns that LoomQL computes are columns, and payloads are of ClickHouse's type
JSON, which stores each path as a column. Prices are a table, because they may change after a call is stored.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Self

import orjson

from stores.database import Document
from tests.benchmarks.spans import PRICES

IS_INSTALLED: Final = find_spec("chdb") is not None
WITHOUT: Final = "ClickHouse is not installed: pip install -e '.[clickhouse]'"

_TEXTS: Final = ("project_id", "id", "trace_id", "op_name", "status")
_OPTIONAL_TEXTS: Final = ("parent_id", "thread_id", "turn_of", "kind", "model")
_NUMBERS: Final = ("latency_ms", "storage_size_bytes")
_PAYLOADS: Final = ("attributes", "inputs", "output", "summary")
_COLUMNS: Final = """
    project_id LowCardinality(String), id String, trace_id String, op_name LowCardinality(String),
    status LowCardinality(String), parent_id String, thread_id String, turn_of String, kind LowCardinality(String),
    model LowCardinality(String), latency_ms UInt32, storage_size_bytes UInt32,
    started_at {time}, ended_at {time}, prompt_tokens UInt32, completion_tokens UInt32,
    attributes JSON, inputs JSON, output JSON, summary JSON"""
_TABLE: Final = " ".join(
    [
        "CREATE TABLE {calls:Identifier} (",
        _COLUMNS.format(time="DateTime64(6, 'UTC')"),
        ") ENGINE = MergeTree ORDER BY (project_id, started_at, id)",
    ]
)
_INSERT: Final = """
    INSERT INTO {calls:Identifier}
    SELECT * REPLACE (fromUnixTimestamp64Micro(started_at, 'UTC') AS started_at,
                      fromUnixTimestamp64Micro(ended_at, 'UTC') AS ended_at)
    FROM file({path:String}, 'JSONEachRow', {columns:String})"""
_NO_CONDITION_CACHE: Final = "SET use_query_condition_cache = 0"
"""ClickHouse would otherwise remember which parts of a table a condition matches, and read only these the next time."""
_PRICES: Final = "CREATE TABLE prices (model String, prompt Float64, completion Float64) ENGINE = Memory"
_PRICE: Final = "INSERT INTO prices VALUES ({model:String}, {prompt:Float64}, {completion:Float64})"
_MERGE: Final = "OPTIMIZE TABLE {calls:Identifier} FINAL"
_BYTES: Final = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = {calls:String}"
_ROWS_AT_ONCE: Final = 20_000


def row_of(call: Document) -> bytes:
    """Return the line of a call for a table's `add`."""
    usage = call["usage"][0] if "usage" in call else {}
    row: Document = {name: call[name] for name in (*_TEXTS, *_NUMBERS, "started_at", "ended_at")}
    row |= {name: call.get(name, "") for name in _OPTIONAL_TEXTS}
    row |= {name: usage.get(name, 0) for name in ("prompt_tokens", "completion_tokens")}
    row |= {name: orjson.Fragment(call["json"][name]) for name in _PAYLOADS}
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


class ClickHouse:
    """The ClickHouse of this process over a folder. chDB allows only one at a time."""

    def __init__(self, folder: Path) -> None:
        self._session = import_module("chdb.session").Session(str(folder / "clickhouse"))
        self.folder = folder
        self.ask(_NO_CONDITION_CACHE)
        self.ask(_PRICES)
        for model, (prompt, completion) in PRICES.items():
            self.ask(_PRICE, model=model, prompt=prompt, completion=completion)

    def ask(self, sql: str, **parameters: object) -> list[list[Any]]:
        """Run a statement and return its rows."""
        answer = self._session.query(sql, "JSONCompactEachRow", params=parameters)
        return [orjson.loads(line) for line in answer.bytes().splitlines()]

    def close(self) -> None:
        """Close the databases."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Table:
    """A table of calls, which is loaded line by line."""

    def __init__(self, clickhouse: ClickHouse, name: str) -> None:
        self._clickhouse, self._name = clickhouse, name
        self._rows: list[bytes] = []
        self.ask(_TABLE)

    def ask(self, sql: str, **parameters: object) -> list[list[Any]]:
        """Run a statement, whose parameter `calls` is this table, and return its rows."""
        return self._clickhouse.ask(sql, calls=self._name, **parameters)

    def add(self, row: bytes) -> None:
        """Add a line of `row_of`."""
        self._rows.append(row)
        if len(self._rows) == _ROWS_AT_ONCE:
            self._insert()

    def settle(self) -> None:
        """Insert the last rows and merge the table into one part, as ClickHouse does in time."""
        self._insert()
        self.ask(_MERGE)

    def size_bytes(self) -> int:
        """Return the compressed size of the table and its primary index."""
        [[size]] = self.ask(_BYTES)
        return int(size)

    def _insert(self) -> None:
        path = self._clickhouse.folder / "rows.jsonl"
        path.write_bytes(b"".join(self._rows))
        self._rows.clear()
        self.ask(_INSERT, path=str(path), columns=" ".join(_COLUMNS.format(time="Int64").split()))
