"""Writing feedback: all or none, and an id taken only by its owner."""

from collections.abc import Mapping, Sequence

from pymongo import ReplaceOne, UpdateOne

from stores.database import Database, Document
from stores.database.transactions import Session
from stores.errors import IdTakenError, NotFoundError

_OWNER = ("weave_ref", "wb_user_id")
_REPLACES = "replaces"
"""The id of the feedback that a replacement with an id took the place of: it tells a repeated replacement."""


async def write(
    database: Database,
    new: Sequence[Document],
    named: Mapping[str, Document],
    freed: Document | None = None,
) -> None:
    """Store documents, those with ids of their writers' own by their places among the arguments, after freeing one.

    An id that is there already is written anew by the same user about the same ref only; in one batch the later counts.

    Raises:
        TakenError: an id is another's; nothing was stored.
        NotFoundError: the one to free is not there, nor what was stored in its place by the id of the one to store;
            nothing was stored.
        ConflictError: others wrote it again and again; nothing was stored.
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
        # Before the old goes: its id may be kept by its owner only.
        there = await _check_owners(database, named, session) if last else {}
        if freed:
            deleted = await database.feedback.delete_one(freed, session=session)
            # A replacement that is sent again finds what it stored the first time.
            is_repeated = any(row.get(_REPLACES) == freed["id"] for row in there.values())
            if not deleted.deleted_count and not is_repeated:
                raise NotFoundError(
                    f"there is no feedback {freed['id']!r} in {freed['project_id']}; another request may have "
                    "replaced or purged it: read the feedback again, or create new feedback",
                    "feedback_id",
                )
        if last:
            marked = {_REPLACES: freed["id"]} if freed else {}
            replaced = [ReplaceOne(_key(document), document | marked, upsert=True) for document in last]
            await database.feedback.bulk_write(replaced, session=session)
        if new:
            await database.feedback.insert_many(new, session=session)

    await database.transaction(work)


async def restore(database: Database, named: Mapping[str, Document]) -> None:
    """Store documents that are not there yet, by their places among the arguments; what is there stays as it is.

    Raises:
        ConflictError: an id is another's, or others wrote it again and again; nothing was stored.
    """
    if not named:
        return
    await database.ensure_projects_listed({document["project_id"] for document in named.values()})
    # The first counts, as it would if the others came in a batch of their own.
    first = _last_of_each(dict(reversed(list(named.items()))))

    async def work(session: Session) -> None:
        await _check_owners(database, named, session)
        added = [UpdateOne(_key(document), {"$setOnInsert": _rest(document)}, upsert=True) for document in first]
        await database.feedback.bulk_write(added, session=session)

    await database.transaction(work)


def _rest(document: Document) -> Document:
    key = _key(document)
    return {name: value for name, value in document.items() if name not in key}


def _key(document: Document) -> Document:
    return {name: document[name] for name in ("_id", "project_id", "id")}


def _last_of_each(named: Mapping[str, Document]) -> list[Document]:
    last: dict[str, Document] = {}
    for at, document in named.items():
        _check_owner(at, document, last.get(document["_id"]))
        last[document["_id"]] = document
    return list(last.values())


async def _check_owners(database: Database, named: Mapping[str, Document], session: Session) -> Mapping[str, Document]:
    """Hold ids that are there already to their owners; return what is there, by `_id`."""
    ids = list({document["_id"] for document in named.values()})
    projects = list({document["project_id"] for document in named.values()})
    among = {"_id": {"$in": ids}, "project_id": {"$in": projects}}
    shown = dict.fromkeys((*_OWNER, _REPLACES), 1)
    rows = database.feedback.find(among, shown, session=session, batch_size=len(ids) + 1)
    there = {row["_id"]: row async for row in rows}
    for at, document in named.items():
        _check_owner(at, document, there.get(document["_id"]))
    return there


def _check_owner(at: str, document: Document, there: Document | None) -> None:
    for name, noun in zip(_OWNER, ("about another weaveRef", "of another user"), strict=True):
        if there and there[name] != document[name]:
            message = f"{document['id'][:128]!r} is the id of feedback {noun}; send another id, or none, or purge that"
            raise IdTakenError(message, f"{at}.id")
