"""Realistic demo data: two weeks of a support agent's traces with objects, prices and feedback."""

from collections.abc import Callable, Iterator
from operator import itemgetter
from random import Random
from typing import Final

from app.demo import assistant, evaluation, feedback, nightly
from app.demo.company import COMPANY
from app.demo.library import Library
from app.demo.simulation import DAY, DAYS, HOUR, World
from graphql_schema.context import Stores
from stores import times
from stores.calls import CallEnd, CallsStore, CallStart
from stores.costs import CostsStore, NewCost
from stores.feedback import NewFeedback
from stores.paging import PageRequest
from stores.query import Query

PROJECT_ID: Final = "demo/assistant"
THREADS: Final = 145
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
    data = _DemoData(project_id, times.now() if now is None else now)
    await data.library.write(stores)
    await data.write_prices(stores.costs)
    await stores.feedback.create(list(data.feedback()))
    parts = data.parts()
    total, done = _starts(parts), 0
    for at in range(0, len(parts), _BATCH):
        batch = parts[at : at + _BATCH]
        await stores.calls.write(batch)
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
    data = _DemoData(project_id, now)
    if not has_prices:
        await data.write_prices(stores.costs)
    if not has_feedback:
        await data.library.write(stores)
        await stores.feedback.create(list(data.feedback()))


async def _loaded_at(calls: CallsStore, project_id: str) -> int | None:
    """Return the `now` of the last load of a project; None if no load is complete."""
    now = times.now()
    last = _DemoData(project_id, now).parts()[-1]
    name, last_at = ("started_at", last.started_at) if isinstance(last, CallStart) else ("ended_at", last.ended_at)
    row = await calls.one(project_id, str(last.id), [name])
    # The last call has the same distance from `now` in every load.
    return row[name] + now - last_at if row and name in row else None


def _starts(parts: list[CallStart | CallEnd]) -> int:
    return sum(isinstance(part, CallStart) for part in parts)


class _DemoData:
    """The demo data of a project as of `now`: its traces by their root spans, and what they refer to."""

    def __init__(self, project_id: str, now: int) -> None:
        self.library = Library(project_id)
        self.now = now
        world = World(self.library, Random(project_id), now)  # noqa: S311 -- demo data, not a secret
        examples = evaluation.examples(world)
        self.turns = [turn for _ in range(THREADS) for turn in assistant.thread(world)]
        self.turns += [turn for _ in range(_LIVE_THREADS) for turn in assistant.live_thread(world)]
        self.nights = [nightly.night(world, days_ago) for days_ago in range(DAYS)]
        before, after = world.timestamp(7, 14 * HOUR), world.timestamp(3, 15 * HOUR)
        self.evaluations = [evaluation.evaluate(world, examples, timestamp) for timestamp in (before, after)]

    def parts(self) -> list[CallStart | CallEnd]:
        """Return all starts and ends, sorted by time."""
        timed = list[tuple[int, CallStart | CallEnd]]()
        for root in (*self.turns, *self.nights, *self.evaluations):
            for span in root.walk():
                timed += span.parts()
        return [part for _, part in sorted(timed, key=itemgetter(0))]

    def feedback(self) -> Iterator[NewFeedback]:
        """Yield the feedback on all traces."""
        for turn in self.turns:
            if turn.ended_at is not None:
                yield from feedback.on_turn(turn)
        for run in self.evaluations:
            yield from feedback.on_evaluation(run)

    async def write_prices(self, costs: CostsStore) -> None:
        """Set the prices of models that have none in the project; existing prices do not change."""
        midnight = self.now - self.now % DAY
        models = [model for model in COMPANY["models"].values() if "price" in model]
        ours = Query({"in": [{"getField": "llm_id"}, [{"literal": model["name"]} for model in models]]}, typed=True)
        page = await costs.page(self.library.project_id, PageRequest(size=1000), ["llm_id"], query=ours)
        there = {row["llm_id"] for row in page.rows}
        prices = [
            NewCost(model["name"], effective_date=midnight - model["price_days"] * DAY, **model["price"])
            for model in models
            if model["name"] not in there
        ]
        await costs.create(self.library.project_id, prices, COMPANY["developers"][1])
