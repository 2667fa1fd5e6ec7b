"""Reviews: the team's annotations of some answers, with three forms."""

from collections.abc import Sequence
from random import Random
from typing import Any, Final, cast

from app.demo.span import Json
from stores.objects import builtin

RATING: Final = "answer-rating"
PROBLEM: Final = "answer-problem"
FOLLOW_UP: Final = "needs-follow-up"

_PROBLEMS: Final = ("incomplete", "outdated", "off topic", "too long", "wrong tone")
_GOOD: Final = 4
"""Lowest rating of an answer without a problem."""

_FORMS: Final[dict[str, Json]] = {
    RATING: {
        "description": "How good the answer is, from 1 to 5.",
        "field_schema": {"type": "integer", "minimum": 1, "maximum": 5},
        "unique_among_creators": True,
    },
    PROBLEM: {
        "description": "What is wrong with it most of all.",
        "field_schema": {"type": "string", "enum": ["none", *_PROBLEMS]},
    },
    FOLLOW_UP: {
        "description": "Whether somebody should get back to the customer.",
        "field_schema": {"type": "boolean"},
    },
}


def specs(ops: Sequence[str]) -> dict[str, Json]:
    """Return the AnnotationSpec of each form by name, for calls of the given op versions."""
    given = {name: {"name": name, **form, "op_scope": list(ops)} for name, form in _FORMS.items()}
    return {name: cast("Json", builtin.completed(value, "AnnotationSpec", "val")) for name, value in given.items()}


def review(rng: Random, *, displeasing: bool) -> dict[str, Any]:
    """Return a reviewer's annotations of an answer, by form name."""
    rating = rng.choice((1, 1, 2, 2, 3) if displeasing else (3, 4, 4, 5, 5))
    problem = "none" if rating >= _GOOD else rng.choice(_PROBLEMS)
    return {RATING: rating, PROBLEM: problem, FOLLOW_UP: rating == 1 or (displeasing and rng.random() < 1 / 3)}
