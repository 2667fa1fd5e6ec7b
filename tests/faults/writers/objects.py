"""Who makes versions of a few objects."""

import itertools
from collections.abc import AsyncIterator

from tests.faults.client import FaultsClient
from tests.faults.writers.writer import Writer, told

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
_NAMES = 3


class ObjectsWriter(Writer):
    """Each version of a name is another value."""

    def __init__(self, client: FaultsClient) -> None:
        super().__init__(client)
        self._numbers = itertools.count()
        self.versions: dict[tuple[str, str], object] = {}

    async def step(self) -> None:
        number = next(self._numbers)
        name, val = f"object-{number % _NAMES}", {"number": number}
        self.sent_things.add(("object", told(val)))
        made = await self.client.ask(CREATE, name=name, val=val)
        self.versions[name, made["objCreate"]["digest"]] = val

    async def lost(self) -> AsyncIterator[str]:
        for (name, digest), val in self.versions.items():
            found = await self.client.find(READ, name=name, digest=digest)
            if found is None:
                yield f"{name}:{digest} was acknowledged and is not there"
            elif found["obj"]["val"] != val:
                yield f"{name}:{digest} is {found['obj']['val']}"
