"""Conversations of traces and threads, derived from the messages of their model calls."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from stores.calls.fields import calls_match
from stores.calls.messages import inputs_of, outputs_of, read_messages
from stores.concurrency.time_slices import cooperative, cooperative_async
from stores.database import Database, database_query
from stores.errors import BadInputError
from stores.paging import Row
from stores.senders.conversation import Conversation

MAX_CALLS: Final = 1_000
"""Model calls of one conversation, each of which repeats the history before it."""

MAX_ENTRIES: Final = 100_000
"""Messages of one conversation."""

_BATCH_ROWS: Final = 20
"""Calls in memory at once: each may have megabytes of history."""

_MODEL_CALL: Final = "llm"

Key = tuple[Any, ...]
"""A project first, then the trace or thread last, as the keys of these stores."""


class ConversationsStore:
    """Conversations: rows with a `message`, the `project_id`, and the `call_id` of the call that first has it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @database_query
    async def of_traces(self, keys: Sequence[Key]) -> dict[Key, list[Row]]:
        """Return the conversation of each trace; see `_read`."""
        return {key: await self._read(key[0], "trace_id", key[-1]) async for key in cooperative(keys)}

    @database_query
    async def of_threads(self, keys: Sequence[Key]) -> dict[Key, list[Row]]:
        """Return the conversation of each thread; see `_read`."""
        return {key: await self._read(key[0], "thread_id", key[-1]) async for key in cooperative(keys)}

    async def _read(self, project_id: str, field: str, value: str) -> list[Row]:
        """Return the messages of model calls in the order of their starts; those of roots if there is no model call.

        Raises:
            BadInputError: if there are more than `MAX_CALLS` calls, or more than `MAX_ENTRIES` messages.
        """
        match = calls_match(project_id) | {field: value}
        return await self._join(project_id, match | {"kind": _MODEL_CALL}) or await self._join(
            project_id, match | {"parent_id": None}
        )

    async def _join(self, project_id: str, match: dict[str, Any]) -> list[Row]:
        stages: list[dict[str, Any]] = [
            {"$match": match},
            {"$sort": {"started_at": 1, "id": 1}},
            {"$limit": MAX_CALLS + 1},
            {"$project": {"_id": 0} | dict.fromkeys(("id", "trace_id", "started_at", "ended_at", *_TEXTS), 1)},
        ]
        conversation, entries, count = Conversation(), list[Row](), 0
        async for row in cooperative_async(aiter(self.database.calls.aggregate(stages, batchSize=_BATCH_ROWS))):
            count += 1
            if count > MAX_CALLS:
                raise BadInputError(
                    f"a conversation may have {MAX_CALLS:,} model calls, and this one has more; read their messages by "
                    "calls(filter: { kinds: [LLM] })"
                )
            inputs, outputs = await read_messages(row, inputs_of), await read_messages(row, outputs_of)
            period = row["started_at"], row.get("ended_at")
            new = await asyncio.to_thread(conversation.add, row["trace_id"], *period, inputs, outputs)
            entries += [{"project_id": project_id, "call_id": row["id"], "message": message} for message in new]
            if len(entries) > MAX_ENTRIES:
                raise BadInputError(
                    f"a conversation may have {MAX_ENTRIES:,} messages, and this one has more; read them by calls"
                )
        return entries


_TEXTS: Final = ("json.inputs", "json.output", "json.attributes")
