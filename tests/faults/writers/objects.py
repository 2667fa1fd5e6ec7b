"""Writers that create versions of objects and delete some."""

from collections.abc import AsyncIterator

from tests.faults.client import FaultsClient
from tests.faults.writers.writer import Writer, canonical_text

CREATE = """
mutation ($projectId: ID!, $name: String!, $val: JSON!) {
  objCreate(obj: {projectId: $projectId, objectId: $name, val: $val}) { digest }
}
"""
READ = """
query ($projectId: ID!, $name: String!, $digest: String!) {
  obj(projectId: $projectId, objectId: $name, digest: $digest) { val }
}
"""
DELETE = """
mutation ($projectId: ID!, $name: String!, $digests: [String!]) {
  objDelete(projectId: $projectId, objectId: $name, digests: $digests) { numDeleted }
}
"""
_NAMES = 3


class ObjectsWriter(Writer):
    """Creates versions of a few objects, each with a new value. It retries every other rejected request unchanged."""

    def __init__(self, client: FaultsClient) -> None:
        super().__init__(client)
        self.versions: dict[tuple[str, str], object] = {}

    async def step(self) -> None:
        number = self.next_number()
        name, val = f"object-{number % _NAMES}", {"number": number}
        self.sent_things.add(("object", canonical_text(val)))
        made = await self.client.ask(CREATE, name=name, val=val)
        self.versions[name, made["objCreate"]["digest"]] = val

    async def lost(self) -> AsyncIterator[str]:
        for (name, digest), val in self.versions.items():
            found = await self.client.find(READ, name=name, digest=digest)
            if found is None:
                yield f"{name}:{digest} was acknowledged and is not there"
            elif found["obj"]["val"] != val:
                yield f"{name}:{digest} is {found['obj']['val']}"


class DeletedVersionsWriter(Writer):
    """Creates two versions of an object and deletes the second, or both.

    It does not retry: the server rejects the deletion of a deleted version.
    """

    def __init__(self, client: FaultsClient) -> None:
        super().__init__(client)
        self._count = 0
        self.kept: dict[str, str] = {}
        self.deleted: list[tuple[str, str]] = []

    async def step(self) -> None:
        self._count += 1
        name, takes_all = f"deleted-{self._count}", self._count % 2 == 0
        first, second = [await self._create(name, {"name": name, "version": at}) for at in range(2)]
        await self.client.ask(DELETE, name=name, digests=[] if takes_all else [second])
        self.deleted += [(name, second), *([(name, first)] if takes_all else [])]
        if not takes_all:
            self.kept[name] = first

    async def _create(self, name: str, val: object) -> str:
        self.sent_things.add(("object", canonical_text(val)))
        digest: str = (await self.client.ask(CREATE, name=name, val=val))["objCreate"]["digest"]
        return digest

    async def lost(self) -> AsyncIterator[str]:
        for name, digest in self.kept.items():
            if await self.client.find(READ, name=name, digest=digest) is None:
                yield f"{name}:{digest} was not deleted and is not there"
        for name, digest in self.deleted:
            if await self.client.find(READ, name=name, digest=digest) is not None:
                yield f"{name}:{digest} was deleted and is there"
