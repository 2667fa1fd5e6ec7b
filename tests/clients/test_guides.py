"""Tests that the clients of the guides can be generated from the committed schema, type-checked and run."""

import json
from contextlib import AsyncExitStack
from importlib.metadata import version

import httpx

from stores.calls import CallsStore
from tests.clients.built import Built, end_call, log_and_find, see_end, write_whole_call
from tests.clients.conftest import GENERATOR, Life
from tests.clients.guides import PYTHON, TYPESCRIPT
from tests.installation import ROOT
from tests.stores.calls.builders import PROJECT
from tests.waiting import TIMEOUT

FILES = '{{ filesStats(projectId: "{}") {{ count totalSizeBytes }} }}'

# tsc reports each wrong line, and each correct line that is marked as wrong.
TYPED_TS = """
import type { CallBatchMode, FoundQuery, QueryInput, WatchSubscription } from "./gql/graphql.js";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Calls = NonNullable<FoundQuery["calls"]>;
type Call = Calls["nodes"][number];
type Event = WatchSubscription["callEvents"];

export const types: [
  Equal<Call["id"], string>,
  Equal<Call["startedAt"], string>,
  Equal<Call["latencyMs"], number | null>,
  Equal<Call["question"], unknown>,
  Equal<Calls["totalCount"], number>,
  Equal<FoundQuery["calls"], Calls | null>,
  Equal<Event["type"], "DELETED" | "ENDED" | "STARTED" | "UPDATED">,
] = [true, true, true, true, true, true, true];

declare const { start, end }: { start: NonNullable<CallBatchMode["start"]>; end: NonNullable<CallBatchMode["end"]> };
export const batch: CallBatchMode[] = [{ start }, { end }];
// @ts-expect-error Exactly one of them.
export const both: CallBatchMode = { start, end };
// @ts-expect-error One of them.
export const none: CallBatchMode = {};
// @ts-expect-error Two literals in one operand.
export const query: QueryInput = { expr: { eq: [{ literal: 1, getField: "status" }, { literal: 2 }] } };
// @ts-expect-error A literal is no object.
export const literal: QueryInput = { expr: { eq: [{ literal: {} }, { literal: 2 }] } };
"""
# mypy reports each wrong line, and each correct line that is marked as wrong.
TYPED_PYTHON = """
from datetime import datetime
from typing import Any, assert_type

from traces import CallBatchMode, CallEventType, Client, QueryInput, TraceStatus
from traces.client import Client
from traces.found import Found
from traces.watch import Watch


async def check(client: Client, found: Found, told: Watch) -> None:
    found.calls.totalCount  # type: ignore[union-attr]
    assert found.calls
    assert_type(found.calls.totalCount, int)
    assert_type(found.calls.nodes[0].id, str)
    assert_type(found.calls.nodes[0].startedAt, datetime)
    assert_type(found.calls.nodes[0].latencyMs, int | None)
    assert_type(found.calls.nodes[0].status, TraceStatus)
    assert_type(told.callEvents.event, CallEventType)
    QueryInput(expr="status")  # type: ignore[arg-type]
    CallBatchMode(begin=None)  # type: ignore[call-arg]
    await client.found(1)  # type: ignore[arg-type]
    await client.log_calls([QueryInput()])  # type: ignore[list-item]
    found.calls.nodes[0].colour  # type: ignore[attr-defined]
"""


def test_typescript_guide_installs_the_tested_packages() -> None:
    locked = json.loads((ROOT / "tests" / "package.json").read_text())["dependencies"]

    words = set(TYPESCRIPT.packages) - {"npm", "install"}
    assert len(words) == 5
    assert words <= locked.keys()


def test_python_guide_installs_available_packages() -> None:
    words = set(PYTHON.packages) - {"pip", "pipx", "install"}

    assert words == {"httpx", "pydantic", "websockets", "ariadne-codegen"}
    assert all(version(word) for word in words - {"ariadne-codegen"})
    assert GENERATOR.bin.parent.name == ".venv-ariadne-codegen"


async def test_scalars_and_one_of_inputs_are_typed_in_typescript(typescript_client: Built) -> None:
    (typescript_client.folder / "typed.ts").write_text(TYPED_TS)
    options = ["--strict", "--noEmit", "--skipLibCheck", "--module", "nodenext", "--target", "es2022", "--ignoreConfig"]

    code, output = await typescript_client.outcome("npx", "tsc", *options, "typed.ts")

    assert code == 0, output


async def test_scalars_and_inputs_are_typed_in_python(python_client: Built) -> None:
    (python_client.folder / "typed.py").write_text(TYPED_PYTHON)

    code, output = await python_client.outcome("mypy", "typed.py")

    assert code == 0, output


async def test_programs_log_find_watch_and_resume_after_a_server_is_killed(
    typescript_client: Built, python_client: Built, life: Life, calls: CallsStore
) -> None:
    projects = {f"{PROJECT}-typescript": typescript_client, f"{PROJECT}-python": python_client}
    async with AsyncExitStack() as stack:
        with life() as server:
            programs = [
                await stack.enter_async_context(client.program(server.url, project))
                for project, client in projects.items()
            ]
            for project, program in zip(projects, programs, strict=True):
                await end_call(calls, await log_and_find(program), project)
                await see_end(program)
            async with httpx.AsyncClient(timeout=TIMEOUT) as http:
                uploaded = await http.get(server.url, params={"query": FILES.format(f"{PROJECT}-python")})
            server.process.kill()
        for project in projects:
            await write_whole_call(calls, project)
        with life():
            for program in programs:
                await see_end(program)

    assert uploaded.json()["data"] == {"filesStats": {"count": 1, "totalSizeBytes": len("A thread.")}}
