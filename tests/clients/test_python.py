"""The client in Python that README shows: generated from the committed schema, type-checked, and run."""

from importlib.metadata import version

import httpx

from stores.calls import CallsStore
from tests.clients.built import Built, end_call, log_and_find, see_end
from tests.clients.conftest import GENERATOR
from tests.clients.readme import PYTHON
from tests.stores.calls.builders import PROJECT

FILES = '{{ filesStats(projectId: "{}") {{ count totalSizeBytes }} }}'

# mypy complains of each line that is wrong, and of each that is marked as wrong and is not.
TYPED = """
from datetime import datetime
from typing import Any, assert_type

from traces import CallBatchMode, CallEventType, Client, QueryInput, TraceStatus
from traces.client import Client
from traces.found import Found
from traces.watch import Watch


async def check(client: Client, found: Found, told: Watch) -> None:
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


def test_what_the_readme_installs_is_there() -> None:
    words = set(PYTHON.packages) - {"pip", "pipx", "install"}

    assert words == {"httpx", "pydantic", "websockets", "ariadne-codegen"}
    assert all(version(word) for word in words - {"ariadne-codegen"})
    assert GENERATOR.bin.parent.name == ".venv-ariadne-codegen"


async def test_scalars_and_inputs_are_typed(python_client: Built) -> None:
    (python_client.folder / "typed.py").write_text(TYPED)

    code, said = await python_client.outcome("mypy", "typed.py")

    assert code == 0, said


async def test_the_program_logs_finds_and_watches(python_client: Built, url: str, calls: CallsStore) -> None:
    async with python_client.program(url, PROJECT) as program:
        call = await log_and_find(program)
        await end_call(calls, call)
        await see_end(program)

    async with httpx.AsyncClient() as http:
        found = await http.get(url, params={"query": FILES.format(PROJECT)})
    assert found.json()["data"] == {"filesStats": {"count": 1, "totalSizeBytes": len("A thread.")}}
