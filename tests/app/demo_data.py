"""The loaded demo, for its tests."""

from dataclasses import dataclass
from typing import Any

import orjson

from app import demo
from app.demo.library import COMPANY, PROMPT
from graphql_schema.context import Stores
from stores import times
from stores.calls import CallsStore
from stores.paging import PageRequest, Row

PROJECT = demo.PROJECT_ID
PROMPT_TEXTS = [version["content"] for version in COMPANY["objects"][PROMPT]["versions"].values()]
NOW = times.parse("2026-03-14T10:30:00Z")
IDS = ("id", "trace_id", "parent_id", "thread_id", "turn_id", "wb_user_id")
OUTCOME = ("op_name", "display_name", "started_at", "ended_at", "latency_ms", "status", "exception")
COLUMNS = ("op_trace_name", "kind", "user_id", "tags")
FIELDS = (*IDS, *OUTCOME, *COLUMNS, "inputs", "output", "attributes", "summary")


@dataclass
class Loaded:
    """Stores that contain the demo, the return value of `load`, and its progress reports."""

    stores: Stores
    returned: int
    progress: list[tuple[int, int]]


def ignore(_done: int, _total: int) -> None:
    """Ignore a progress report."""


async def rows_of(calls: CallsStore) -> dict[str, Row]:
    page = await calls.page(PROJECT, PageRequest(size=10_000), FIELDS)
    return {row["id"]: row for row in page.rows}


def payload(row: Row, name: str) -> Any:
    return orjson.loads(row["json"][name])
