"""Who creates tables and changes them."""

import itertools
from collections.abc import AsyncIterator

from tests.faults.client import FaultsClient, Json
from tests.faults.writers.writer import Writer

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


class TablesWriter(Writer):
    """Most of its tables are small; each fifth has several chunks."""

    def __init__(self, client: FaultsClient) -> None:
        super().__init__(client)
        self._numbers = itertools.count()
        self.tables: dict[str, list[Json]] = {}

    async def step(self) -> None:
        number = next(self._numbers)
        rows = [{"table": number, "row": row, "text": "warp " * 5} for row in range(_FEW if number % 5 else _MANY)]
        made = (await self.client.ask(CREATE, rows=rows))["tableCreate"]
        assert len(made["rowDigests"]) == len(rows)
        self.tables[made["digest"]] = rows
        last = {"table": number, "row": "last"}
        changes = [{"append": {"row": last}}, {"pop": {"index": 0}}]
        changed = (await self.client.ask(UPDATE, base=made["digest"], updates=changes))["tableUpdate"]
        self.tables[changed["digest"]] = [*rows[1:], last]

    async def lost(self) -> AsyncIterator[str]:
        for digest, rows in self.tables.items():
            found = await self.client.ask(READ, digest=digest)
            if [node["val"] for node in found["tableRows"]["nodes"]] != rows:
                yield f"table {digest} has not the rows that were acknowledged"
            if int(found["tableStats"]["count"]) != len(rows):
                yield f"table {digest} counts other rows than it has"
