"""Events of coding agents (Claude Code, Codex), which become calls: a trace of each prompt of a session.

An event becomes a span with the names of the GenAI conventions, so that `mapping` reads it like any other span. Ids are
digests of the session and of what the event names, so events that are sent again or in another order change nothing.
An event without a prompt's id belongs to the last prompt of its session that came before it.
"""

import asyncio
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final, NamedTuple

from pymongo import UpdateOne

from stores.calls import CallEnd, CallsStore, RankedPart
from stores.calls.documents import key_fields, part_update, stored_part
from stores.calls.store import with_keys, write_updates
from stores.concurrency.time_slices import cooperative
from stores.database import Database, Document
from stores.database.driver import is_cluster
from stores.errors import BadInputError, ConflictError, StoreError
from stores.input_checks import MAX_NAME
from stores.json.bson_copy import INT64
from stores.otel.logs import LogRecord, derived_id
from stores.otel.mapping import call_of
from stores.otel.spans import CLIENT, ERROR, Attributes, Origin, Span
from stores.rollups.marks import marked_hours

_INTERNAL: Final = 1
_FIRST_FAILURE: Final = 400
_MAX_MILLISECONDS: Final = 10**10
_MAX_CALLS: Final = 10_000
"""Limit on calls of a prompt of which the starts are set."""

_MAX_ROUNDS: Final = 20
"""Limit on rounds of a read and a write. The last round finds nothing to write."""

_PROMPT_RANK: Final = 1 << 62
"""Rank of the start that a prompt states, above those that other events of the prompt imply."""

_OF_EVENTS: Final = {"ranks.start": {"$exists": True}}
"""Matches calls that events started. Others of the session, such as spans of the agent, stay as they are."""

_TIME_FIELDS: Final = ("id", "op_name", "started_at", "ended_at", "status")
"""Fields of a call from which its place among the calls of a session follows."""

_ACCEPTED: Final = ("accept", "approved")
_RESPONSES: Final = ("assistant_response", "api_response_body")
"""Events that state the output of a request, which another event starts and ends."""

_RANKS: Final = {"tool_decision": 0, "api_response_body": 2}
"""Ranks of events that state less or more of a call than others, which have rank 1."""

_REDACTED: Final = ("<REDACTED>", "[REDACTED]")
_HELPERS: Final = ("generate_session_title", "prompt_suggestion", "away_summary", "tool_use_summary_generation")
"""Sources of requests whose response is not the answer to the prompt."""


class Agent(NamedTuple):
    """A coding agent: its names, the attributes that identify session and prompt, and those that have GenAI names."""

    name: str
    provider: str
    session: str
    prompt: str | None
    renamed: dict[str, str]


_COMMON: Final = {"tool_name": "gen_ai.tool.name", "error_type": "error.type", "model": "gen_ai.request.model"}
AGENTS: Final = {
    "claude_code": Agent(
        "Claude Code",
        "anthropic",
        "session.id",
        "prompt.id",
        _COMMON
        | {
            "input_tokens": "gen_ai.usage.input_tokens",
            "output_tokens": "gen_ai.usage.output_tokens",
            "cache_read_tokens": "gen_ai.usage.cache_read.input_tokens",
            "cache_creation_tokens": "gen_ai.usage.cache_creation.input_tokens",
            "cost_usd": "gen_ai.usage.cost",
            "request_id": "gen_ai.response.id",
            "status_code": "http.response.status_code",
            "tool_use_id": "gen_ai.tool.call.id",
            "tool_input": "gen_ai.tool.call.arguments",
        },
    ),
    "codex": Agent(
        "Codex",
        "openai",
        "conversation.id",
        None,
        _COMMON
        | {
            "conversation.id": "gen_ai.conversation.id",
            "user.account_id": "user.id",
            "input_token_count": "gen_ai.usage.input_tokens",
            "output_token_count": "gen_ai.usage.output_tokens",
            "cached_token_count": "gen_ai.usage.cache_read.input_tokens",
            "cache_write_token_count": "gen_ai.usage.cache_creation.input_tokens",
            "reasoning_token_count": "gen_ai.usage.reasoning.output_tokens",
            "call_id": "gen_ai.tool.call.id",
            "arguments": "gen_ai.tool.call.arguments",
            "output": "gen_ai.tool.call.result",
        },
    ),
}
"""Agents by the first part of their events' names."""

_OF_PROMPT: Final = frozenset(
    {"session.id", "conversation.id", "user.id", "user.email", "user.account_uuid", "user.account_id"}
    | {"organization.id", "terminal.type", "app.version"}
)
"""Attributes that every event of a prompt has."""


@dataclass(slots=True)
class AgentEvent:
    """One event of an agent's session, at nanoseconds since the epoch; a thread builds the calls of large ones."""

    origin: Origin
    agent: Agent
    kind: str
    at: int
    session: str
    prompt: str | None
    attributes: Attributes
    is_large: bool

    @property
    def is_prompt(self) -> bool:
        """True if it starts a prompt."""
        return self.kind == "user_prompt"

    @property
    def is_stored(self) -> bool:
        """True if it states a prompt or a call; others tell only that the prompt goes on."""
        return self.is_prompt or self.call_kind is not None

    @property
    def call_kind(self) -> str | None:
        """`tool` or `request` if it states such a call, or else None."""
        is_decision = self.kind == "tool_decision"
        is_denied = is_decision and not str(self.attributes.get("decision")).startswith(_ACCEPTED)
        if self.kind == "tool_result" or is_denied:
            return "tool"
        is_request = self.kind in ("api_request", "api_error", *_RESPONSES)
        if self.agent.prompt is None:
            # Codex sends a request's tokens in the event that ends its response, which has no id in common with others.
            is_request = "input_token_count" in self.attributes or bool(self.failure and not is_decision)
        return "request" if is_request else None

    @property
    def started_at(self) -> int:
        """Start of what ended with the event, in nanoseconds since the epoch."""
        return max(self.at - self._number("duration_ms") * 1_000_000, 0)

    @property
    def failure(self) -> str | None:
        """The error of what ended with the event; None if it succeeded."""
        read = self.attributes.get
        status = self._number("status_code") or self._number("http.response.status_code")
        stated = read("error.message") or read("error")
        if self.kind == "api_error" or stated or status >= _FIRST_FAILURE:
            return str(stated or f"the request failed with status {status}")
        if str(read("success", "true")).lower() == "false":
            return str(read("error_type") or "the tool failed")
        return None

    def _number(self, name: str) -> int:
        value = self.attributes.get(name)
        try:
            number = int(float(value)) if isinstance(value, int | float | str) else 0
        except (ValueError, OverflowError):
            return 0
        return min(max(number, 0), _MAX_MILLISECONDS)


class Prompt(NamedTuple):
    """A prompt of a session: its time in microseconds since the epoch, and the ids of its trace and its call.

    A missing prompt stands for the unknown prompt of events before the first known prompt of the session; its time is
    0.
    """

    at: int
    trace_id: str
    call_id: str
    is_missing: bool = False


_Session = tuple[str, str, str]
"""Project, name of the agent, and id of the session."""

_Agents = dict[tuple[str, Prompt], Agent]
"""The agent of each prompt of a project."""


def event_of(record: LogRecord, origin: Origin, *, is_large: bool) -> AgentEvent | None:
    """Return the event in a record; None if it is of no agent.

    Raises:
        StoreError: if it names no session, or is an invalid prompt.
    """
    for name in record.names:
        first, _, kind = name.partition(".")
        if kind and (agent := AGENTS.get(first)):
            break
    else:
        return None
    session = record.attributes.get(agent.session)
    if not isinstance(session, str) or not 0 < len(session) <= MAX_NAME:
        raise BadInputError(f"{name[:100]} has no {agent.session} of 1 to {MAX_NAME:,} characters")
    prompt = record.attributes.get(agent.prompt) if agent.prompt else None
    prompt = prompt if isinstance(prompt, str) and prompt else None
    event = AgentEvent(origin, agent, kind, record.at, session, prompt, record.attributes, is_large)
    if event.is_prompt:
        list(_parts_of(event, _own_prompt(event), None))  # one that cannot be stored must receive no calls
    return event


async def _place(database: Database, events: Sequence[AgentEvent]) -> list[Prompt]:
    """Return the prompt of each event."""
    placed: list[Prompt | None] = [None if event.prompt is None else _named(event, event.prompt) for event in events]
    sessions: dict[_Session, list[int]] = defaultdict(list)
    started: dict[_Session, list[Prompt]] = defaultdict(list)
    for position, event in enumerate(events):
        if event.prompt is None:
            sessions[_session_of(event)].append(position)
        if event.is_prompt:
            started[_session_of(event)].append(_own_prompt(event))
    for session, positions in sessions.items():
        ends = [events[position].started_at // 1000 for position in positions]
        known = [*await _stored_prompts(database, session, min(ends), max(ends)), *started[session]]
        prompts = sorted({prompt.call_id: prompt for prompt in known}.values())
        for position in positions:
            event = events[position]
            if event.is_prompt:
                placed[position] = _own_prompt(event)
                continue
            index = bisect_right(prompts, event.started_at // 1000, key=lambda prompt: prompt.at)
            placed[position] = prompts[index - 1] if index else _named(event, "")
    return [prompt for prompt in placed if prompt]


def _session_of(event: AgentEvent) -> _Session:
    return event.origin.project_id, event.agent.name, event.session


def _own_prompt(event: AgentEvent) -> Prompt:
    """Return the prompt that an event starts."""
    return _named(event, event.prompt or f"@{event.at}")


def _named(event: AgentEvent, name: str) -> Prompt:
    of = event.agent.name, event.session, name
    return Prompt(event.at // 1000 if name else 0, derived_id(32, *of), derived_id(16, *of), is_missing=not name)


def _op_name(agent_name: str) -> str:
    return f"invoke_agent {agent_name}"


async def _stored_prompts(database: Database, session: _Session, first: int, last: int | None = None) -> list[Prompt]:
    """Return the prompts of a session from `first` to `last`, and the closest ones before and after.

    Without `last`, return all from `first` on, and the closest one before.
    """
    project_id, agent_name, session_id = session
    match: Document = {
        "project_id": project_id,
        # A deleted prompt still has its events; naming both values lets MongoDB use the index.
        "visible": {"$in": [True, False]},
        "turn_of": session_id,
        "op_name": _op_name(agent_name),
        **_OF_EVENTS,
        "id": {"$ne": derived_id(16, agent_name, session_id, "")},
    }
    fields = {"$project": dict.fromkeys(("started_at", "trace_id", "id"), 1)}

    def prompts(at: Document, *stages: Document) -> list[Document]:
        return [{"$match": match | {"started_at": at}}, *stages, fields]

    within = prompts({"$gte": first} if last is None else {"$gte": first, "$lte": last})
    others = [prompts({"$lt": first}, {"$sort": {"started_at": -1}}, {"$limit": 1})]
    if last is not None:
        others.append(prompts({"$gt": last}, {"$sort": {"started_at": 1}}, {"$limit": 1}))
    unions = [{"$unionWith": {"coll": database.calls.name, "pipeline": other}} for other in others]
    rows = await database.calls.aggregate([*within, *unions]).to_list(None)
    return [Prompt(row["started_at"], row["trace_id"], row["id"]) for row in rows]


async def write(calls: CallsStore, events: Sequence[AgentEvent], wb_user_id: str | None) -> list[StoreError | None]:
    """Store events whose `is_stored` is true as calls; return the error of each event that is no valid call."""
    prompts: list[Prompt] = []
    former: _Agents = {}
    errors: list[StoreError | None] = [None] * len(events)
    for _ in _rounds():
        placed = await _place(calls.database, events)
        if placed == prompts:
            break
        # A prompt that another request stored meanwhile may be closer, so a second look follows each write.
        for event, old, new in zip(events, prompts, placed, strict=False):
            if old != new:
                former[event.origin.project_id, old] = event.agent
        prompts = placed
        await _write_parts(calls, events, prompts, wb_user_id, errors)
        if all(event.prompt for event in events):
            break
    await _settle(calls, events, prompts, former)
    return errors


def _rounds() -> Iterator[None]:
    """Yield for each round of a read and a write.

    Raises:
        ConflictError: after the last round.
    """
    yield from repeat(None, _MAX_ROUNDS)
    raise ConflictError("too many requests write events of one session at once; send them again")


async def _settle(calls: CallsStore, events: Sequence[AgentEvent], prompts: Sequence[Prompt], former: _Agents) -> None:
    """Move stored calls to the prompts among some events, and correct the times of all prompts concerned.

    Args:
        calls: the store.
        events: the stored events.
        prompts: the prompt of each event.
        former: the prompts to which calls of the events belonged before the last placement.
    """
    changed = dict(former)
    for event in events:
        if event.is_prompt:
            for prompt in await _adopt(calls, event):
                changed[event.origin.project_id, prompt] = event.agent
    # A request that failed may have left the root of a missing prompt without calls.
    missing = {(event.origin.project_id, _named(event, "")) for event in events if event.prompt is None}
    for project_id, prompt in sorted(missing.union(changed)):
        await _end_with_calls(calls, project_id, prompt)
    for event, prompt in zip(events, prompts, strict=True):
        changed[event.origin.project_id, prompt] = event.agent
    for (project_id, prompt), agent in changed.items():
        if agent.prompt is None:
            await _start_requests(calls, project_id, prompt)


async def _write_parts(
    calls: CallsStore,
    events: Sequence[AgentEvent],
    prompts: Sequence[Prompt],
    wb_user_id: str | None,
    errors: list[StoreError | None],
) -> None:
    """Store the calls of events and then those of their prompts; put the error of an event at its position."""
    of_events: list[RankedPart] = []
    of_prompts: list[RankedPart] = []
    async for position in cooperative(range(len(events))):
        event, prompt = events[position], prompts[position]
        parts = _parts_of(event, prompt, wb_user_id)
        try:
            for ranked in await asyncio.to_thread(list, parts) if event.is_large else parts:
                (of_prompts if ranked.part.fields["id"] == prompt.call_id else of_events).append(ranked)
        except StoreError as error:
            errors[position] = error
    # Calls come first: `_end_with_calls` reads them before it overwrites the end of their prompt. A router writes to
    # several shards concurrently, in no order.
    has_routers = is_cluster(calls.database.calls.database.client.delegate)
    for group in (of_events, of_prompts) if has_routers else ([*of_events, *of_prompts],):
        if group:
            await calls.write_ranked(group)


def _parts_of(event: AgentEvent, prompt: Prompt, wb_user_id: str | None) -> Iterator[RankedPart]:
    # The prompt of an event that names none may change later, so the attributes of its call do not name one either.
    call = _call_of(event, prompt if event.prompt else _named(event, ""))
    if call:
        yield from _parts_of_call(event, call, prompt, wb_user_id)
    yield from _parts_of_root(event, prompt, wb_user_id, has_failed=bool(call and call.status_code == ERROR))


def _parts_of_call(event: AgentEvent, call: Span, prompt: Prompt, wb_user_id: str | None) -> Iterator[RankedPart]:
    start, end = call_of(call, event.origin, wb_user_id)
    start.trace_id, start.parent_id = prompt.trace_id, prompt.call_id
    rank = _RANKS.get(event.kind, 1)
    if event.kind not in _RESPONSES:
        yield RankedPart.of_start(stored_part(start), rank)
    if end:
        part = stored_part(end)
        if event.kind not in _RESPONSES:
            yield RankedPart.of_end(part, rank)
        if end.output:
            yield RankedPart.of_output(part, rank)


def _parts_of_root(
    event: AgentEvent, prompt: Prompt, wb_user_id: str | None, *, has_failed: bool
) -> Iterator[RankedPart]:
    read = event.attributes.get
    states_output = event.kind == "assistant_response" and read("query_source") not in _HELPERS
    own = {
        **(event.attributes if event.is_prompt else {key: read(key) for key in _OF_PROMPT if key in event.attributes}),
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": event.agent.name,
        **(_message("input", "user", read("prompt")) if event.is_prompt else {}),
        **(_message("output", "assistant", read("response")) if states_output else {}),
    }
    own.pop("model", None)
    started_at = event.at if event.is_prompt else event.started_at
    root = _span(event, _op_name(event.agent.name), prompt, own, started_at, prompt.call_id)
    start, end = call_of(root, event.origin, wb_user_id)
    output = end.output if end else None
    is_response = event.kind in _RESPONSES
    if is_response and not output:
        return  # it says nothing of the prompt
    yield RankedPart.of_start(stored_part(start), _PROMPT_RANK if event.is_prompt else -(started_at // 1000))
    if end:
        end.summary = {"status_counts": {"error": 1}} if has_failed else {}
        part = stored_part(end)
        if not is_response:  # a prompt ends with its calls, which other events end
            yield RankedPart.of_end(part, int(has_failed))
        if output:
            yield RankedPart.of_output(part, min(event.at, INT64 - 1))


def _call_of(event: AgentEvent, prompt: Prompt) -> Span | None:
    """Return the span of a request or a tool; None if the event is of neither."""
    read, kind, agent = event.attributes.get, event.kind, event.agent
    if event.call_kind == "tool":
        failure = event.failure if kind == "tool_result" else f"the tool was not allowed to run: {read('decision')}"
        key = read("tool_use_id") or read("call_id") or f"{event.at} {read('event.sequence')}"
        # Without the tool's input, its parameters say what it was to do.
        inputs = {} if read("tool_input") or not read("tool_parameters") else {"tool_input": read("tool_parameters")}
        name = f"execute_tool {read('tool_name')}"
        own = {"gen_ai.operation.name": "execute_tool", **event.attributes, **inputs}
        own.pop("model", None)  # Codex names its model in every event, also of what no model does
        return _child(event, name, prompt, own, f"tool {key}", failure)
    if event.call_kind is None:
        return None
    key = read("request_id") or f"{event.at} {read('event.sequence')}"
    name = f"chat {read('model')}" if read("model") else "chat"
    own = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": agent.provider,
        **event.attributes,
        **(_message("output", "assistant", read("response")) if kind == "assistant_response" else {}),
        **({"output.value": read("body")} if kind == "api_response_body" and not read("body_truncated") else {}),
    }
    return _child(event, name, prompt, own, f"request {key}", event.failure)


def _child(event: AgentEvent, name: str, prompt: Prompt, attributes: Attributes, key: str, failure: str | None) -> Span:
    # The id depends on no prompt that the event does not name, because such a prompt may arrive later.
    span_id = derived_id(16, event.agent.name, event.session, event.prompt, key)
    span = _span(event, name, prompt, attributes, event.started_at, span_id)
    span.parent_id = prompt.call_id
    span.kind = CLIENT if key.startswith("request") else _INTERNAL
    if failure:
        span.status_code, span.status_message = ERROR, failure
    return span


def _span(event: AgentEvent, name: str, prompt: Prompt, attributes: Attributes, started_at: int, span_id: str) -> Span:
    renamed = event.agent.renamed
    return Span(
        name=name,
        trace_id=prompt.trace_id,
        span_id=span_id,
        parent_id=None,
        trace_state="",
        kind=_INTERNAL,
        started_at=started_at,
        ended_at=event.at,
        status_code=0,
        status_message="",
        attributes={renamed.get(key, key): value for key, value in attributes.items()},
        events=[],
        links=[],
        other_fields={},
    )


def _message(side: str, role: str, text: object) -> Attributes:
    """Return the attribute with a message; empty if the agent sent no text."""
    if not isinstance(text, str) or not text or text in _REDACTED:
        return {}
    return {f"gen_ai.{side}.messages": [{"role": role, "parts": [{"type": "text", "content": text}]}]}


async def _adopt(calls: CallsStore, event: AgentEvent) -> list[Prompt]:
    """Move calls to the prompt of an event, and to later ones; return the prompts whose calls may have changed.

    Another prompt may arrive meanwhile, so a second look at all prompts concerned follows each move. If several prompts
    arrive at once, the earliest of them finds the calls of all. An event that arrives again after a failure completes
    the move. How far the failed request came is unknown, so all later prompts and the one before may have changed.
    """
    own = _own_prompt(event)
    looked_at = {own}
    for _ in _rounds():
        stored = await _stored_prompts(calls.database, _session_of(event), own.at)
        known = {own, *(prompt for prompt in stored if prompt.call_id != own.call_id)}
        looked_at.add(max((prompt for prompt in known if prompt < own), default=_named(event, "")))
        targets: set[Prompt] = set()
        for source in sorted(looked_at):
            targets |= await _move(calls, event, source, sorted(prompt for prompt in known if prompt > source))
        if not targets:
            break
        looked_at |= targets
    return sorted(looked_at | known)


async def _move(calls: CallsStore, event: AgentEvent, source: Prompt, later: Sequence[Prompt]) -> set[Prompt]:
    """Move each call of a prompt to the last later prompt that began before it; return those that received some."""
    if not later:
        return set()
    project_id, first = event.origin.project_id, {"$gte": later[0].at}
    # Codex states no starts: `_start_requests` sets those of requests, and only the end is the time of the event.
    times: Document = {"$or": [{"started_at": first}, {"ended_at": first}]}
    match = _children(project_id, source) | {
        **({"started_at": first} if event.agent.prompt else times),
        "attributes.otel_span.attributes.prompt.id": {"$exists": False},
    }
    targets: set[Prompt] = set()
    updates, keys = [], []
    async for row in calls.database.calls.find(match, dict.fromkeys(_TIME_FIELDS, 1)).limit(_MAX_CALLS):
        at = row["ended_at"] if event.agent.prompt is None and _is_request(row) else row["started_at"]
        if index := bisect_right(later, at, key=lambda prompt: prompt.at):
            target = later[index - 1]
            targets.add(target)
            parent = {"$set": {"trace_id": target.trace_id, "parent_id": target.call_id}}
            key = key_fields(project_id, row["id"])
            updates.append(UpdateOne(key | {"parent_id": source.call_id}, parent))
            keys.append(key["_id"])
    if updates:
        registered = await calls.database.ensure_projects_listed({project_id})
        async with marked_hours(calls.database, registered, stored=with_keys(keys)):
            await write_updates(calls.database.calls, updates)
    return targets


def _is_request(row: Document) -> bool:
    """Return True if the call is a request that succeeded, of which Codex states no start."""
    return bool(row["op_name"].startswith("chat") and row["status"] == "success")


def _children(project_id: str, prompt: Prompt) -> Document:
    visible = {"visible": {"$in": [True, False]}}
    return {"project_id": project_id, **visible, "parent_id": prompt.call_id, **_OF_EVENTS}


async def _end_with_calls(calls: CallsStore, project_id: str, prompt: Prompt) -> None:
    """End a prompt with the last of its calls; delete a missing prompt without calls."""
    key = key_fields(project_id, prompt.call_id)
    latest: Document = {"_id": None, "ended_at": {"$max": "$ended_at"}, "exception": {"$max": "$exception"}}
    stages = [{"$match": _children(project_id, prompt)}, {"$group": latest}]
    for _ in _rounds():
        root = await calls.database.calls.find_one(
            key, dict.fromkeys(("started_at", "ended_at", "ranks", "deleted_at"), 1)
        )
        if root is None:
            return
        ranks = root.get("ranks", {})
        rows = await calls.database.calls.aggregate(stages).to_list(None)
        if not rows and prompt.is_missing and "output" not in ranks and "deleted_at" not in root:
            # A call that arrives now began before all that moved away, so it changes the start of the root.
            registered = await calls.database.ensure_projects_listed({project_id})
            async with marked_hours(calls.database, registered, stored=key):
                await calls.database.calls.delete_one(key | {"started_at": root.get("started_at")})
            continue
        row = rows[0] if rows else {}
        has_failed = bool(row.get("exception"))
        ended_at = max(row.get("ended_at") or 0, prompt.at or root.get("started_at", 0))
        if (root.get("ended_at"), ranks.get("end")) == (ended_at, int(has_failed)):
            return
        summary = {"status_counts": {"error": 1}} if has_failed else {}
        part = RankedPart.of_end(stored_part(CallEnd(project_id, prompt.call_id, ended_at, summary))).part
        part.fields["ranks.end"] = int(has_failed)
        await calls.write_parts([part])  # unlike a ranked end, it may come earlier


async def _start_requests(calls: CallsStore, project_id: str, prompt: Prompt) -> None:
    """Set the starts of a prompt's model calls: Codex states none, so each starts when the call before it ended.

    The first request of a missing prompt starts when it ends, because nothing is known to have ended before it.
    """
    children = _children(project_id, prompt)
    for _ in _rounds():
        rows = await calls.database.calls.find(children, dict.fromkeys(_TIME_FIELDS, 1)).limit(_MAX_CALLS).to_list(None)
        previous = INT64 - 1 if prompt.is_missing else prompt.at
        updates, starts, keys = [], [], []
        for row in sorted(rows, key=lambda row: (row.get("ended_at", 0), row["id"])):
            if _is_request(row) and row["started_at"] != (started_at := min(previous, row["ended_at"])):
                key = key_fields(project_id, row["id"])
                update = part_update({**key, "started_at": started_at})
                updates.append(UpdateOne(key | {"parent_id": prompt.call_id}, update))
                starts.append((project_id, started_at))
                keys.append(key["_id"])
            previous = row.get("ended_at", previous)
        if not updates:
            return
        registered = await calls.database.ensure_projects_listed({project_id})
        async with marked_hours(calls.database, registered, starts, with_keys(keys)):
            await write_updates(calls.database.calls, updates)
