"""Writers of calls: in whole batches, in separate parts, and with deletion; and a reader of calls."""

import itertools
from collections.abc import AsyncIterator

from tests.app.calls_client import call_id, number_of, running_call, whole_call
from tests.faults.client import FaultsClient, Json
from tests.faults.writers.feedback import BATCH, call_ref, new_feedback
from tests.faults.writers.writer import Writer, canonical_text

_numbers = itertools.count(1)
_BATCH = 20


class _CallsWriter(Writer):
    """A writer that records the numbers of the calls that it sent, and of those that were acknowledged."""

    def __init__(self, client: FaultsClient) -> None:
        super().__init__(client)
        self.sent: set[int] = set()
        self.started: set[int] = set()
        self.ended: set[int] = set()

    async def lost(self) -> AsyncIterator[str]:
        nodes = await self._numbered()
        there = {number_of(node): node for node in nodes if number_of(node) in self.sent}
        for number in self.started - self.gone() - there.keys():
            yield f"call {number} was acknowledged and is not there"
        may_run = self.sent - self.ended if self.sends_parts else set[int]()
        for number, node in there.items():
            if node != whole_call(number) and not (number in may_run and node == running_call(number)):
                yield f"call {number} is neither whole nor absent: {node}"

    sends_parts = False

    async def _numbered(self) -> list[Json]:
        """Return the calls in the project whose ids are numbers, unlike those that follow from log records."""
        return [node for node in await self.client.calls.read(1000) if node["id"].isdecimal()]

    def gone(self) -> set[int]:
        """Return the numbers of calls that may be deleted."""
        return set()

    def _fresh(self, count: int) -> list[int]:
        numbers = list(itertools.islice(_numbers, count))
        self.sent |= set(numbers)
        self.sent_things |= {("call", call_id(number)) for number in numbers}
        return numbers


class BatchWriter(_CallsWriter):
    """Writes whole calls, start and end in one request. It retries every other rejected request unchanged."""

    def __init__(self, client: FaultsClient) -> None:
        super().__init__(client)
        self._again: list[int] = []

    async def step(self) -> None:
        numbers, self._again = self._again, []
        if not numbers:
            numbers = self._fresh(_BATCH)
            self._again = numbers
        await self.create(numbers)
        self._again = []
        self.started |= set(numbers)
        self.ended |= set(numbers)

    async def create(self, numbers: list[int]) -> None:
        """Write the calls in one request."""
        await self.client.calls.create(numbers)


class PartsWriter(_CallsWriter):
    """Writes a call as an instrumented program does: the start, then the end."""

    sends_parts = True

    async def step(self) -> None:
        (number,) = self._fresh(1)
        await self.client.calls.start(number)
        self.started.add(number)
        await self.client.calls.end(number)
        self.ended.add(number)


class DeletingWriter(_CallsWriter):
    """Writes a call with four descendants, adds feedback to two of the five, and deletes the root."""

    def __init__(self, client: FaultsClient) -> None:
        super().__init__(client)
        self.sent_to_delete: set[int] = set()
        self.deleted: set[int] = set()

    async def step(self) -> None:
        numbers = self._fresh(5)
        await self.client.calls.create(numbers, of_one_trace=True)
        self.started |= set(numbers)
        self.ended |= set(numbers)
        await self._give_feedback(numbers[:2])
        self.sent_to_delete |= set(numbers)
        await self.client.calls.delete(numbers[:1])
        self.deleted |= set(numbers)

    async def _give_feedback(self, numbers: list[int]) -> None:
        self.sent_things |= {("feedback", canonical_text({"on": number})) for number in numbers}
        project_id = self.client.project_id
        batch = [new_feedback(call_ref(project_id, number), f"on-{number}", {"on": number}) for number in numbers]
        await self.client.ask(BATCH, batch=[{"projectId": project_id, **one} for one in batch])

    def gone(self) -> set[int]:
        return self.sent_to_delete

    async def lost(self) -> AsyncIterator[str]:
        async for sentence in super().lost():
            yield sentence
        for number in {number_of(node) for node in await self._numbered()} & self.deleted:
            yield f"call {number} was deleted and is there"


class Reader(Writer):
    """Reads a page of calls and their count."""

    READ = """
    query ($projectId: ID!) {
      calls(projectId: $projectId, first: 20) { nodes { id inputs feedback { nodes { id } } } }
      callsStats(projectId: $projectId) { count }
    }
    """

    async def step(self) -> None:
        await self.client.ask(self.READ)
