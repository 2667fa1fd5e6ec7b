"""Helpers that read a test's stored feedback."""

from typing import Any

from stores.feedback import FeedbackStore
from stores.paging import PageRequest
from tests.stores.calls.builders import PROJECT


async def everything(store: FeedbackStore) -> list[dict[str, Any]]:
    """Return all rows, oldest first."""
    page = await store.page(PROJECT, PageRequest(size=10_000), {"id", "payload", "weave_ref", "feedback_type"})
    return page.rows


async def notes(store: FeedbackStore) -> dict[str, str]:
    """Return the JSON text of every payload, by id."""
    return {row["id"]: row["json"]["payload"] for row in await everything(store)}
