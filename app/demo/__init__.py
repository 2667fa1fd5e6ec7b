"""Realistic demo data: two weeks of a support agent's traces with objects, prices and feedback."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from operator import itemgetter
from random import Random
from typing import Final

from app.demo import traces
from app.demo.library import CHANCES, COMPANY, Json, Library
from app.demo.simulation import DAY, DAYS, HOUR, Span, World
from graphql_schema.context import Stores
from stores import refs, times
from stores.calls import CallEnd, CallsStore, CallStart
from stores.costs import CostsStore, NewCost
from stores.feedback import NewFeedback
from stores.paging import PageRequest
from stores.query import Query
from stores.times import SECOND

PROJECT_ID: Final = "demo/assistant"
THREADS: Final = 145
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
    # In a thread, because a server that loads the demo again has other requests to answer.
    data = await asyncio.to_thread(_DemoData, project_id, times.now() if now is None else now)
    await data.library.write(stores)
    await data.write_prices(stores.costs)
    await stores.feedback.create(list(data.feedback()))
    parts = await asyncio.to_thread(data.parts)
    total, done = _starts(parts), 0
    for at in range(0, len(parts), _BATCH):
        batch = parts[at : at + _BATCH]
        await stores.calls.write(batch)
        done += _starts(batch)
        progress(done, total)
    return total


async def complete(stores: Stores, project_id: str) -> None:
    """Add prices and feedback to demo calls of an earlier version, each only if the project has none.

    The result is as if they had been written with the calls, which do not change.
    """
    has_prices, has_feedback = await stores.costs.count(project_id), await stores.feedback.count(project_id)
    now = None if has_prices and has_feedback else await loaded_at(stores.calls, project_id)
    if now is None:
        return
    data = _DemoData(project_id, now)
    if not has_prices:
        await data.write_prices(stores.costs)
    if not has_feedback:
        await data.library.write(stores)
        await stores.feedback.create(list(data.feedback()))


async def loaded_at(calls: CallsStore, project_id: str) -> int | None:
    """Return the `now` of the last load of a project; None if no load is complete, or its last call was deleted.

    A load by a version with other demo data does not count.
    """
    now = times.now()
    last = await asyncio.to_thread(last_part, project_id, now)
    name, last_at = ("started_at", last.started_at) if isinstance(last, CallStart) else ("ended_at", last.ended_at)
    row = await calls.one(project_id, str(last.id), [name])
    # The last call has the same distance from `now` in every load.
    return row[name] + now - last_at if row and name in row else None


def last_part(project_id: str, now: int) -> CallStart | CallEnd:
    """Return the part of a call that a load at `now` writes last."""
    return _DemoData(project_id, now).parts()[-1]


def _starts(parts: list[CallStart | CallEnd]) -> int:
    return sum(isinstance(part, CallStart) for part in parts)


class _DemoData:
    """The demo data of a project as of `now`: its traces by their root spans, and what they refer to."""

    def __init__(self, project_id: str, now: int) -> None:
        self.library = Library(project_id)
        self.now = now
        world = World(self.library, Random(project_id), now)  # noqa: S311 -- demo data, not a secret
        examples = traces.examples(world)
        self.turns = [turn for _ in range(THREADS) for turn in traces.thread(world)]
        self.turns += [turn for _ in range(4) for turn in traces.live_thread(world)]
        self.nights = [traces.night(world, days_ago) for days_ago in range(DAYS)]
        before, after = world.timestamp(7, 14 * HOUR), world.timestamp(3, 15 * HOUR)
        self.evaluations = [traces.evaluate(world, examples, timestamp) for timestamp in (before, after)]

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
                yield from _on_turn(turn)
        for run in self.evaluations:
            yield from _on_evaluation(run)

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


_SLOW: Final = 25 * SECOND
_GOOD: Final = 4
"""Lowest rating of an answer without a problem."""


def _on_turn(turn: Span) -> Iterator[NewFeedback]:
    """Yield feedback of the customer and the team on an ended turn, which seeds a random generator of its own."""
    rng = Random(turn.id)  # noqa: S311 -- demo data, not a secret
    calls = [turn, *turn.children]
    failures = [call.exception for call in calls if call.exception]
    trouble = " ".join([*failures, *("ask_colleague" for call in calls if call.op_name == "tools.ask_colleague")])
    is_slow = turn.clock - turn.started_at > _SLOW
    author, reviewer = rng.sample(COMPANY["developers"], 2)
    dislike_rate = CHANCES["failure_displeases"] if trouble or is_slow else turn.trace.release["dislikes"]
    displeasing = rng.random() < dislike_rate
    if rng.random() < CHANCES["customer_reacts"]:
        customer = turn.trace.attributes["customer"]["name"]
        reaction = {"emoji": _emoji(customer, rng, displeasing=displeasing)}
        yield _new(turn, "wandb.reaction.1", reaction, turn.trace.ids["wb_user_id"], customer)
    if note := _note(trouble, rng, displeasing=displeasing):
        yield _new(turn, "wandb.note.1", {"note": note}, author)
    if rng.random() < (CHANCES["bad_answer_is_reviewed" if displeasing else "good_answer_is_reviewed"]):
        for form, value in _review(rng, displeasing=displeasing).items():
            said = _new(turn, f"wandb.annotation.{form}", {"value": value}, reviewer)
            yield replace(said, annotation_ref=turn.trace.ref(form))


def _on_evaluation(run: Span) -> Iterator[NewFeedback]:
    """Yield the scores of an evaluation as feedback on the scored calls."""
    for answer, *scorers in (call.children for call in run.children if call.children):
        for scorer in scorers:
            if scorer.output is not None:
                runnable = scorer.inputs.get("self", scorer.op_name)
                kind = f"wandb.runnable.{refs.parse(runnable).name}"
                said = _new(answer, kind, {"output": scorer.output}, run.trace.ids["wb_user_id"])
                yield replace(said, runnable_ref=runnable, call_ref=scorer.ref, trigger_ref=run.ref)


def _emoji(customer: str, rng: Random, *, displeasing: bool) -> str:
    """Return a reaction with the customer's skin tone, if it has one."""
    reactions = COMPANY["reactions"]
    emoji: str = reactions["displeased"] if displeasing else rng.choice(reactions["pleased"])
    tone = COMPANY["customers"].index(customer) % len(reactions["tones"])
    return emoji if emoji in reactions["toneless"] else emoji + reactions["tones"][tone]


def _note(trouble: str, rng: Random, *, displeasing: bool) -> str | None:
    notes = COMPANY["notes"]
    known: str | None = next((text for sign, text in notes["on_trouble"].items() if sign in trouble), None)
    if known:
        return known if rng.random() < CHANCES["problem_is_noted"] else None
    if displeasing:
        return rng.choice(notes["displeasing"]) if rng.random() < CHANCES["problem_is_noted"] else None
    return rng.choice(notes["pleasing"]) if rng.random() < CHANCES["praise_is_noted"] else None


def _review(rng: Random, *, displeasing: bool) -> Json:
    """Return a reviewer's annotations of an answer, by form name."""
    rating = rng.choice((1, 1, 2, 2, 3) if displeasing else (3, 4, 4, 5, 5))
    no_problem, *problems = COMPANY["forms"]["answer-problem"]["field_schema"]["enum"]
    problem = no_problem if rating >= _GOOD else rng.choice(problems)
    needs_follow_up = rating == 1 or (displeasing and rng.random() < CHANCES["bad_answer_needs_follow_up"])
    return {"answer-rating": rating, "answer-problem": problem, "needs-follow-up": needs_follow_up}


def _new(about: Span, feedback_type: str, payload: Json, by: str, creator: str | None = None) -> NewFeedback:
    """Return feedback with a deterministic id, so that writing it again replaces it."""
    feedback_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{about.ref} {feedback_type} {by}"))
    names = feedback_id, creator or by
    project_id = about.trace.world.library.project_id
    return NewFeedback(project_id, about.ref, feedback_type, payload, *names, wb_user_id=by)
