"""Match the calls below a prediction: one is the model's, the others are scorers'.

Calls do not state their role, so it is inferred. The model's call has the model as its `self`, or as its op. A scorer's
call is named like the score: by the object that is its `self`, by its op, or by the class of its op. A call after the
model's call that matches no score is a scorer that failed, because its score was not recorded.
"""

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from stores import refs

Call = Mapping[str, Any]
"""A call below a prediction: `id`, `op_name`, `op_trace_name`, and `self` if that input is a string."""

_SCORE: Final = ".score"
"""Suffix of the op name of scorers that are classes."""
_remembered: Final = lru_cache(1_000)
"""Cached because the calls of a run repeat a few scorer names many times."""
_is_ref: Final = _remembered(refs.is_ref)

_NO_LETTER: Final = re.compile(r"[\W_]+")


def model_call(model: str | None, calls: Sequence[Call], names: Iterable[str]) -> Call | None:
    """Find the model's call among the calls below a prediction; None if every call belongs to a scorer.

    Args:
        model: ref of the model, if known.
        calls: calls below the prediction, oldest first.
        names: score names; a call with such a name is a scorer's.
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
    """Return the call of each score, by score name, and the calls that match no score.

    Exact names match first, then names compared by letters and digits only.
    """
    remaining = {call["id"]: call for call in calls}
    matched: dict[str, Call] = {}
    for normalize in (str, _letters):
        by_name: dict[str, deque[Call]] = {}
        for call in remaining.values():
            for name in map(normalize, scorer_names(call)):
                by_name.setdefault(name, deque()).append(call)
        for name in names:
            if name not in matched and (first := _first_left(by_name.get(normalize(name)), remaining)):
                matched[name] = remaining.pop(first["id"])
    return matched, list(remaining.values())


def _first_left(calls: deque[Call] | None, left: Mapping[str, Call]) -> Call | None:
    while calls and calls[0]["id"] not in left:
        calls.popleft()
    return calls[0] if calls else None


def scorer_names(call: Call) -> tuple[str, ...]:
    """Return the possible score names of a call, the likeliest first."""
    return _names(call.get("self"), call["op_trace_name"])


def scorer_ref(call: Call) -> str | None:
    """Return the ref of a call's scorer: its `self` object, or its op; None if neither is a ref."""
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
    """Normalize a name so that class, object and op of one scorer compare equal."""
    return _NO_LETTER.sub("", name).lower()
