"""Demo data that looks like life: two weeks of a support agent's traces, what they refer to, what is said of them."""

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
    """Write a few thousand calls of the two weeks before `now`; returns how many.

    What they refer to comes first, then prices and feedback, so that whoever finds the calls finds those, too.
    `now` is in microseconds since the epoch; without it, it is the present. A project gets the same ids every time, so
    that loading again at the same `now` changes nothing but the time of feedback, and at a later one moves the same
    calls there. `progress` hears how many calls of how many are written.
    """
    now = times.now() if now is None else now
    story = _tell(Library(project_id), now)
    await story.library.write(stores)
    await prices.write(stores.costs, project_id, now)
    await stores.feedback.create(list(story.feedback()))
    parts = story.parts()
    total = _starts(parts)
    done = 0
    for at in range(0, len(parts), _BATCH):
        batch = parts[at : at + _BATCH]
        await stores.calls.write([part for _, part in batch])
        done += _starts(batch)
        progress(done, total)
    return total


async def is_loaded(calls: CallsStore, project_id: str) -> bool:
    """Whether a load of this project came to its end, and the call that it wrote last was not deleted since.

    A load by a version that told another story did not.
    """
    return await _loaded_at(calls, project_id) is not None


async def complete(stores: Stores, project_id: str) -> None:
    """Add prices and feedback, each where the project has none at all, to calls that are there without.

    So it is where an earlier version wrote the calls. It is as if they had been written then; calls stay as they are.
    """
    has_prices, has_feedback = await stores.costs.count(project_id), await stores.feedback.count(project_id)
    now = None if has_prices and has_feedback else await _loaded_at(stores.calls, project_id)
    if now is None:
        return
    if not has_prices:
        await prices.write(stores.costs, project_id, now)
    if not has_feedback:
        story = _tell(Library(project_id), now)
        await story.library.write(stores)
        await stores.feedback.create(list(story.feedback()))


async def _loaded_at(calls: CallsStore, project_id: str) -> int | None:
    """The `now` of the last load of a project; None where none came to its end."""
    now = times.now()
    last_at, last = _tell(Library(project_id), now).parts()[-1]
    moment = "started_at" if isinstance(last, CallStart) else "ended_at"
    row = await calls.one(project_id, str(last.id), [moment])
    # Each story ends as long before its `now` as every other.
    return row[moment] + now - last_at if row and moment in row else None


def _starts(parts: list[TimedPart]) -> int:
    return sum(isinstance(part, CallStart) for _, part in parts)


@dataclass(frozen=True, slots=True)
class _Story:
    """The traces of the two weeks, by their roots."""

    library: Library
    turns: list[Span]
    nights: list[Span]
    evaluations: list[Span]

    def parts(self) -> list[TimedPart]:
        """All starts and ends in the order of time."""
        roots = [*self.turns, *self.nights, *self.evaluations]
        return sorted((part for root in roots for part in root.parts()), key=itemgetter(0))

    def feedback(self) -> Iterator[NewFeedback]:
        """What is said of it."""
        yield from feedback.on_turns(self.turns)
        for run in self.evaluations:
            yield from feedback.on_evaluation(run)


def _tell(library: Library, now: int) -> _Story:
    """The story as of a time; the library gets the files that it refers to."""
    world = World(library, Random(library.project_id), now)  # noqa: S311 -- a story, no secret
    data = evaluation.examples(world)
    before, after = world.moment(7, 14 * HOUR), world.moment(3, 15 * HOUR)
    return _Story(
        library,
        [
            *(turn for _ in range(_THREADS) for turn in support.thread(world)),
            *(turn for _ in range(_LIVE_THREADS) for turn in support.live_thread(world)),
        ],
        [nightly.night(world, days_ago) for days_ago in range(DAYS)],
        [evaluation.evaluate(world, data, moment) for moment in (before, after)],
    )
