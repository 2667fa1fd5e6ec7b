"""Backfill of fields that calls written by older versions of LoomQL lack, done once per database.

The holder of the lease reads all calls in batches, in the order of `_id`. One document stores the progress, so that
another process continues after a crash, and later processes only read that it is done. Updates depend only on the call
itself: repeated or concurrent steps and concurrent writers do no harm, and calls written meanwhile need no backfill.
Servers of an older version must not write during the backfill.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from bson import encode as bson_encode
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from stores.calls import documents
from stores.concurrency.time_slices import TimeSlice
from stores.database import Database, Document
from stores.database.error_translation import TOO_LARGE
from stores.database.leases import LEASE_SECONDS, Lease, LeaseLostError
from stores.errors import StoreError
from stores.json import codec
from stores.otel.usage import usage_of_stored
from stores.rollups.marks import marked_hours
from stores.usage.entries import by_model

_UPDATES_BYTES: Final = 4_000_000
"""Maximum JSON text of pending updates, apart from the last call's."""

_ALWAYS_FITS: Final = documents.MAX_BYTES // documents.MAX_GROWTH

_ID: Final = f"calls:{documents.DERIVED_VERSION}"
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

    def __init__(self, database: Database, step: int = 2_000, lease_seconds: float = LEASE_SECONDS) -> None:
        self._database = database
        self._calls = database.calls
        self._upgrades = database.upgrades
        self._step = step
        self._lease = Lease(database, database.upgrades, {"_id": _ID, "is_done": False}, lease_seconds)

    async def advance(self) -> Progress | None:
        """Process one batch of calls, unless another process holds the lease; return the progress, None when done.

        Raises:
            UnavailableError: if no server is reachable; the next call continues.
        """
        return await self._database.run(self._advance(), is_long=True)

    async def _advance(self) -> Progress | None:
        state = await self._upgrades.find_one({"_id": _ID}) or await self._start()
        if state["is_done"]:
            return None
        if not await self._lease.acquire():
            return _progress(state, is_ours=False)
        position = self._lease.state["position"]
        cursor = self._calls.find({"_id": {"$gt": position}}, {"_id": 1}, sort=[("_id", 1)], limit=self._step)
        keys = [document["_id"] async for document in cursor]
        changed = await self._backfill({"_id": {"$gt": position, "$lte": keys[-1]}}) if keys else 0
        advanced = {"position": keys[-1] if keys else position, "is_done": len(keys) < self._step}
        with suppress(LeaseLostError):  # another process repeats this batch, which does no harm
            await self._lease.advance(advanced, {"looked_at": len(keys), "changed": changed})
        return _progress(self._lease.state, is_ours=True)

    async def _start(self) -> Document:
        new = {"position": "", "looked_at": 0, "changed": 0, "is_done": False}
        new["total"] = await self._calls.estimated_document_count()
        await self._upgrades.update_one({"_id": _ID}, {"$setOnInsert": new}, upsert=True)
        return new

    async def _backfill(self, range_match: Document) -> int:
        """Backfill a range of calls; return the number of changes."""
        async with marked_hours(self._database, {}, stored=range_match):
            return await self._backfill_range(range_match)

    async def _backfill_range(self, range_match: Document) -> int:
        # The columns of ends follow from the usage, so the order of the derivations counts.
        differs = {"$ne": [{"$ifNull": ["$turn_of", None]}, {"$ifNull": [documents.TURN_OF, None]}]}
        turns = await self._calls.update_many(
            {**range_match, "$expr": differs}, [{"$set": {"turn_of": documents.TURN_OF}}]
        )
        return turns.modified_count + sum([await self._backfill_each(range_match, each) for each in _DERIVATIONS])

    async def _backfill_each(self, range_match: Document, derivation: "_Derivation") -> int:
        """Write the fields that derive from some texts of each call; return the number of changes."""
        texts = (f"json.{text}" for text in derivation.texts)
        names = (*documents.KEY_FIELDS, *documents.COLUMN_FIELDS, *derivation.fields, *texts)
        wanted = dict.fromkeys(names, 1) | derivation.also_read
        changed = 0
        pending: list[UpdateOne] = []
        pending_bytes = 0
        time_slice = TimeSlice()
        async for call in self._calls.find({**range_match, **derivation.match}, wanted):
            if time_slice.is_used_up():
                await time_slice.yield_to_loop()
            if update := derivation.update(call):
                pending.append(update)
                pending_bytes += sum(map(len, call["json"].values()))
            if pending_bytes > _UPDATES_BYTES:
                changed += await self._write(pending, derivation)
                pending, pending_bytes = [], 0
        return changed + await self._write(pending, derivation)

    async def _write(self, updates: list[UpdateOne], derivation: "_Derivation") -> int:
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
                derivation.warn_skipped(failure["op"]["q"]["_id"], _NO_ROOM)
            return int(details["nModified"])


@dataclass(frozen=True, slots=True)
class _Derivation:
    """Fields of a call that derive from some of its JSON texts.

    Attributes:
        texts: names of the texts, of which every call that `match` finds has one.
        noun: the fields, for the log.
        fields: their names.
        match: finds the calls that may have the fields.
        derive: returns the fields from the call and the values of the texts; a field that is absent or None is removed.
        also_read: projection of whatever else `derive` needs.
        unchanged: names of other fields whose change makes an update invalid, as a change of the texts does.
    """

    texts: tuple[str, ...]
    noun: str
    fields: tuple[str, ...]
    match: Document
    derive: Callable[..., Document]
    also_read: Document
    unchanged: tuple[str, ...] = ()

    def update(self, call: Document) -> UpdateOne | None:
        """Return the update of a call, valid if its texts are unchanged; None if nothing changes."""
        texts = {text: call["json"].get(text) for text in self.texts}
        values = []
        for name, text in texts.items():
            try:
                values.append(None if text is None else codec.loads(text.encode()))
            except StoreError as error:
                self.warn_skipped(call["_id"], f"its {name} cannot be read ({error})")
                return None
        derived = {name: value for name, value in self.derive(call, *values).items() if value is not None}
        others = {name: value for name, value in call.items() if name not in self.fields}
        shared = documents.shared_columns(others | derived)
        known = (*self.fields, *documents.SHARED_EXPRESSIONS)
        if derived | shared == {name: call[name] for name in known if name in call}:
            return None
        if (
            sum(map(len, filter(None, texts.values()))) > _ALWAYS_FITS
            and len(bson_encode(derived)) > documents.MAX_BYTES
        ):
            self.warn_skipped(call["_id"], _NO_ROOM)
            return None
        found_by: Document = {name: call[name] for name in documents.KEY_FIELDS if name in call}
        found_by |= {f"json.{name}": text for name, text in texts.items()}
        found_by |= {name: call.get(name) for name in self.unchanged}
        change = {name: {"$literal": derived[name]} if name in derived else "$$REMOVE" for name in self.fields}
        return UpdateOne(found_by, [{"$set": change}, {"$set": documents.SHARED_EXPRESSIONS}])

    def warn_skipped(self, key: str, reason: str) -> None:
        """Log that a call stays without the fields."""
        logger.warning("call %s is stored without its %s: %s", key, self.noun, reason)


def _usage_fields(call: Document, summary: object) -> Document:
    """Return a call's usage fields, derived from its summary or its span attributes.

    The attributes are preferred if the summary states the same usage.
    """
    attributes = call["json"].get("attributes", "")
    sent = by_model(summary)
    usage = usage_of_stored(codec.loads(attributes.encode())) if sent and '"otel_span":' in attributes else {}
    if not usage or any(_without_parts(usage[model]) != _without_parts(sent.get(model, {})) for model in usage):
        return documents.summary_usage_fields(summary)
    return documents.summary_usage_fields({"usage": usage}, call.get("usage_scope"))


def _without_parts(counts: Document) -> Document:
    return {name: counts.get(name) for name in _TOKEN_FIELDS}


def _example_fields(call: Document, inputs: object) -> Document:
    """Return the digest of a prediction's example; a call keeps the digest that it has if its inputs have none."""
    digest = documents.example_digest(call["op_trace_name"], inputs) or call.get("example_digest")
    return {"example_digest": digest} if digest else {}


_START_DATA: Final = ("op_trace_name", "started_at", "parent_id")

_DERIVATIONS: Final = (
    _Derivation(
        texts=("summary",),
        noun="usage",
        fields=("usage", "total_tokens", "usage_scope"),
        match={"json.summary": _HAS_USAGE},
        derive=_usage_fields,
        also_read={"json.attributes": _SPAN_ATTRIBUTES},
    ),
    _Derivation(
        texts=("inputs",),
        noun="example",
        fields=("example_digest",),
        match={"op_trace_name": {"$regex": documents.PREDICTION_OPS}, "json.inputs": {"$exists": True}},
        derive=_example_fields,
        also_read={"op_trace_name": 1},
    ),
    _Derivation(
        texts=("attributes", "inputs"),
        noun="columns",
        fields=("thread_id", "turn_id", "turn_of", *documents.START_COLUMN_FIELDS),
        match={
            "json.attributes": {"$exists": True},
            "started_at": {"$exists": True},
            "op_trace_name": {"$exists": True},
        },
        derive=documents.start_column_fields,
        also_read=dict.fromkeys(_START_DATA, 1),
        unchanged=(*_START_DATA, "thread_id", "turn_id"),
    ),
    _Derivation(
        texts=("output", "summary"),
        noun="columns",
        fields=documents.END_COLUMN_FIELDS,
        match={"json.summary": {"$exists": True}, "ended_at": {"$exists": True}},
        derive=documents.end_column_fields,
        also_read=dict.fromkeys(("exception", "usage", "usage_scope"), 1),
        unchanged=("exception", "usage_scope"),
    ),
)


def _progress(state: Document, *, is_ours: bool) -> Progress:
    return Progress(state["looked_at"], state["changed"], state["total"], is_ours)
