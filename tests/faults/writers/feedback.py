"""Writers of feedback on calls: one creates batches, another replaces feedback."""

import itertools
from collections.abc import AsyncIterator

from tests.app.calls_client import call_id
from tests.faults.client import FaultsClient, Json
from tests.faults.writers.writer import Writer, canonical_text

BATCH = "mutation ($batch: [FeedbackCreateReq!]!) { feedbackCreateBatch(batch: $batch) { res { id } } }"
ONE = """
mutation ($projectId: ID!, $ref: String!, $payload: JSON!) {
  feedbackCreate(projectId: $projectId, weaveRef: $ref, feedbackType: "told", payload: $payload) { id }
}
"""
REPLACE = """
mutation ($projectId: ID!, $old: ID!, $new: ID!, $ref: String!, $payload: JSON!) {
  feedbackReplace(
    projectId: $projectId, feedbackId: $old, id: $new, weaveRef: $ref, feedbackType: "told", payload: $payload
  ) { id }
}
"""
READ = """
query ($projectId: ID!, $after: String) {
  feedback(projectId: $projectId, first: 5000, after: $after) {
    nodes { id payload }
    pageInfo { hasNextPage endCursor }
  }
}
"""
_BATCH = 5


def call_ref(project_id: str, number: int) -> str:
    """Return the ref of a call."""
    return f"weave:///{project_id}/call/{call_id(number)}"


def new_feedback(ref: str, feedback_id: str, payload: object) -> Json:
    """Return feedback as the batch mutation takes it, without its project."""
    return {"weaveRef": ref, "feedbackType": "told", "id": feedback_id, "payload": payload}


async def all_feedback(client: FaultsClient) -> dict[str, object]:
    """Return the payloads of all feedback by id."""
    found: dict[str, object] = {}
    after, more = None, True
    while more:
        page = (await client.ask(READ, after=after))["feedback"]
        found |= {node["id"]: node["payload"] for node in page["nodes"]}
        more, after = page["pageInfo"]["hasNextPage"], page["pageInfo"]["endCursor"]
    return found


class _OnACall(Writer):
    """A writer of feedback on one call, which it creates first."""

    number = 0

    def __init__(self, client: FaultsClient) -> None:
        super().__init__(client)
        self._numbers = itertools.count()
        self._has_call = False

    async def ref(self) -> str:
        """Create the call if necessary and return its ref."""
        if not self._has_call:
            self.sent_things.add(("call", call_id(self.number)))
            await self.client.calls.create([self.number])
            self._has_call = True
        return call_ref(self.client.project_id, self.number)


class FeedbackWriter(_OnACall):
    """Creates batches with its own ids and single feedback with ids from the server.

    It retries every other rejected batch unchanged.
    """

    number = 10**9

    def __init__(self, client: FaultsClient) -> None:
        super().__init__(client)
        self.sent: list[dict[str, object]] = []
        self._again: dict[str, object] = {}
        self.acknowledged: dict[str, object] = {}

    async def step(self) -> None:
        number, ref = next(self._numbers), await self.ref()
        payloads, self._again = self._again, {}
        if not payloads:
            payloads = {f"batch-{number}-{at}": {"at": at, "of": number} for at in range(_BATCH)}
            self.sent.append(payloads)
            self.sent_things |= {("feedback", canonical_text(payload)) for payload in payloads.values()}
            self._again = payloads
        await self.client.ask(BATCH, batch=[self._new(ref, one, payload) for one, payload in payloads.items()])
        self._again = {}
        self.acknowledged |= payloads
        payload = {"single": number}
        self.sent_things.add(("feedback", canonical_text(payload)))
        made = await self.client.ask(ONE, ref=ref, payload=payload)
        self.acknowledged[made["feedbackCreate"]["id"]] = payload

    def _new(self, ref: str, feedback_id: str, payload: object) -> Json:
        return {"projectId": self.client.project_id, **new_feedback(ref, feedback_id, payload)}

    async def lost(self) -> AsyncIterator[str]:
        there = await all_feedback(self.client)
        for one, payload in self.acknowledged.items():
            if there.get(one) != payload:
                yield f"feedback {one} is {there.get(one)}"
        for payloads in self.sent:
            if len(payloads.keys() & there.keys()) not in {0, len(payloads)}:
                yield f"of a batch of feedback there is a part: {payloads.keys() & there.keys()}"


class ReplacingWriter(_OnACall):
    """Replaces one piece of feedback by the next.

    After a rejected request it cannot know which piece exists, and creates a new first one.
    """

    number = 10**9 + 1

    def __init__(self, client: FaultsClient) -> None:
        super().__init__(client)
        self.last: str | None = None
        self.replaced: set[str] = set()
        self.either: list[tuple[str, str]] = []
        self.payloads: dict[str, object] = {}

    async def step(self) -> None:
        ref, new = await self.ref(), f"replace-{next(self._numbers)}"
        old, self.last = self.last or await self._first(ref, f"first-{new}"), None
        self._will_send(new)
        self.either.append((old, new))
        await self.client.ask(REPLACE, old=old, new=new, ref=ref, payload=self.payloads[new])
        self.either.pop()
        self.replaced.add(old)
        self.last = new

    async def _first(self, ref: str, first: str) -> str:
        self._will_send(first)
        item = {"projectId": self.client.project_id, **new_feedback(ref, first, self.payloads[first])}
        await self.client.ask(BATCH, batch=[item])
        return first

    def _will_send(self, one: str) -> None:
        self.payloads[one] = {"is": one}
        self.sent_things.add(("feedback", canonical_text(self.payloads[one])))

    async def lost(self) -> AsyncIterator[str]:
        there = {one: payload for one, payload in (await all_feedback(self.client)).items() if one in self.payloads}
        for one in there.keys() & self.replaced:
            yield f"feedback {one} was replaced and is there"
        if self.last and self.last not in there:
            yield f"feedback {self.last} was acknowledged and is not there"
        for one, payload in there.items():
            if payload != self.payloads[one]:
                yield f"feedback {one} is {payload}"
        for old, new in self.either:
            if len({old, new} & there.keys()) != 1:
                yield f"of {old} and what was to replace it, {new}, there are {sorted({old, new} & there.keys())}"
