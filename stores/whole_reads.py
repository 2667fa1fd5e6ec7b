"""Reads of which every row is wanted: done whole in a thread of the driver, in one step for the event loop.

A cursor of Motor's takes several steps to begin, and hands over its rows one by one on the event loop.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from motor.frameworks.asyncio import run_on_executor
from pymongo.read_concern import ReadConcern

from stores.database import Collection, Document
from stores.transactions import Session

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection as DriversCollection

Stages = Sequence[dict[str, Any]]

AT_ONE_MOMENT: Final = ReadConcern("snapshot")
"""Otherwise MongoDB, sorting by an index alone, drops what is deleted meanwhile after the limit has cut: such a page
comes short and looks like the last."""

_STEPS: Final = ("$match", "$sort", "$skip", "$limit", "$project")
"""What `find` does, too, in this order."""

_in_thread: Callable[..., Awaitable[list[Document]]] = run_on_executor


def all_rows(
    collection: Collection, stages: Stages, batch_size: int, session: Session | None = None
) -> Awaitable[list[Document]]:
    """All that some stages find, as it was at one moment; in one batch where so many fit into an answer."""
    drivers = session.delegate if session else None
    return _in_thread(asyncio.get_running_loop(), _read, collection.delegate, stages, batch_size, drivers)


def _read(
    collection: "DriversCollection[Document]", stages: Stages, batch_size: int, session: "ClientSession | None"
) -> list[Document]:
    steady = collection.with_options(read_concern=AT_ONE_MOMENT)
    plain = as_find(stages)
    if plain is None:
        return steady.aggregate(stages, session=session, allowDiskUse=True, batchSize=batch_size).to_list()
    return steady.find(**plain, session=session, allow_disk_use=True, batch_size=batch_size).to_list()


def as_find(stages: Stages) -> dict[str, Any] | None:
    """The same as arguments of `find`, which takes MongoDB and the driver less; None where it cannot say it."""
    names = [name for stage in stages for name in stage]
    matches = [stage["$match"] for stage in stages if "$match" in stage]
    given = {name: value for stage in stages for name, value in stage.items()}
    if names != ["$match"] * len(matches) + [name for name in _STEPS[1:] if name in given]:
        return None
    return {
        "filter": matches[0] if len(matches) == 1 else {"$and": matches} if matches else {},
        "projection": given.get("$project"),
        "sort": given.get("$sort"),
        "skip": given.get("$skip", 0),
        "limit": given.get("$limit", 0),
    }
