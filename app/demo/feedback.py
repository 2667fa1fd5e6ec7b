"""Feedback on the demo calls: reactions of customers, notes and reviews of the team, scores of evaluations."""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from random import Random
from typing import Any, Final

from app.demo.company import COMPANY, Json
from app.demo.simulation import Span
from stores import refs
from stores.feedback import NewFeedback
from stores.times import SECOND

RATING: Final = "answer-rating"
PROBLEM: Final = "answer-problem"
FOLLOW_UP: Final = "needs-follow-up"

_REACTION_RATE: Final = 0.45
_REVIEWED: Final = 0.08
_REVIEWED_IF_DISPLEASING: Final = 0.4
_NOTE_RATE: Final = 0.6
_PRAISE_RATE: Final = 0.04
_DISLIKE_RATE_OF_FAILURES: Final = 0.7
_SLOW: Final = 25 * SECOND
_GOOD: Final = 4
"""Lowest rating of an answer without a problem."""


def on_turns(turns: Iterable[Span]) -> Iterator[NewFeedback]:
    """Yield feedback of customers and the team on ended turns; each turn seeds its own random generator."""
    for turn in turns:
        if turn.ended_at is not None:
            yield from _on_turn(turn, Random(turn.id))  # noqa: S311 -- demo data, not a secret


def on_evaluation(run: Span) -> Iterator[NewFeedback]:
    """Yield the scores of an evaluation as feedback on the scored calls."""
    for answer, *scorers in (call.children for call in run.children if call.children):
        for scorer in scorers:
            if scorer.output is not None:
                runnable = scorer.inputs.get("self", scorer.op_name)
                kind = f"wandb.runnable.{refs.parse(runnable).name}"
                said = _new(answer, kind, {"output": scorer.output}, run.trace.wb_user_id)
                yield replace(said, runnable_ref=runnable, call_ref=scorer.ref, trigger_ref=run.ref)


def _on_turn(turn: Span, rng: Random) -> Iterator[NewFeedback]:
    trouble = _trouble(turn)
    is_slow = turn.clock - turn.started_at > _SLOW
    author, reviewer = rng.sample(COMPANY["developers"], 2)
    dislike_rate = _DISLIKE_RATE_OF_FAILURES if trouble or is_slow else turn.trace.release["dislikes"]
    displeasing = rng.random() < dislike_rate
    if rng.random() < _REACTION_RATE:
        customer = turn.trace.attributes["customer"]["name"]
        reaction = {"emoji": _emoji(customer, rng, displeasing=displeasing)}
        yield _new(turn, "wandb.reaction.1", reaction, turn.trace.wb_user_id, customer)
    if note := _note(trouble, rng, displeasing=displeasing):
        yield _new(turn, "wandb.note.1", {"note": note}, author)
    if rng.random() < (_REVIEWED_IF_DISPLEASING if displeasing else _REVIEWED):
        for form, value in _review(rng, displeasing=displeasing).items():
            said = _new(turn, f"wandb.annotation.{form}", {"value": value}, reviewer)
            yield replace(said, annotation_ref=turn.trace.ref(form))


def _trouble(turn: Span) -> str:
    """Return the failures of a turn as text; empty if there are none."""
    calls = [turn, *turn.children]
    waited = ["ask_colleague" for call in calls if call.op_name == "tools.ask_colleague"]
    return " ".join([*(call.exception for call in calls if call.exception), *waited])


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
        return known if rng.random() < _NOTE_RATE else None
    if displeasing:
        return rng.choice(notes["displeasing"]) if rng.random() < _NOTE_RATE else None
    return rng.choice(notes["pleasing"]) if rng.random() < _PRAISE_RATE else None


def _review(rng: Random, *, displeasing: bool) -> dict[str, Any]:
    """Return a reviewer's annotations of an answer, by form name."""
    rating = rng.choice((1, 1, 2, 2, 3) if displeasing else (3, 4, 4, 5, 5))
    no_problem, *problems = COMPANY["forms"][PROBLEM]["field_schema"]["enum"]
    problem = no_problem if rating >= _GOOD else rng.choice(problems)
    return {RATING: rating, PROBLEM: problem, FOLLOW_UP: rating == 1 or (displeasing and rng.random() < 1 / 3)}


def _new(about: Span, feedback_type: str, payload: Json, by: str, creator: str | None = None) -> NewFeedback:
    """Return feedback with a deterministic id, so that writing it again replaces it."""
    feedback_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{about.ref} {feedback_type} {by}"))
    names = feedback_id, creator or by
    project_id = about.trace.world.library.project_id
    return NewFeedback(project_id, about.ref, feedback_type, payload, *names, wb_user_id=by)
