"""Requests to the endpoints of the Weave SDK: those that its client sends, and copies with broken values and bytes."""

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

from tests.fuzz import damage, queries, texts
from tests.fuzz.endpoints.otlp import spoil
from tests.fuzz.pool import Pool
from tests.fuzz.values import OWN_PROJECTS
from tests.fuzz.wire import Request

NAME: Final = "weave"
_BOUNDARY: Final = "----fuzz"
_TIME: Final = "2026-03-01T08:00:00.123Z"
_Body = dict[str, Any]


class _Asking:
    """Generates the parts of request bodies."""

    def __init__(self, random: Random, pool: Pool) -> None:
        self.random, self.pool = random, pool
        self.own = {"project_id": random.choice(OWN_PROJECTS)}
        self.any = {"project_id": random.choice((*OWN_PROJECTS, "demo/assistant", "demo/assistant"))}

    def name(self, kind: str) -> str:
        """Return the name of an existing item, or a random word."""
        known = self.pool.pick(self.random, kind)
        return known if known and self.random.random() < 0.9 else texts.word(self.random)

    def json(self) -> Any:
        return texts.json(self.random)

    def list(self) -> _Body:
        """Return the parameters that all list endpoints accept."""
        sort_by = [{"field": queries.field(self.random), "direction": self.random.choice(("asc", "desc"))}]
        query = queries.query(self.random, 0.05)
        some = {"limit": 3, "offset": self.random.randint(0, 3), "sort_by": sort_by, "query": query}
        return {**self.any, **{name: value for name, value in some.items() if self.random.random() < 0.5}}

    def start(self) -> _Body:
        """Return the start of a call."""
        call = {**self.own, "id": self.name("id"), "trace_id": self.name("trace"), "op_name": self.name("op")}
        return {**call, "started_at": _TIME, "attributes": {}, "inputs": {"a": self.json()}}

    def end(self) -> _Body:
        """Return the end of a call."""
        return {**self.own, "id": self.name("id"), "ended_at": _TIME, "output": self.json(), "summary": {}}

    def feedback(self) -> _Body:
        """Return a piece of feedback."""
        return {**self.own, "weave_ref": self.name("ref"), "feedback_type": "note", "payload": {"note": self.json()}}


_BODIES: Final[dict[str, Callable[[_Asking], Any]]] = {
    "/graphql": lambda _a: {"query": "query { viewer { username entity } }", "variables": {}},
    "/call/upsert_batch": lambda a: {"batch": [
        {"mode": "start", "req": {"start": a.start()}}, {"mode": "end", "req": {"end": a.end()}},
    ]},
    "/call/start": lambda a: {"start": a.start()},
    "/call/end": lambda a: {"end": a.end()},
    "/call/read": lambda a: {**a.any, "id": a.name("id")},
    "/call/update": lambda a: {**a.own, "call_id": a.name("id"), "display_name": a.name("op")},
    "/calls/delete": lambda a: {**a.own, "call_ids": [a.name("id")]},
    "/calls/query": lambda a: a.list(),
    "/calls/stream_query": lambda a: {**a.list(), "include_costs": True, "include_feedback": True},
    "/calls/query_stats": lambda a: a.list(),
    "/v2/fuzz/own/calls/complete": lambda a: {"batch": [{**a.start(), **a.end()}]},
    "/v2/fuzz/own/call/start": lambda a: {"start": a.start()},
    "/v2/fuzz/own/call/end": lambda a: {"end": a.end()},
    "/obj/create": lambda a: {"obj": {**a.own, "object_id": a.name("object"), "val": a.json()}},
    "/obj/read": lambda a: {**a.any, "object_id": a.name("object"), "digest": "latest"},
    "/obj/delete": lambda a: {**a.own, "object_id": a.name("object"), "digests": [a.name("digest")]},
    "/objs/query": lambda a: {**a.any, "filter": {"latest_only": True}, "limit": 3},
    "/refs/read_batch": lambda a: {"refs": [a.name("ref"), a.name("ref")]},
    "/table/create": lambda a: {"table": {**a.own, "rows": [{"a": a.json()}]}},
    "/table/create_from_digests": lambda a: {**a.own, "row_digests": [a.name("row")]},
    "/table/update": lambda a: {**a.own, "base_digest": a.name("digest"), "updates": [{"pop": {"index": 0}}]},
    "/table/query": lambda a: {**a.any, "digest": a.name("digest"), "limit": 3},
    "/table/query_stats": lambda a: {**a.any, "digest": a.name("digest")},
    "/table/query_stats_batch": lambda a: {**a.any, "digests": [a.name("digest")]},
    "/files/content": lambda a: {**a.any, "digest": a.name("file")},
    "/files/stats": lambda a: a.any,
    "/feedback/create": lambda a: a.feedback(),
    "/feedback/batch/create": lambda a: {"batch": [a.feedback(), a.feedback()]},
    "/feedback/query": lambda a: {**a.list(), "fields": ["id", "payload", queries.field(a.random, 0.1)]},
    "/feedback/purge": lambda a: {**a.own, "query": {"$expr": {"$eq": [{"$getField": "id"}, {"$literal": "x"}]}}},
    "/feedback/replace": lambda a: {**a.feedback(), "feedback_id": a.name("id")},
    "/cost/create": lambda a: {**a.own, "costs": {"m": {"prompt_token_cost": 1, "completion_token_cost": 2}}},
    "/cost/query": lambda a: {**a.list(), "fields": ["id", "llm_id"]},
    "/cost/purge": lambda a: {**a.own, "query": queries.query(a.random, 0.1)},
    "/threads/stream_query": lambda a: {**a.any, "limit": 3},
    "/project/stats": lambda a: a.any,
    "/completions/create": lambda a: {**a.own, "inputs": {"model": "gpt-4o", "messages": [{"role": "user"}]}},
    "/completions/create_stream": lambda a: {**a.own, "inputs": {"model": "cut", "messages": []}},
    "/image/create": lambda a: {**a.own, "inputs": {"model": "dall-e-3", "prompt": "x", "n": 1}},
    "/actions/execute_batch": lambda a: {**a.own, "action_ref": a.name("ref"), "call_ids": [a.name("id")]},
}  # fmt: skip


def request(random: Random, pool: Pool) -> Request:
    if random.random() < 0.06:
        return _file(random)
    if random.random() < 0.01:
        return _dense(random)
    path = random.choice(list(_BODIES))
    content = _BODIES[path](_Asking(random, pool))
    way = random.random()
    for _ in range(random.choice((1, 1, 3)) if way < 0.4 else 0):
        spoil(random, content)
    encoded = json.dumps(content, ensure_ascii=random.random() < 0.7).encode("utf-8", "surrogatepass")
    if 0.4 < way < 0.55:
        encoded = damage.of_bytes(random, encoded)
    headers = [("Content-Type", "application/json")]
    if way > 0.97:
        headers.append(
            random.choice((("Content-Encoding", "gzip"), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")))
        )
    method = "POST" if random.random() < 0.98 else random.choice(("GET", "PUT", "HEAD"))
    return Request(NAME, method, f"/weave{path}" if way > 0.01 else "/weave/no/such", tuple(headers), encoded)


def _dense(random: Random) -> Request:
    """Return a request with very many small values in a call, or a list of them instead of a batch or a query."""
    call = '{"project_id": "fuzz/own", "op_name": "dense", "started_at": "2026-03-01T08:00:00Z", "attributes": {}, '
    path, start, end = random.choice(
        (
            ("/call/start", f'{{"start": {call} "inputs": {{"a": ', "}}}"),
            ("/call/upsert_batch", '{"batch": ', "}"),
            ("/calls/stream_query", '{"project_id": "fuzz/own", "limit": 1, "query": ', "}"),
        )
    )
    content = f"{start}{texts.dense(random, 1_000_000)}{end}".encode()
    return Request(NAME, "POST", f"/weave{path}", (("Content-Type", "application/json"),), content)


def _file(random: Random) -> Request:
    parts = (("project_id", "", "fuzz/own"), ("file", '; filename="a.txt"', "content"))
    content = "".join(
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'
        for name, more, value in parts
    )
    encoded = f"{content}--{_BOUNDARY}--\r\n".encode()
    if random.random() < 0.6:
        encoded = damage.of_bytes(random, encoded)
    headers = (("Content-Type", f"multipart/form-data; boundary={_BOUNDARY}"),)
    return Request(NAME, "POST", random.choice(("/weave/files/create", "/weave/file/create")), headers, encoded)
