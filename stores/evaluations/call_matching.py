"""What belongs to a prediction: which of the calls below it asked the model, and which made which score.

Nothing in the calls says so outright. The model's call has the model as its self, or is the model; a scorer's call
has the name of the score: that of the object that is its self, that of its op, or that of the class whose op it is.
Whatever is left after the model's call is a scorer's that gave nothing: it failed, and nobody noted its score.
"""

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from stores import refs

Call = Mapping[str, Any]
"""A call below a prediction: `id`, `op_name`, `op_trace_name`, and `self` where that is a text."""

_SCORE: Final = ".score"
"""What scorers that are classes call their op."""
_remembered: Final = lru_cache(1_000)
"""The calls of a run name few scorers, again and again."""
_is_ref: Final = _remembered(refs.is_ref)

_NO_LETTER: Final = re.compile(r"[\W_]+")


def model_call(model: str | None, calls: Sequence[Call], names: Iterable[str]) -> Call | None:
    """The call of the model among the calls below a prediction, the oldest first; None where none can be it.

    `names` are those of the scores: what has such a name is a scorer's.
    """
    if model is not None:
        for call in calls:
            if model in (call.get("self"), call["op_name"]):
                return call
    scored = {_letters(name) for name in names}
    return next((call for call in calls if not _is_scorers(call, scored)), None)


def _is_scorers(call: Call, scored: set[str]) -> bool:
    return call["op_trace_name"].endswith(_SCORE) or not scored.isdisjoint(map(_letters, scorer_names(call)))


def scorer_calls(names: Sequence[str], calls: Sequence[Call]) -> tuple[dict[str, Call], list[Call]]:
    """The call of each score that has one, by the score's name, and the calls that are left."""
    left = {call["id"]: call for call in calls}
    found: dict[str, Call] = {}
    for spelled in (str, _letters):
        by_name: dict[str, deque[Call]] = {}
        for call in left.values():
            for name in map(spelled, scorer_names(call)):
                by_name.setdefault(name, deque()).append(call)
        for name in names:
            if name not in found and (first := _first_left(by_name.get(spelled(name)), left)):
                found[name] = left.pop(first["id"])
    return found, list(left.values())


def _first_left(calls: deque[Call] | None, left: Mapping[str, Call]) -> Call | None:
    while calls and calls[0]["id"] not in left:
        calls.popleft()
    return calls[0] if calls else None


def scorer_names(call: Call) -> tuple[str, ...]:
    """The names that the score of a call may have, the likeliest first."""
    return _names(call.get("self"), call["op_trace_name"])


def scorer_ref(call: Call) -> str | None:
    """The ref of the scorer whose call it is: of the object that is its self, or of its op; None where it has none."""
    scorer: str = call.get("self") or call["op_name"]
    return scorer if _is_ref(scorer) else None


@_remembered
def _names(ref: str | None, op_name: str) -> tuple[str, ...]:
    of_class, _, _ = op_name.rpartition(".")
    return tuple(name for name in (_object_name(ref), of_class, op_name) if name)


def _object_name(ref: str | None) -> str | None:
    if not ref or not _is_ref(ref) or ref.startswith(refs.ARTIFACT_SCHEME):
        return None
    parsed = refs.parse(ref)
    return parsed.name if parsed.kind == "object" else None


@_remembered
def _letters(name: str) -> str:
    """A name without what differs between a class, an object and an op of the same name."""
    return _NO_LETTER.sub("", name).lower()
