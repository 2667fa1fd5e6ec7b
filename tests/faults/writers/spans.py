"""A writer that exports spans, as programs instrumented with OpenTelemetry do."""

from collections.abc import AsyncIterator

from tests.app.calls_client import call_id
from tests.faults.client import FaultsClient, Json
from tests.faults.writers.writer import Writer

READ = """
query ($projectId: ID!, $traceIds: [ID!]) {
  calls(projectId: $projectId, first: 10000, filter: {traceIds: $traceIds}) { nodes { id opName status } }
}
"""
_FIRST = 2 * 10**9
_SPANS = 5
_NANOSECONDS = 1_772_352_000 * 10**9
_AT_ONCE = 200


class SpansWriter(Writer):
    """Exports one trace in each step. It retries every other rejected export unchanged, as exporters do."""

    def __init__(self, client: FaultsClient) -> None:
        super().__init__(client)
        self.acknowledged: list[int] = []

    async def step(self) -> None:
        number = self.next_number()
        spans = [_span(number, at) for at in range(_SPANS)]
        self.sent_things |= {("call", span["spanId"]) for span in spans}
        body = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
        await self.client.post("/v1/traces", body, project_id=self.client.project_id)
        self.acknowledged.append(number)

    async def lost(self) -> AsyncIterator[str]:
        for at in range(0, len(self.acknowledged), _AT_ONCE):
            numbers = self.acknowledged[at : at + _AT_ONCE]
            found = await self.client.ask(READ, traceIds=[_trace_id(number) for number in numbers])
            there = {node["id"]: (node["opName"], node["status"]) for node in found["calls"]["nodes"]}
            for span in (_span(number, at) for number in numbers for at in range(_SPANS)):
                if there.get(span["spanId"]) != (span["name"], "SUCCESS"):
                    yield f"span {span['spanId']} was acknowledged and is {there.get(span['spanId'])}"


def _span(number: int, at: int) -> Json:
    parent = {} if at == 0 else {"parentSpanId": call_id(_FIRST + number * _SPANS)}
    began = _NANOSECONDS + number * 10**6
    return {
        "traceId": _trace_id(number),
        "spanId": call_id(_FIRST + number * _SPANS + at),
        "name": f"span {number} {at}",
        "kind": 1,
        "startTimeUnixNano": str(began),
        "endTimeUnixNano": str(began + 10**6),
        **parent,
    }


def _trace_id(number: int) -> str:
    return f"{_FIRST + number:032d}"
