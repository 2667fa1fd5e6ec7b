"""Recordings, how they are sent to LoomQL, and the reading of the calls that result."""

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import httpx

PAYLOADS: Final = Path(__file__).parent / "payloads"
_RECORDED_PROJECT: Final = "acme/recorded"
_QUERY: Final = """
    query Reading($projectId: ID!, $filter: CallsFilter) {
      calls(projectId: $projectId, filter: $filter, first: 1000) {
        nodes {
          id kind model provider userId threadId tags environment release errorType finishReasons totalCost
          usage { uncachedInputTokens cacheReadTokens inputTokens outputTokens promptTokens completionTokens }
          messages { ...Message }
          outputMessages { ...Message }
        }
      }
    }
    fragment Message on ChatMessage {
      role
      parts {
        __typename
        ... on TextPart { text }
        ... on ReasoningPart { text }
        ... on RefusalPart { text }
        ... on ImagePart { mediaType url ref data }
        ... on AudioPart { mediaType }
        ... on FilePart { name }
        ... on ToolCallPart { id name arguments }
        ... on ToolResultPart { id result }
      }
    }
"""


@dataclass(frozen=True)
class Recording:
    """One recorded payload."""

    path: Path

    def __str__(self) -> str:
        """Return sender, library and case."""
        return str(self.path.relative_to(PAYLOADS).with_suffix(""))

    @cached_property
    def content(self) -> dict[str, Any]:
        """Return the file's content."""
        found: dict[str, Any] = json.loads(self.path.read_text())
        return found

    @property
    def expected(self) -> dict[str, dict[str, Any]]:
        """Return the expected readings by call, named by span or op."""
        found: dict[str, dict[str, Any]] = self.content["expected"]
        return found

    def ids(self) -> dict[str, str]:
        """Return the ids of the calls by name, with `#2` for the second of a name by start."""
        seen: Counter[str] = Counter()
        named: dict[str, str] = {}
        for _start, name, id_ in sorted(self._spans() if self.content["protocol"] == "otlp" else self._starts()):
            seen[name] += 1
            named[f"{name}#{seen[name]}" if seen[name] > 1 else name] = id_
        return named

    def _spans(self) -> Iterator[tuple[str, str, str]]:
        for resource in self.content["request"].get("resourceSpans", ()):
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    yield span["startTimeUnixNano"], span["name"], span["spanId"]

    def _starts(self) -> Iterator[tuple[str, str, str]]:
        for request in self.content["request"]:
            for item in request["body"].get("batch", [request["body"]]):
                call = item.get("req", item)
                call = call.get("start", call)
                if "op_name" in call:
                    yield call["started_at"], call["op_name"].rpartition("/op/")[2].partition(":")[0], call["id"]


RECORDINGS: Final = sorted((Recording(path) for path in PAYLOADS.rglob("*.json")), key=str)


def new_project() -> str:
    """Return the id of a project that does not exist."""
    return f"acme/recorded-{uuid.uuid4().hex}"


@dataclass(frozen=True)
class Replay:
    """A client of a server."""

    client: httpx.Client

    def send(self, recording: Recording, project_id: str = "") -> str:
        """Send a recording to a project, or to a new one; return the project's id."""
        project_id = project_id or new_project()
        if recording.content["protocol"] == "weave":
            for request in json.loads(json.dumps(recording.content["request"]).replace(_RECORDED_PROJECT, project_id)):
                answer = self.client.post(request["path"], json=request["body"])
                assert answer.status_code == 200, answer.text
            return project_id
        for key, path in (("resourceSpans", "/v1/traces"), ("resourceLogs", "/v1/logs")):
            if key in recording.content["request"]:
                body = {key: recording.content["request"][key]}
                answer = self.client.post(path, json=body, headers={"project_id": project_id})
                assert (answer.status_code, answer.json()) == (200, {}), answer.text
        return project_id

    def graphql(self, document: str, **variables: object) -> Any:
        """Return the data of a GraphQL response without errors."""
        answer = self.client.post("/graphql", json={"query": document, "variables": variables}).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def readings(self, project_id: str, filter: object = None) -> dict[str, dict[str, Any]]:
        """Return the readings of a project's calls by id, in the form of `expectations.py`."""
        nodes = self.graphql(_QUERY, projectId=project_id, filter=filter)["calls"]["nodes"]
        return {node.pop("id"): _reading(node) for node in nodes}


def _reading(node: dict[str, Any]) -> dict[str, Any]:
    usage = [
        {
            "input": int(entry["uncachedInputTokens"]) + int(entry["cacheReadTokens"]),
            "output": int(entry["outputTokens"] or entry["completionTokens"] or 0),
        }
        for entry in node["usage"]
    ]
    messages = {name: [_message(message) for message in node[name]] for name in ("messages", "outputMessages")}
    tags = node["tags"] and sorted(node["tags"])
    return {**node, "tags": tags, "usage": usage[0] if usage else None, **messages}


def _message(message: dict[str, Any]) -> list[Any]:
    return [message["role"], *map(_part, message["parts"])]


def _part(part: dict[str, Any]) -> Any:
    match part["__typename"]:
        case "TextPart":
            return part["text"]
        case "ReasoningPart":
            return {"reasoning": part["text"]}
        case "RefusalPart":
            return {"refusal": part["text"]}
        case "ImagePart":
            inline = part["data"] and f"data:{part['mediaType']};base64,{part['data']}"
            return {"image": part["url"] or inline or (part["ref"] and "stored file")}
        case "FilePart":
            return {"file": part["name"]}
        case "AudioPart":
            return {"audio": part["mediaType"]}
        case "ToolCallPart":
            return {"toolCall": {name: part[name] for name in ("id", "name", "arguments")}}
        case "ToolResultPart":
            return {"toolResult": {name: part[name] for name in ("id", "result")}}
    return part
