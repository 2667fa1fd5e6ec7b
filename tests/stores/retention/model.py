"""A model of a sweep's result, computed in plain Python from all documents of a project."""

import json
from collections import defaultdict
from dataclasses import dataclass, field

from stores.database import Collection, Database, Document
from stores.retention import Counts, GracePeriods, Rule
from stores.retention.rules import DAY


@dataclass
class Contents:
    """All documents of one project, by their keys."""

    calls: dict[str, Document]
    feedback: dict[str, Document]
    objects: dict[str, Document]
    rows: dict[str, Document]
    files: dict[str, Document]
    chunks: set[str] = field(default_factory=set)

    @property
    def keys(self) -> dict[str, set[str]]:
        """Return the keys of all documents but the chunks of files."""
        return {name: set(getattr(self, name)) for name in ("calls", "feedback", "objects", "rows", "files")}


async def contents(database: Database, project_id: str) -> Contents:
    """Return the stored documents of a project."""

    async def of(collection: Collection) -> dict[str, Document]:
        return {one["_id"]: one async for one in collection.find({"project_id": project_id})}

    found = Contents(
        calls=await of(database.calls),
        feedback=await of(database.feedback),
        objects=await of(database.objects),
        rows=await of(database.table_rows),
        files=await of(database.files),
    )
    keys = await database.file_chunks.distinct("files_id")
    found.chunks = {key for key in keys if key.startswith(f"{project_id}:")}
    return found


def expected(there: Contents, rule: Rule, patience: GracePeriods, now: int) -> tuple[Contents, Counts]:
    """Return the documents that a sweep at time `now` should leave, and its counts."""
    gone = _calls_that_go(there, rule, patience, now)
    hidden = {key for key, call in there.calls.items() if call.get("deleted_at", now) < now - patience.deleted}
    calls = {key: call for key, call in there.calls.items() if key not in gone | hidden}
    feedback = {
        key: one for key, one in there.feedback.items() if not _goes(one, there, calls, now - patience.feedback)
    }
    files = _files_that_stay(there, calls, feedback, now, patience)
    left = Contents(calls, feedback, there.objects, there.rows, files)
    swept = [there.calls[key] for key in gone]
    counts = Counts(
        traces=len({call["trace_id"] for call in swept}),
        calls=len(gone),
        hidden_calls=len(hidden),
        feedback=len(there.feedback) - len(feedback),
        files=len(there.files) - len(files),
        trace_bytes=sum(len(json.dumps(json.loads(text))) for call in swept for text in call["json"].values()),
        file_bytes=sum(one["length"] for key, one in there.files.items() if key not in files),
    )
    return left, counts


def _calls_that_go(there: Contents, rule: Rule, patience: GracePeriods, now: int) -> set[str]:
    visible = {key: call for key, call in there.calls.items() if call["visible"]}
    newest_first = sorted((call["started_at"] for call in visible.values()), reverse=True)
    kept = rule.keep_calls
    nth = newest_first[kept - 1] if kept is not None and kept <= len(newest_first) else None

    def stays(call: Document) -> bool:
        last = max(call["started_at"], call.get("ended_at", call["started_at"]))
        if "ended_at" not in call and call["started_at"] >= now - patience.unfinished:
            return True
        old_by_days = rule.keep_days is not None and last < now - rule.keep_days * DAY
        return not (old_by_days or (nth is not None and call["started_at"] < nth))

    traces: dict[str, list[str]] = defaultdict(list)
    for key, call in visible.items():
        traces[call["trace_id"]].append(key)
    gone: set[str] = set()
    for keys in traces.values():
        members = [visible[key] for key in keys]
        has_root = any("parent_id" not in call for call in members)
        last = max(max(call["started_at"], call.get("ended_at", call["started_at"])) for call in members)
        if not any(map(stays, members)) and (has_root or last < now - patience.unfinished):
            gone |= set(keys)
    return gone


def _goes(feedback: Document, there: Contents, left: dict[str, Document], before: int) -> bool:
    if "call_id" not in feedback:
        return False
    key = f"{feedback['project_id']}:{feedback['call_id']}"
    return key not in left and (key in there.calls or feedback["created_at"] < before)


def _files_that_stay(
    there: Contents, calls: dict[str, Document], feedback: dict[str, Document], now: int, patience: GracePeriods
) -> dict[str, Document]:
    texts = [
        text
        for documents in (calls, feedback, there.objects, there.rows)
        for document in documents.values()
        for text in document.get("json", {}).values()
    ]
    everything = "\n".join(texts)
    return {
        key: one
        for key, one in there.files.items()
        if one["digest"] in everything or max(one["created_at"], one.get("touched_at", 0)) >= now - patience.files
    }
