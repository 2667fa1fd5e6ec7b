"""Feedback documents and their writes: all or none, and an existing id may be reused only by its owner."""

from collections.abc import Mapping, Sequence

from pymongo import ReplaceOne, UpdateOne

from stores import refs, times
from stores.database import Database, Document
from stores.database.transactions import Session
from stores.errors import IdTakenError, NotFoundError
from stores.feedback.inputs import NewFeedback
from stores.json.bson_copy import to_bson

_OWNER = ("weave_ref", "wb_user_id")

_REPLACES = "replaces"
"""Field with the id that a replacement replaced; it identifies a retried replacement."""


def key(project_id: str, feedback_id: str) -> Document:
    """Build the identifying fields; project ids contain no colon, so each `_id` is unique."""
    return {"_id": f"{project_id}:{feedback_id}", "project_id": project_id, "id": feedback_id}


def new_document(new: NewFeedback) -> Document:
    """Build the document of validated feedback; `created_at` defaults to the current time."""
    optional = {"creator": new.creator, **new.refs, "call_id": call_of(new.project_id, new.weave_ref)}
    return {
        **key(new.project_id, str(new.id)),
        "weave_ref": new.weave_ref,
        "feedback_type": new.feedback_type,
        "created_at": times.now() if new.created_at is None else new.created_at,
        "wb_user_id": new.wb_user_id,
        **{name: text for name, text in optional.items() if text is not None},
        "json": {"payload": new.text},
        "payload": to_bson(new.payload),
    }


def call_of(project_id: str, weave_ref: str) -> str | None:
    """Return the call id if the text is the ref of a call in the project; otherwise None."""
    if not weave_ref.startswith(f"{refs.SCHEME}{project_id}/call/") or not refs.is_ref(weave_ref):
        return None
    return refs.parse(weave_ref).name


async def write(
    database: Database,
    new: Sequence[Document],
    named: Mapping[str, Document],
    freed: Document | None = None,
) -> None:
    """Store documents in one transaction, after deleting `freed`.

    `new` have generated ids, `named` have ids of the client and are keyed by argument name. An existing id is
    overwritten only by the same user about the same ref; within a batch the later document wins.

    Raises:
        IdTakenError: an id belongs to other feedback; nothing was stored.
        NotFoundError: `freed` does not exist, and `named` has not replaced it before; nothing was stored.
        ConflictError: concurrent writers kept winning; nothing was stored.
    """
    if not new and not named:
        return
    project_ids = {document["project_id"] for document in (*new, *named.values())}
    if len(new) == 1 and not named and not freed:
        await database.ensure_projects_listed(project_ids)
        await database.feedback.insert_one(new[0])
        return
    last = _last_of_each(named)

    async def work(session: Session) -> None:
        await database.ensure_projects_listed(project_ids)
        # This runs before the deletion, because only the owner may reuse the deleted id.
        existing = await _check_owners(database, named, session) if last else {}
        if freed:
            deleted = await database.feedback.delete_one(freed, session=session)
            # A retried replacement finds what it stored the first time.
            is_repeated = any(row.get(_REPLACES) == freed["id"] for row in existing.values())
            if not deleted.deleted_count and not is_repeated:
                raise NotFoundError(
                    f"there is no feedback {freed['id']!r} in {freed['project_id']}; another request may have "
                    "replaced or purged it: read the feedback again, or create new feedback",
                    "feedback_id",
                )
        if last:
            marked = {_REPLACES: freed["id"]} if freed else {}
            replaced = [ReplaceOne(_identity(document), document | marked, upsert=True) for document in last]
            await database.feedback.bulk_write(replaced, session=session)
        if new:
            await database.feedback.insert_many(new, session=session)

    await database.transaction(work)


async def restore(database: Database, named: Mapping[str, Document]) -> None:
    """Store the documents whose ids do not exist; keys are argument names.

    Raises:
        ConflictError: an id belongs to other feedback, or concurrent writers kept winning; nothing was stored.
    """
    if not named:
        return
    await database.ensure_projects_listed({document["project_id"] for document in named.values()})
    # The first document of an id wins, as it would if the others came in later batches.
    first = _last_of_each(dict(reversed(list(named.items()))))

    async def work(session: Session) -> None:
        await _check_owners(database, named, session)
        added = [UpdateOne(_identity(document), {"$setOnInsert": _rest(document)}, upsert=True) for document in first]
        await database.feedback.bulk_write(added, session=session)

    await database.transaction(work)


def _rest(document: Document) -> Document:
    key = _identity(document)
    return {name: value for name, value in document.items() if name not in key}


def _identity(document: Document) -> Document:
    return {name: document[name] for name in ("_id", "project_id", "id")}


def _last_of_each(named: Mapping[str, Document]) -> list[Document]:
    last: dict[str, Document] = {}
    for at, document in named.items():
        _check_owner(at, document, last.get(document["_id"]))
        last[document["_id"]] = document
    return list(last.values())


async def _check_owners(database: Database, named: Mapping[str, Document], session: Session) -> Mapping[str, Document]:
    """Check that existing ids have the same owner; return the stored documents by `_id`."""
    ids = list({document["_id"] for document in named.values()})
    projects = list({document["project_id"] for document in named.values()})
    match = {"_id": {"$in": ids}, "project_id": {"$in": projects}}
    projection = dict.fromkeys((*_OWNER, _REPLACES), 1)
    rows = database.feedback.find(match, projection, session=session, batch_size=len(ids) + 1)
    existing = {row["_id"]: row async for row in rows}
    for at, document in named.items():
        _check_owner(at, document, existing.get(document["_id"]))
    return existing


def _check_owner(at: str, document: Document, there: Document | None) -> None:
    for name, noun in zip(_OWNER, ("about another weaveRef", "of another user"), strict=True):
        if there and there[name] != document[name]:
            message = (
                f"{document['id'][:128]!r} is the id of feedback {noun}; use another id or none, or purge that feedback"
            )
            raise IdTakenError(message, f"{at}.id")
