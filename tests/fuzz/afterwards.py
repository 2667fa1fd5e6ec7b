"""Checks after a run: the server still reads and writes, and has released all resources."""

import asyncio
import json
import re
from typing import Any, Final

from tests.fuzz import oracle, reading, seeding
from tests.fuzz.callers import Caller
from tests.fuzz.endpoints.graphql import NAME
from tests.fuzz.wire import Request, Wire

PROJECT: Final = "fuzz/afterwards"
_LOOKS: Final = 60
_PAUSE_SECONDS: Final = 0.5
"""Seconds between two looks; work of disconnected clients may take half a minute to end."""

_PLACE: Final = re.compile(r'^(loomql_in_(?:use|flight)\{\w+="(?!event_bytes)\w+(?:-\w+)?"\}) (\S+)$', re.MULTILINE)
"""Metrics of resources in use, except the bytes of kept events, which no request holds."""

_READ: Final = "query ($p: ID!, $id: ID!) { call(projectId: $p, id: $id) { id inputs } }"


def places(metrics: str) -> dict[str, float]:
    """Return the resources in use and the requests in progress from the text of `/metrics`."""
    return {name: float(value) for name, value in _PLACE.findall(metrics)}


def held(before: dict[str, float], after: dict[str, float]) -> list[str]:
    """Return a sentence for each resource of which more is in use than before."""
    return [
        f"{name} was {before.get(name, 0):g} before and is {now:g}"
        for name, now in sorted(after.items())
        if now > before.get(name, 0)
    ]


async def places_of(wire: Wire, caller: Caller) -> dict[str, float]:
    """Read the metrics of a server, as an operator, and return the resources in use."""
    answer = await wire.ask(Request("metrics", "GET", "/metrics", caller.headers))
    assert answer.status == 200, answer
    return places(answer.body.decode())


async def problems(url: str, caller: Caller, before: dict[str, float]) -> list[str]:
    """Return the problems of an idle server: an operator writes and reads a call, then all resources must be free."""
    wire = Wire(url)
    try:
        found = await _of_calls(wire, caller)
        return found + await _of_places(wire, caller, before)
    except (TimeoutError, OSError) as error:
        return [f"no answer when all was over: {error!r}"]
    finally:
        await wire.close()


async def _of_places(wire: Wire, caller: Caller, before: dict[str, float]) -> list[str]:
    found = held(before, await places_of(wire, caller))
    for _ in range(_LOOKS):
        if not found:
            break
        await asyncio.sleep(_PAUSE_SECONDS)
        found = held(before, await places_of(wire, caller))
    return found


async def _of_calls(wire: Wire, caller: Caller) -> list[str]:
    start, end = seeding.call(PROJECT, 1)
    _, found = await _execute(wire, caller, seeding.BATCH, b=[start, end])
    data, more = await _execute(wire, caller, _READ, p=PROJECT, id=start["start"]["id"])
    wanted = {"id": start["start"]["id"], "inputs": start["start"]["inputs"]}
    if not found + more and data != {"call": wanted}:
        return [f"what was written is read as {data}"]
    return found + more


async def _execute(wire: Wire, caller: Caller, document: str, **variables: object) -> tuple[Any, list[str]]:
    body = json.dumps({"query": document, "variables": variables}).encode()
    headers = (("Content-Type", "application/json"), *caller.headers)
    request = Request(NAME, "POST", "/graphql", headers, body)
    answer = await wire.ask(request)
    found = oracle.problems(request, answer)
    [result] = reading.values(answer)[0] or [{}]
    failures = [f"an operator is told, when all was over: {text}" for text in oracle.messages(result)]
    return result.get("data"), found + failures
