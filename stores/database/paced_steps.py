"""Long work in small steps, with pauses that leave the database to other requests."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from time import monotonic
from typing import Any, Final

from stores.database import Collection, Database, Document
from stores.database.transactions import Session

WorkSteps = AsyncGenerator[None, None]
Order = Sequence[tuple[str, int]]

_DONE: Final = object()


def deadline_in(seconds: float | None) -> float | None:
    """Return the `monotonic` time in `seconds` from now; None for no limit."""
    return None if seconds is None else monotonic() + seconds


def is_past(deadline: float | None) -> bool:
    """True if the deadline has passed; False for None."""
    return deadline is not None and monotonic() >= deadline


async def run_paced(database: Database, steps: WorkSteps, pause: float, deadline: float | None) -> bool:
    """Run the steps; return True at their end, or False if the deadline passed first.

    After each step it pauses for `pause` times the step's duration.

    Raises:
        UnavailableError: if the database is unreachable.
    """
    is_running = False
    try:
        while not is_past(deadline):
            started_at, is_running = monotonic(), True
            is_done = await database.run(_advance(steps), is_long=True) is _DONE
            is_running = False
            if is_done:
                return True
            await asyncio.sleep((monotonic() - started_at) * pause)
        return False
    finally:
        if not is_running:  # an interrupted step still runs in its thread and ends the generator itself
            await steps.aclose()


async def _advance(steps: WorkSteps) -> object:
    return await anext(steps, _DONE)


async def change_in_batches(
    database: Database,
    collection: Collection,
    match: Document,
    size: int,
    change: Callable[[Session, list[Document]], Awaitable[object]],
    paths: Sequence[str] = ("_id",),
    order: Order = (),
    **options: Any,
) -> AsyncGenerator[list[Document], None]:
    """Change all matching documents in batches, each in one transaction; yield each batch after its change.

    `change` gets the `paths` of the documents, and must delete them or make them match no more. `options` are those of
    the driver's `find`.
    """
    match = dict(match)

    async def change_batch(session: Session) -> list[Document]:
        how = {"sort": list(order), **options} if order else options
        found = collection.find(match, paths, limit=size, session=session, **how)
        documents: list[Document] = await found.to_list(None)
        if documents:
            await change(session, documents)
        return documents

    while documents := await database.transaction(change_batch):
        for path, direction in order[:1]:
            # Continue behind deleted keys, which MongoDB would skip one by one. Behind null, it would find only null.
            if isinstance(last := documents[-1].get(path), int | float | str):
                match[path] = {**match.get(path, {}), "$gte" if direction > 0 else "$lte": last}
        yield documents


def key_range(project_id: str, after: str = "") -> Document:
    """Return the condition on the `_id`s of a project's documents, of all or of those after a key."""
    return {"$gt": after or f"{project_id}:", "$lt": f"{project_id};"}


def weighted_batches(
    documents: Sequence[Document], weight: str, max_weight: int, max_number: int | None = None
) -> Iterator[list[Document]]:
    """Split documents into batches of limited number and sum of their fields `weight`; a heavier document is alone."""
    batch: list[Document] = []
    total = 0
    for document in documents:
        total += document.get(weight, 0)
        if batch and (total > max_weight or len(batch) == max_number):
            yield batch
            batch, total = [], document.get(weight, 0)
        batch.append(document)
    if batch:
        yield batch
