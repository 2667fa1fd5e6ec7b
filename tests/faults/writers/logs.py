"""A writer that exports log records, as coding agents and programs with the events of OpenTelemetry do."""

from collections.abc import AsyncIterator

from stores.otel.logs import derived_id
from tests.app.calls_client import call_id
from tests.faults.client import FaultsClient, Json
from tests.faults.writers.writer import Writer

READ = """
query ($projectId: ID!, $threadIds: [String!], $spanIds: [ID!]) {
  agents: calls(projectId: $projectId, first: 10000, filter: {threadIds: $threadIds}) {
    nodes { threadId inputs output }
  }
  spans: calls(projectId: $projectId, first: 10000, filter: {callIds: $spanIds}) { nodes { id inputs finishReasons } }
}
"""
_FIRST = 3 * 10**9
_NANOSECONDS = 1_772_352_000 * 10**9
_AT_ONCE = 200


class LogsWriter(Writer):
    """Exports a prompt of an agent with its response, and a span with messages that are logged before or after it.

    It retries every other rejected step unchanged, as exporters do.
    """

    def __init__(self, client: FaultsClient) -> None:
        super().__init__(client)
        self.acknowledged: list[int] = []

    async def step(self) -> None:
        number = self.next_number()
        logs = "/v1/logs", {"resourceLogs": [{"scopeLogs": [{"logRecords": _records(number)}]}]}
        spans = "/v1/traces", {"resourceSpans": [{"scopeSpans": [{"spans": [_span(number)]}]}]}
        self.sent_things |= {("call", one) for one in (_span_id(number), *_agent_calls(number))}
        for path, body in (logs, spans) if number % 2 else (spans, logs):
            await self.client.post(path, body, project_id=self.client.project_id)
        self.acknowledged.append(number)

    async def lost(self) -> AsyncIterator[str]:
        for at in range(0, len(self.acknowledged), _AT_ONCE):
            numbers = self.acknowledged[at : at + _AT_ONCE]
            ids = {"threadIds": list(map(_session, numbers)), "spanIds": list(map(_span_id, numbers))}
            found = await self.client.ask(READ, **ids)
            prompts = {node["threadId"]: str(node) for node in found["agents"]["nodes"]}
            spans = {node["id"]: node for node in found["spans"]["nodes"]}
            for number in numbers:
                prompt = prompts.get(_session(number), "")
                if f"prompt {number}" not in prompt or f"response {number}" not in prompt:
                    yield f"the prompt {number} was acknowledged and is {prompt}"
                span = spans.get(_span_id(number))
                if not span or f"message {number}" not in str(span["inputs"]) or span["finishReasons"] != ["stop"]:
                    yield f"the messages of span {number} were acknowledged and are {span}"


def _records(number: int) -> list[Json]:
    of_span = {"traceId": _trace_id(number), "spanId": _span_id(number)}
    choice = {"finish_reason": "stop", "content": "answer"}
    return [
        _record("claude_code.user_prompt", _of_agent(number, prompt=f"prompt {number}")),
        _record("claude_code.assistant_response", _of_agent(number, response=f"response {number}", request_id="r")),
        _record("gen_ai.user.message", {"content": f"message {number}"}) | of_span,
        _record("gen_ai.choice", choice) | of_span,
    ]


def _of_agent(number: int, **more: str) -> dict[str, str]:
    return {"session.id": _session(number), "prompt.id": "p", **more}


def _agent_calls(number: int) -> list[str]:
    """Return the ids of the prompt, and of the request of which only the response is known."""
    of_prompt = "Claude Code", _session(number), "p"
    return [derived_id(16, *of_prompt), derived_id(16, *of_prompt, "request r")]


def _record(name: str, attributes: dict[str, str]) -> Json:
    pairs = [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()]
    return {"timeUnixNano": str(_NANOSECONDS), "eventName": name, "attributes": pairs}


def _span(number: int) -> Json:
    return {
        "traceId": _trace_id(number),
        "spanId": _span_id(number),
        "name": f"chat {number}",
        "kind": 3,
        "startTimeUnixNano": str(_NANOSECONDS),
        "endTimeUnixNano": str(_NANOSECONDS + 10**6),
    }


def _session(number: int) -> str:
    return f"session {number}"


def _span_id(number: int) -> str:
    return call_id(_FIRST + number)


def _trace_id(number: int) -> str:
    return f"{_FIRST + number:032d}"
