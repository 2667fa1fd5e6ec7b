"""A writer that changes the display names of calls."""

from collections.abc import AsyncIterator

from tests.app.calls_client import call_id
from tests.faults.client import FaultsClient
from tests.faults.writers.writer import Writer

RENAME = """
mutation ($projectId: ID!, $callId: ID!, $name: String!) {
  callUpdate(projectId: $projectId, callId: $callId, displayName: $name) { __typename }
}
"""
READ = "query ($projectId: ID!, $callId: ID!) { call(projectId: $projectId, id: $callId) { displayName } }"
_FIRST = 10**9 + 2
_CALLS = 3


class NamesWriter(Writer):
    """Renames a few calls in turn. It retries every other rejected request unchanged."""

    def __init__(self, client: FaultsClient) -> None:
        super().__init__(client)
        self.sent_things |= {("call", call_id(_FIRST + at)) for at in range(_CALLS)}
        self.may_be: dict[int, set[str | None]] = {}
        """Possible names of each call: the last acknowledged one, and all that the writer sent since."""

    async def step(self) -> None:
        number = self.next_number()
        call = _FIRST + number % _CALLS
        if call not in self.may_be:
            await self.client.calls.create([call])
            self.may_be[call] = {None}
        name = f"name {number}"
        self.may_be[call].add(name)
        await self.client.ask(RENAME, callId=call_id(call), name=name)
        self.may_be[call] = {name}

    async def lost(self) -> AsyncIterator[str]:
        for call, names in self.may_be.items():
            found = (await self.client.ask(READ, callId=call_id(call)))["call"]
            if found is None or found["displayName"] not in names:
                yield f"call {call} is {found}, and not one of {names}"
