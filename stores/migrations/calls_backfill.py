"""Backfill of fields that calls written by older versions of LoomQL lack, done once per database.

The holder of the lease reads all calls in batches, in the order of `_id`. One document stores the progress, so that
another process continues after a crash, and later processes only read that it is done. Updates depend only on the call
itself: repeated or concurrent steps and concurrent writers do no harm, and calls written meanwhile need no backfill.
Servers of an older version must not write during the backfill.
"""

import logging
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from typing import Any, Final

from bson import encode as bson_encode
from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError

from stores.calls.documents import (
    DERIVED_VERSION,
    KEY_FIELDS,
    MAX_BYTES,
    MAX_GROWTH,
    PREDICTION_OPS,
    TURN_OF,
    example_digest,
    summary_usage_fields,
)
from stores.concurrency.time_slices import TimeSlice
from stores.database import Database, Document
from stores.database.error_translation import TOO_LARGE
from stores.database.leases import LEASE_SECONDS, available_to, lease_update, new_holder
from stores.errors import StoreError
from stores.json import codec
from stores.otel.usage import usage_of_stored
from stores.usage.entries import by_model

_STEP: Final = 2_000

_UPDATES_BYTES: Final = 4_000_000
"""Maximum JSON text of pending updates, apart from the last call's."""

_ALWAYS_FITS: Final = MAX_BYTES // MAX_GROWTH

_ID: Final = f"calls:{DERIVED_VERSION}"
_USAGE_FIELDS: Final = ("usage", "total_tokens", "usage_scope")
_EXAMPLE_FIELD: Final = "example_digest"
_TOKEN_FIELDS: Final = ("prompt_tokens", "input_tokens", "completion_tokens", "output_tokens")
_HAS_USAGE: Final = {"$regex": '"usage":'}
"""Matches the text of every summary with such a key, so that most other summaries need not be read."""

_SPAN_ATTRIBUTES: Final[Document] = {
    "$cond": [
        {"$regexMatch": {"input": {"$ifNull": ["$json.attributes", ""]}, "regex": '"otel_span":'}},
        "$json.attributes",
        "$$REMOVE",
    ]
}
"""The attributes of a call that may come from a span: they contain parts of its usage that its summary lacks."""

_DERIVED_FROM: Final = {"summary": "usage", "inputs": "example"}

_NO_ROOM: Final = "the document would exceed MongoDB's maximum size"

logger = logging.getLogger("loomql")


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress: calls read, calls changed, estimated total, and whether this process does the work."""

    looked_at: int
    changed: int
    total: int
    is_ours: bool

    @property
    def percent(self) -> int:
        """Percentage of calls read."""
        return 100 * self.looked_at // max(self.total, self.looked_at, 1)

    def __str__(self) -> str:
        """Return a readable text."""
        return f"{self.looked_at:,} of about {max(self.total, self.looked_at):,} calls"


class CallsBackfill:
    """The backfill of a database's calls, from the view of one process."""

    def __init__(self, database: Database, step: int = _STEP, lease_seconds: float = LEASE_SECONDS) -> None:
        self._database = database
        self._calls = database.calls
        self._upgrades = database.upgrades
        self._step = step
        self._lease_seconds = lease_seconds
        self._holder = new_holder()

    async def advance(self) -> Progress | None:
        """Process one batch of calls, unless another process holds the lease; return the progress, None when done.

        Raises:
            UnavailableError: if no server is reachable; the next call continues.
        """
        return await self._database.run(self._advance())

    async def _advance(self) -> Progress | None:
        state = await self._upgrades.find_one({"_id": _ID}) or await self._start()
        if state["is_done"]:
            return None
        leased = await self._update_and_renew({})
        if leased is None:
            return _progress(state, is_ours=False)
        cursor = self._calls.find({"_id": {"$gt": leased["position"]}}, {"_id": 1}, sort=[("_id", 1)], limit=self._step)
        keys = [document["_id"] async for document in cursor]
        changed = await self._backfill({"_id": {"$gt": leased["position"], "$lte": keys[-1]}}) if keys else 0
        advanced = {
            "position": {"$literal": keys[-1] if keys else leased["position"]},
            "looked_at": {"$add": ["$looked_at", len(keys)]},
            "changed": {"$add": ["$changed", changed]},
            "is_done": len(keys) < self._step,
        }
        return _progress(await self._update_and_renew(advanced) or leased, is_ours=True)

    async def _start(self) -> Document:
        new = {"position": "", "looked_at": 0, "changed": 0, "is_done": False}
        new["total"] = await self._calls.estimated_document_count()
        await self._upgrades.update_one({"_id": _ID}, {"$setOnInsert": new}, upsert=True)
        return new

    async def _update_and_renew(self, changes: Document) -> Document | None:
        """Change the state and renew the lease; None, without a change, if another process has the lease."""
        return await self._upgrades.find_one_and_update(
            {"_id": _ID, "is_done": False, **available_to(self._holder)},
            [{"$set": {**changes, **lease_update(self._holder, self._lease_seconds)}}],
            return_document=ReturnDocument.AFTER,
        )

    async def _backfill(self, range_match: Document) -> int:
        """Backfill a range of calls; return the number of changes."""
        differs = {"$ne": [{"$ifNull": ["$turn_of", None]}, {"$ifNull": [TURN_OF, None]}]}
        turns = await self._calls.update_many({**range_match, "$expr": differs}, [{"$set": {"turn_of": TURN_OF}}])
        return (
            turns.modified_count + await self._backfill_usage(range_match) + await self._backfill_examples(range_match)
        )

    async def _backfill_usage(self, range_match: Document) -> int:
        wanted: Document = dict.fromkeys((*KEY_FIELDS, *_USAGE_FIELDS, "json.summary"), 1) | {
            "json.attributes": _SPAN_ATTRIBUTES
        }
        return await self._backfill_each(
            self._calls.find({**range_match, "json.summary": _HAS_USAGE}, wanted), "summary", _update
        )

    async def _backfill_examples(self, range_match: Document) -> int:
        wanted = dict.fromkeys((*KEY_FIELDS, _EXAMPLE_FIELD, "op_trace_name", "json.inputs"), 1)
        predictions = {**range_match, "op_trace_name": {"$regex": PREDICTION_OPS}, "json.inputs": {"$exists": True}}
        return await self._backfill_each(self._calls.find(predictions, wanted), "inputs", _update_of_inputs)

    async def _backfill_each(
        self, calls: AsyncIterable[Document], text: str, update_of: Callable[[Document], UpdateOne | None]
    ) -> int:
        """Write the updates that `update_of` derives from one text of each call; return the number of changes."""
        changed = 0
        pending: list[UpdateOne] = []
        pending_bytes = 0
        time_slice = TimeSlice()
        async for call in calls:
            if time_slice.is_used_up():
                await time_slice.yield_to_loop()
            if update := update_of(call):
                pending.append(update)
                pending_bytes += len(call["json"][text])
            if pending_bytes > _UPDATES_BYTES:
                changed += await self._write(pending)
                pending, pending_bytes = [], 0
        return changed + await self._write(pending)

    async def _write(self, updates: list[UpdateOne]) -> int:
        if not updates:
            return 0
        try:
            return (await self._calls.bulk_write(updates, ordered=False)).modified_count
        except BulkWriteError as error:
            details: dict[str, Any] = dict(error.details or {})
            failures = details.get("writeErrors", [])
            if details.get("writeConcernErrors") or any(failure["code"] not in TOO_LARGE for failure in failures):
                raise
            for failure in failures:
                found_by = failure["op"]["q"]
                _warn_skipped(found_by["_id"], _NO_ROOM, "inputs" if "json.inputs" in found_by else "summary")
            return int(details["nModified"])


def _update(call: Document) -> UpdateOne | None:
    """Return the update of a call's usage, valid if its summary is unchanged; None if nothing changes."""
    text = call["json"]["summary"]
    try:
        usage_fields = _usage_fields(call, codec.loads(text.encode()))
    except StoreError as error:
        _warn_skipped(call["_id"], f"its summary cannot be read ({error})", "summary")
        return None
    if usage_fields == {name: call[name] for name in _USAGE_FIELDS if name in call}:
        return None
    if len(text) > _ALWAYS_FITS and len(bson_encode(usage_fields)) > MAX_BYTES:
        _warn_skipped(call["_id"], _NO_ROOM, "summary")
        return None
    found_by: Document = {name: call[name] for name in KEY_FIELDS if name in call}
    absent = {name: "" for name in _USAGE_FIELDS if name not in usage_fields}
    change = {**({"$set": usage_fields} if usage_fields else {}), **({"$unset": absent} if absent else {})}
    return UpdateOne({**found_by, "json.summary": text}, change)


def _usage_fields(call: Document, summary: object) -> Document:
    """Return a call's usage fields, derived from its summary or its span attributes.

    The attributes are preferred if the summary states the same usage.
    """
    attributes = call["json"].get("attributes")
    sent = by_model(summary)
    usage = usage_of_stored(codec.loads(attributes.encode())) if attributes and sent else {}
    if not usage or any(_without_parts(usage[model]) != _without_parts(sent.get(model, {})) for model in usage):
        return summary_usage_fields(summary)
    return summary_usage_fields({"usage": usage}, call.get("usage_scope"))


def _without_parts(counts: Document) -> Document:
    return {name: counts.get(name) for name in _TOKEN_FIELDS}


def _update_of_inputs(call: Document) -> UpdateOne | None:
    """Return the update of a prediction's example, valid if its inputs are unchanged; None if nothing changes."""
    text = call["json"]["inputs"]
    try:
        digest = example_digest(call["op_trace_name"], codec.loads(text.encode()))
    except StoreError as error:
        _warn_skipped(call["_id"], f"its inputs cannot be read ({error})", "inputs")
        return None
    if digest is None or digest == call.get(_EXAMPLE_FIELD):
        return None
    found_by: Document = {name: call[name] for name in KEY_FIELDS if name in call}
    return UpdateOne({**found_by, "json.inputs": text}, {"$set": {_EXAMPLE_FIELD: digest}})


def _warn_skipped(key: str, reason: str, text: str) -> None:
    logger.warning("call %s is stored without its %s: %s", key, _DERIVED_FROM[text], reason)


def _progress(state: Document, *, is_ours: bool) -> Progress:
    return Progress(state["looked_at"], state["changed"], state["total"], is_ours)
