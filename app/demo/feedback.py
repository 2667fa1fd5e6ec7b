"""Feedback on the demo calls: reactions of customers, notes and reviews of the team, scores of evaluations."""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from random import Random
from typing import Final

from app.demo import reviews, vocabulary
from app.demo.span import Json, Span
from stores import refs
from stores.feedback import NewFeedback
from stores.times import SECOND

_REACTION_RATE: Final = 0.45
_REVIEWED: Final = 0.08
_REVIEWED_IF_DISPLEASING: Final = 0.4
_NOTE_RATE: Final = 0.6
_PRAISE_RATE: Final = 0.04
_SLOW: Final = 25 * SECOND

_DISLIKE_RATES: Final = {"2.3.1": 0.2, "2.4.0": 0.07}
"""Probability by release that a customer dislikes an answer without any failure."""
_DISLIKE_RATE_OF_FAILURES: Final = 0.7

_TONES: Final = ("", "🏻", "🏼", "🏽", "🏾", "🏿")
_PLEASED: Final = ("👍", "👍", "👍", "👍", "🙏", "❤️", "🎉")
_TONELESS: Final = ("❤️", "🎉")

_ON_TROUBLE: Final = {
    "RateLimitError": "The rate limit again. We need a higher one before the next campaign.",
    "APITimeoutError": "Half a minute until the timeout, and the customer waits. A shorter one, please.",
    "InternalServerError": "The provider's fault, not ours. The other model should take over here.",
    "needs an approval": "A refund of this size needs an approval, which the prompt doesn't tell.",
    "TimeoutError": "Waiting didn't help here. Could it ask once more, or say that it takes longer?",
    "KeyError": "Old invoices have no VAT rate. A ticket for billing, not a matter of the prompt.",
    "ask_colleague": "It took a colleague this long to answer. Tell the customer before asking.",
}
"""Notes by text that occurs in a failure; the first match is used."""

_ON_DISPLEASING: Final = (
    "It answers the question, and then goes on for too long.",
    "Right as such, but not what the customer asked.",
    "Correct, but cold. It could say that it is sorry.",
    "A colleague would have asked back before answering this.",
)
_ON_PLEASING: Final = ("A good example for the dataset.", "Just how we want it.", "Nice: it found the case by itself.")


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
    slow = turn.clock - turn.started_at > _SLOW
    release = turn.trace.release
    author, reviewer = rng.sample(vocabulary.DEVELOPERS, 2)
    displeasing = rng.random() < (_DISLIKE_RATE_OF_FAILURES if trouble or slow else _DISLIKE_RATES[release])
    if rng.random() < _REACTION_RATE:
        customer = turn.trace.attributes["customer"]["name"]
        emoji = "👎" if displeasing else rng.choice(_PLEASED)
        reaction = {"emoji": emoji if emoji in _TONELESS else emoji + _tone(customer)}
        yield _new(turn, "wandb.reaction.1", reaction, turn.trace.wb_user_id, customer)
    if note := _note(trouble, rng, displeasing=displeasing):
        yield _new(turn, "wandb.note.1", {"note": note}, author)
    if rng.random() < (_REVIEWED_IF_DISPLEASING if displeasing else _REVIEWED):
        for name, value in reviews.review(rng, displeasing=displeasing).items():
            said = _new(turn, f"wandb.annotation.{name}", {"value": value}, reviewer)
            yield replace(said, annotation_ref=turn.trace.ref(name))


def _tone(customer: str) -> str:
    """Return the skin tone of a customer's reactions, always the same for a customer."""
    return _TONES[vocabulary.CUSTOMERS.index(customer) % len(_TONES)]


def _trouble(turn: Span) -> str:
    """Return the failures of a turn as text; empty if there are none."""
    calls = [turn, *turn.children]
    waited = ["ask_colleague" for call in calls if call.op_name == "tools.ask_colleague"]
    return " ".join([*(call.exception for call in calls if call.exception), *waited])


def _note(trouble: str, rng: Random, *, displeasing: bool) -> str | None:
    known = next((text for sign, text in _ON_TROUBLE.items() if sign in trouble), None)
    if known:
        return known if rng.random() < _NOTE_RATE else None
    if displeasing:
        return rng.choice(_ON_DISPLEASING) if rng.random() < _NOTE_RATE else None
    return rng.choice(_ON_PLEASING) if rng.random() < _PRAISE_RATE else None


def _new(about: Span, feedback_type: str, payload: Json, by: str, creator: str | None = None) -> NewFeedback:
    """Return feedback with a deterministic id, so that writing it again replaces it."""
    feedback_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{about.ref} {feedback_type} {by}"))
    names = feedback_id, creator or by
    return NewFeedback(about.trace.project_id, about.ref, feedback_type, payload, *names, wb_user_id=by)
