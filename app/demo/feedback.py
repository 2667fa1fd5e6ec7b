"""Feedback on the demo calls: reactions of customers, notes and reviews of the team, scores of evaluations."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Final

from app.demo.company import CHANCES, COMPANY, Json
from app.demo.simulation import Span
from stores import refs
from stores.feedback import NewFeedback
from stores.times import SECOND

_SLOW: Final = 25 * SECOND
_GOOD: Final = 4
"""Lowest rating of an answer without a problem."""


def on_turn(turn: Span) -> Iterator[NewFeedback]:
    """Yield feedback of the customer and the team on an ended turn, which seeds a random generator of its own."""
    rng = Random(turn.id)  # noqa: S311 -- demo data, not a secret
    trouble = _trouble(turn)
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


def on_evaluation(run: Span) -> Iterator[NewFeedback]:
    """Yield the scores of an evaluation as feedback on the scored calls."""
    for answer, *scorers in (call.children for call in run.children if call.children):
        for scorer in scorers:
            if scorer.output is not None:
                runnable = scorer.inputs.get("self", scorer.op_name)
                kind = f"wandb.runnable.{refs.parse(runnable).name}"
                said = _new(answer, kind, {"output": scorer.output}, run.trace.ids["wb_user_id"])
                yield replace(said, runnable_ref=runnable, call_ref=scorer.ref, trigger_ref=run.ref)


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
