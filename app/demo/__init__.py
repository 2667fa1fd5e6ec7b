"""Realistic demo data: two weeks of a support agent's traces with objects, prices and feedback."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from random import Random
from typing import Final

from app.demo import evaluation, feedback, nightly, prices, support
from app.demo.library import Library
from app.demo.span import Span, TimedPart
from app.demo.world import DAYS, HOUR, World
from graphql_schema.context import Stores
from stores import times
from stores.calls import CallsStore, CallStart
from stores.feedback import NewFeedback

PROJECT_ID: Final = "demo/assistant"
_THREADS: Final = 145
_LIVE_THREADS: Final = 4
_BATCH: Final = 500


async def load(stores: Stores, project_id: str, progress: Callable[[int, int], None], *, now: int | None = None) -> int:
    """Write a few thousand calls of the two weeks before `now`; return their number.

    Objects, prices and feedback are written before the calls, so that clients that see a call find them too. A project
    gets the same ids every time. Loading again at the same `now` changes only the time of feedback; a later `now` moves
    the same calls.

    Args:
        stores: the stores to write to.
        project_id: the project to write to.
        progress: called with the number of written calls and the total.
        now: end of the two weeks in microseconds since the epoch; by default the current time.
    """
    now = times.now() if now is None else now
    data = _generate(Library(project_id), now)
    await data.library.write(stores)
    await prices.write(stores.costs, project_id, now)
    await stores.feedback.create(list(data.feedback()))
    parts = data.parts()
    total = _starts(parts)
    done = 0
    for at in range(0, len(parts), _BATCH):
        batch = parts[at : at + _BATCH]
        await stores.calls.write([part for _, part in batch])
        done += _starts(batch)
        progress(done, total)
    return total


async def is_loaded(calls: CallsStore, project_id: str) -> bool:
    """True if a load of this project is complete and its last call still exists.

    A load by a version with other demo data does not count.
    """
    return await _loaded_at(calls, project_id) is not None


async def complete(stores: Stores, project_id: str) -> None:
    """Add prices and feedback to demo calls of an earlier version, each only if the project has none.

    The result is as if they had been written with the calls, which do not change.
    """
    has_prices, has_feedback = await stores.costs.count(project_id), await stores.feedback.count(project_id)
    now = None if has_prices and has_feedback else await _loaded_at(stores.calls, project_id)
    if now is None:
        return
    if not has_prices:
        await prices.write(stores.costs, project_id, now)
    if not has_feedback:
        data = _generate(Library(project_id), now)
        await data.library.write(stores)
        await stores.feedback.create(list(data.feedback()))


async def _loaded_at(calls: CallsStore, project_id: str) -> int | None:
    """Return the `now` of the last load of a project; None if no load is complete."""
    now = times.now()
    last_at, last = _generate(Library(project_id), now).parts()[-1]
    timestamp = "started_at" if isinstance(last, CallStart) else "ended_at"
    row = await calls.one(project_id, str(last.id), [timestamp])
    # The last call has the same distance from `now` in every load.
    return row[timestamp] + now - last_at if row and timestamp in row else None


def _starts(parts: list[TimedPart]) -> int:
    return sum(isinstance(part, CallStart) for _, part in parts)


@dataclass(frozen=True, slots=True)
class _DemoData:
    """All traces of the demo data, by their root spans."""

    library: Library
    turns: list[Span]
    nights: list[Span]
    evaluations: list[Span]

    def parts(self) -> list[TimedPart]:
        """Return all starts and ends, sorted by time."""
        roots = [*self.turns, *self.nights, *self.evaluations]
        return sorted((part for root in roots for part in root.parts()), key=itemgetter(0))

    def feedback(self) -> Iterator[NewFeedback]:
        """Yield the feedback on all traces."""
        yield from feedback.on_turns(self.turns)
        for run in self.evaluations:
            yield from feedback.on_evaluation(run)


def _generate(library: Library, now: int) -> _DemoData:
    """Generate the demo data as of `now`; this adds the files of calls to the library."""
    world = World(library, Random(library.project_id), now)  # noqa: S311 -- demo data, not a secret
    data = evaluation.examples(world)
    before, after = world.timestamp(7, 14 * HOUR), world.timestamp(3, 15 * HOUR)
    return _DemoData(
        library,
        [
            *(turn for _ in range(_THREADS) for turn in support.thread(world)),
            *(turn for _ in range(_LIVE_THREADS) for turn in support.live_thread(world)),
        ],
        [nightly.night(world, days_ago) for days_ago in range(DAYS)],
        [evaluation.evaluate(world, data, timestamp) for timestamp in (before, after)],
    )
