"""Writers that create and update tables."""

import asyncio
import itertools
from collections.abc import AsyncIterator

from tests.faults.client import FaultsClient, Json
from tests.faults.writers.writer import Writer, canonical_text

CREATE = """
mutation ($projectId: ID!, $rows: [JSON!]!) {
  tableCreate(table: {projectId: $projectId, rows: $rows}) { digest rowDigests }
}
"""
UPDATE = """
mutation ($projectId: ID!, $base: String!, $updates: [TableUpdateSpec!]!) {
  tableUpdate(projectId: $projectId, baseDigest: $base, updates: $updates) { digest }
}
"""
READ = """
query ($projectId: ID!, $digest: String!) {
  tableRows(projectId: $projectId, digest: $digest, first: 10000) { nodes { val } }
  tableStats(projectId: $projectId, digest: $digest) { count storageSizeBytes }
}
"""
_FEW, _MANY = 30, 1_500
_LARGE, _LARGE_TEXT = 40, "weft " * 12_000
_BETWEEN_SECONDS = 0.3


class TablesWriter(Writer):
    """Creates mostly small tables; every fifth one has several chunks.

    It retries every other rejected request unchanged.
    """

    def __init__(self, client: FaultsClient) -> None:
        super().__init__(client)
        self.tables: dict[str, list[Json]] = {}

    async def step(self) -> None:
        number = self.next_number()
        rows = [{"table": number, "row": row, "text": "warp " * 5} for row in range(_FEW if number % 5 else _MANY)]
        digest = await self._create(rows)
        last = {"table": number, "row": "last"}
        self._sends([*rows[1:], last])
        changes = [{"append": {"row": last}}, {"pop": {"index": 0}}]
        changed = (await self.client.ask(UPDATE, base=digest, updates=changes))["tableUpdate"]
        self.tables[changed["digest"]] = [*rows[1:], last]

    def _sends(self, rows: list[Json]) -> None:
        self.sent_things.add(("table", canonical_text([rows[0], rows[-1], len(rows)])))

    async def _create(self, rows: list[Json]) -> str:
        self._sends(rows)
        made = (await self.client.ask(CREATE, rows=rows))["tableCreate"]
        assert len(made["rowDigests"]) == len(rows)
        digest: str = made["digest"]
        self.tables[digest] = rows
        return digest

    async def lost(self) -> AsyncIterator[str]:
        for digest, rows in self.tables.items():
            found = await self.client.find(READ, digest=digest)
            if found is None:
                yield f"table {digest} was acknowledged and is not there"
                continue
            if [node["val"] for node in found["tableRows"]["nodes"]] != rows:
                yield f"table {digest} has not the rows that were acknowledged"
            if int(found["tableStats"]["count"]) != len(rows):
                yield f"table {digest} counts other rows than it has"


class LargeTablesWriter(TablesWriter):
    """Creates tables that are too large for one transaction; each shares half of its rows with the one before.

    It does not retry. The next table has only the second half of the rows in common.
    """

    def __init__(self, client: FaultsClient) -> None:
        super().__init__(client)
        self._starts = itertools.count()

    async def step(self) -> None:
        start = next(self._starts) * _LARGE // 2
        await self._create([{"large": row, "text": _LARGE_TEXT} for row in range(start, start + _LARGE)])
        await asyncio.sleep(_BETWEEN_SECONDS)
