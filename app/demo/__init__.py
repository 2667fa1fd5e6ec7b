"""Demo data that looks like life: two weeks of a support agent's traces, and what they refer to."""

from collections.abc import Callable
from operator import itemgetter
from random import Random
from typing import Final

from app.demo import evaluation, nightly, support
from app.demo.library import Library
from app.demo.span import Span, TimedPart
from app.demo.world import DAYS, HOUR, World
from graphql_schema.context import Stores
from stores import times
from stores.calls import CallsStore, CallStart

PROJECT_ID: Final = "demo/assistant"
_THREADS: Final = 145
_LIVE_THREADS: Final = 4
_BATCH: Final = 500


async def load(stores: Stores, project_id: str, progress: Callable[[int, int], None], *, now: int | None = None) -> int:
    """Write a few thousand calls of the two weeks before `now`, what they refer to first; returns how many.

    `now` is in microseconds since the epoch; without it, it is the present. A project gets the same ids every time, so
    that loading again at the same `now` changes nothing, and at a later one moves the same calls there. `progress`
    hears how many calls of how many are written.
    """
    library = Library(project_id)
    parts = _story(library, times.now() if now is None else now)
    await library.write(stores)
    total = _starts(parts)
    done = 0
    for at in range(0, len(parts), _BATCH):
        batch = parts[at : at + _BATCH]
        await stores.calls.write([part for _, part in batch])
        done += _starts(batch)
        progress(done, total)
    return total


async def is_loaded(calls: CallsStore, project_id: str) -> bool:
    """Whether a load of this project came to its end, and the call that it wrote last was not deleted since."""
    _, last = _story(Library(project_id), times.now())[-1]
    return await calls.one(project_id, str(last.id), ["id"]) is not None


def _starts(parts: list[TimedPart]) -> int:
    return sum(isinstance(part, CallStart) for _, part in parts)


def _story(library: Library, now: int) -> list[TimedPart]:
    """All starts and ends in the order of time; the library gets the files that they refer to."""
    roots = _roots(World(library, Random(library.project_id), now))  # noqa: S311 -- a story, no secret
    return sorted((part for root in roots for part in root.parts()), key=itemgetter(0))


def _roots(world: World) -> list[Span]:
    data = evaluation.examples(world)
    before, after = world.moment(7, 14 * HOUR), world.moment(3, 15 * HOUR)
    return [
        *(turn for _ in range(_THREADS) for turn in support.thread(world)),
        *(turn for _ in range(_LIVE_THREADS) for turn in support.live_thread(world)),
        *(nightly.night(world, days_ago) for days_ago in range(DAYS)),
        evaluation.evaluate(world, data, before),
        evaluation.evaluate(world, data, after),
    ]
