"""What calls of older versions of LoomQL lack of what is kept today, filled in once for each database.

Whoever holds the lease looks through all calls in the order of `_id`, some at a time. How far that went is kept in one
document, so that who comes after a kill goes on from there, and whoever comes when all is done reads that and no more.
What is written depends on nothing but the call as it is by then: two at once, a step that is done again, and those who
write the same calls meanwhile do no harm, and calls that are written meanwhile lack nothing. Only servers of an older
version must not write any more.
"""

import logging
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from typing import Any, Final

from bson import encode as bson_encode
from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError

from stores.calls.documents import FOUND_BY, KEPT_VERSION, TURN_OF, kept_of_summary
from stores.calls.example_digests import PREDICTIONS, example_digest
from stores.calls.payloads import MAX_BYTES, MAX_GROWTH
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
"""The most JSON text, but for that of one call, that waits to be written."""

_SURELY_FITS: Final = MAX_BYTES // MAX_GROWTH

_ID: Final = f"calls:{KEPT_VERSION}"
_OF_SUMMARY: Final = ("usage", "total_tokens", "usage_scope")
_OF_INPUTS: Final = "example_digest"
_OF_SPANS: Final = ("prompt_tokens", "input_tokens", "completion_tokens", "output_tokens")
_NAMES_MODELS: Final = {"$regex": '"usage":'}
"""Met by the text of every summary that has such a key: most of the others need not be sent."""

_OF_SPAN: Final[Document] = {
    "$cond": [
        {"$regexMatch": {"input": {"$ifNull": ["$json.attributes", ""]}, "regex": '"otel_span":'}},
        "$json.attributes",
        "$$REMOVE",
    ]
}
"""The attributes of a call that a span may have made: they state parts of its usage that its summary does not."""

_TOLD_BY: Final = {"summary": "usage", "inputs": "example"}

_NO_ROOM: Final = "with that it is larger than the database takes"

logger = logging.getLogger("loomql")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is: calls looked at, changes made, about how many calls there are, whether this process does it."""

    looked_at: int
    changed: int
    total: int
    is_ours: bool

    @property
    def percent(self) -> int:
        """The part of the calls that was looked at."""
        return 100 * self.looked_at // max(self.total, self.looked_at, 1)

    def __str__(self) -> str:
        """As a person reads it."""
        return f"{self.looked_at:,} of about {max(self.total, self.looked_at):,} calls"


class CallsUpgrade:
    """The upgrade of a database's calls, as one process takes part in it."""

    def __init__(self, database: Database, step: int = _STEP, lease_seconds: float = LEASE_SECONDS) -> None:
        self._database = database
        self._calls = database.calls
        self._upgrades = database.upgrades
        self._step = step
        self._lease_seconds = lease_seconds
        self._holder = new_holder()

    async def advance(self) -> Progress | None:
        """Look through some more calls, unless another process does; how far it is, or None when all is done.

        Raises:
            UnavailableError: no server could be reached; to advance again goes on from there.
        """
        return await self._database.run(self._advance())

    async def _advance(self) -> Progress | None:
        state = await self._upgrades.find_one({"_id": _ID}) or await self._begin()
        if state["is_done"]:
            return None
        held = await self._hold({})
        if held is None:
            return _progress(state, is_ours=False)
        found = self._calls.find({"_id": {"$gt": held["position"]}}, {"_id": 1}, sort=[("_id", 1)], limit=self._step)
        keys = [document["_id"] async for document in found]
        changed = await self._fill_in({"_id": {"$gt": held["position"], "$lte": keys[-1]}}) if keys else 0
        ahead = {
            "position": {"$literal": keys[-1] if keys else held["position"]},
            "looked_at": {"$add": ["$looked_at", len(keys)]},
            "changed": {"$add": ["$changed", changed]},
            "is_done": len(keys) < self._step,
        }
        return _progress(await self._hold(ahead) or held, is_ours=True)

    async def _begin(self) -> Document:
        new = {"position": "", "looked_at": 0, "changed": 0, "is_done": False}
        new["total"] = await self._calls.estimated_document_count()
        await self._upgrades.update_one({"_id": _ID}, {"$setOnInsert": new}, upsert=True)
        return new

    async def _hold(self, changes: Document) -> Document | None:
        """Change the state and have the lease from now on; None, and nothing is changed, where another has it."""
        return await self._upgrades.find_one_and_update(
            {"_id": _ID, "is_done": False, **available_to(self._holder)},
            [{"$set": {**changes, **lease_update(self._holder, self._lease_seconds)}}],
            return_document=ReturnDocument.AFTER,
        )

    async def _fill_in(self, within: Document) -> int:
        """Bring the calls of a stretch up to what is kept today; how many lacked it."""
        other = {"$ne": [{"$ifNull": ["$turn_of", None]}, {"$ifNull": [TURN_OF, None]}]}
        turns = await self._calls.update_many({**within, "$expr": other}, [{"$set": {"turn_of": TURN_OF}}])
        return turns.modified_count + await self._fill_in_usage(within) + await self._fill_in_examples(within)

    async def _fill_in_usage(self, within: Document) -> int:
        wanted: Document = dict.fromkeys((*FOUND_BY, *_OF_SUMMARY, "json.summary"), 1) | {"json.attributes": _OF_SPAN}
        return await self._fill_in_each(
            self._calls.find({**within, "json.summary": _NAMES_MODELS}, wanted), "summary", _update
        )

    async def _fill_in_examples(self, within: Document) -> int:
        wanted = dict.fromkeys((*FOUND_BY, _OF_INPUTS, "op_trace_name", "json.inputs"), 1)
        predictions = {**within, "op_trace_name": {"$regex": PREDICTIONS}, "json.inputs": {"$exists": True}}
        return await self._fill_in_each(self._calls.find(predictions, wanted), "inputs", _update_of_inputs)

    async def _fill_in_each(
        self, calls: AsyncIterable[Document], text: str, update_of: Callable[[Document], UpdateOne | None]
    ) -> int:
        """Write what one of their texts tells of some calls; of how many that was another than there is."""
        changed = 0
        waiting: list[UpdateOne] = []
        waiting_bytes = 0
        turn = TimeSlice()
        async for call in calls:
            if turn.is_used_up():
                await turn.yield_to_loop()
            if update := update_of(call):
                waiting.append(update)
                waiting_bytes += len(call["json"][text])
            if waiting_bytes > _UPDATES_BYTES:
                changed += await self._write(waiting)
                waiting, waiting_bytes = [], 0
        return changed + await self._write(waiting)

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
                _leave_out(found_by["_id"], _NO_ROOM, "inputs" if "json.inputs" in found_by else "summary")
            return int(details["nModified"])


def _update(call: Document) -> UpdateOne | None:
    """What fills in a call's usage, unless its summary is another by then; None where nothing is lacking."""
    text = call["json"]["summary"]
    try:
        kept = _kept(call, codec.loads(text.encode()))
    except StoreError as error:
        _leave_out(call["_id"], f"its summary cannot be read ({error})", "summary")
        return None
    if kept == {name: call[name] for name in _OF_SUMMARY if name in call}:
        return None
    if len(text) > _SURELY_FITS and len(bson_encode(kept)) > MAX_BYTES:
        _leave_out(call["_id"], _NO_ROOM, "summary")
        return None
    found_by: Document = {name: call[name] for name in FOUND_BY if name in call}
    absent = {name: "" for name in _OF_SUMMARY if name not in kept}
    change = {**({"$set": kept} if kept else {}), **({"$unset": absent} if absent else {})}
    return UpdateOne({**found_by, "json.summary": text}, change)


def _kept(call: Document, summary: object) -> Document:
    """The fields of a call's usage: of a span's call as the span's attributes state it, if its summary does so, too."""
    attributes = call["json"].get("attributes")
    sent = by_model(summary)
    usage = usage_of_stored(codec.loads(attributes.encode())) if attributes and sent else {}
    if not usage or any(_without_parts(usage[model]) != _without_parts(sent.get(model, {})) for model in usage):
        return kept_of_summary(summary)
    return kept_of_summary({"usage": usage}, call.get("usage_scope"))


def _without_parts(counts: Document) -> Document:
    return {name: counts.get(name) for name in _OF_SPANS}


def _update_of_inputs(call: Document) -> UpdateOne | None:
    """What fills in a prediction's example, unless its inputs are others by then; None where nothing is lacking."""
    text = call["json"]["inputs"]
    try:
        digest = example_digest(call["op_trace_name"], codec.loads(text.encode()))
    except StoreError as error:
        _leave_out(call["_id"], f"its inputs cannot be read ({error})", "inputs")
        return None
    if digest is None or digest == call.get(_OF_INPUTS):
        return None
    found_by: Document = {name: call[name] for name in FOUND_BY if name in call}
    return UpdateOne({**found_by, "json.inputs": text}, {"$set": {_OF_INPUTS: digest}})


def _leave_out(key: str, reason: str, text: str) -> None:
    logger.warning("call %s stays without its %s: %s", key, _TOLD_BY[text], reason)


def _progress(state: Document, *, is_ours: bool) -> Progress:
    return Progress(state["looked_at"], state["changed"], state["total"], is_ours)
