"""What a span says it used of a model, as a call's summary has it."""

from typing import Any, Final

from stores.otel.conventions import (
    AGENT_OPERATIONS,
    COUNTS,
    MODEL,
    MODEL_PARAMETERS,
    SPEAKING_MARK,
    SUMMING_PREFIX,
)
from stores.otel.nesting import Layout
from stores.otel.spans import CLIENT

_NO_MODEL: Final = "usage"
"""The name in a summary for what was used of a model that nobody named."""

_COUNTS: Final = COUNTS.keys()
_LONGEST: Final = 19
_BEYOND: Final = 1 << 63


def usage_of(layout: Layout, values: list[object], noted: dict[str, Any]) -> dict[str, Any]:
    """The counts by the model's name, with null for those that are absent; empty where there is not one."""
    if _COUNTS.isdisjoint(layout.found):
        return {}
    counts = {name: _count(layout, name, values) for name in COUNTS}
    if all(count is None for count in counts.values()):
        return {}
    if counts["total_tokens"] is None:
        parts = (
            counts["prompt_tokens"] or counts["input_tokens"],
            counts["completion_tokens"] or counts["output_tokens"],
        )
        counts["total_tokens"] = sum(part or 0 for part in parts)
    return {_model(noted): counts}


def sums_up(usage: dict[str, Any], operation: object, kind: int) -> bool:
    """Whether it is what the spans below used, by the name of an operation and the span's kind.

    Their model is often called by another name there, or by none, so that no comparison would tell. An agent that
    names its model is compared all the same: it may be the only one to say what was used.
    """
    if not isinstance(operation, str):
        return False
    if operation.startswith(SUMMING_PREFIX):
        return SPEAKING_MARK not in operation
    return operation in AGENT_OPERATIONS and kind != CLIENT and _NO_MODEL in usage


def _count(layout: Layout, name: str, values: list[object]) -> int | None:
    """The first count of a name that is a whole number, or a string of one."""
    for candidate in layout.found.get(name, ()):
        value = candidate.value(values)
        if type(value) is int and abs(value) < _BEYOND:
            return value
        if isinstance(value, float) and value.is_integer() and abs(value) < _BEYOND:
            return int(value)
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < _LONGEST:
            return int(value)
    return None


def _model(noted: dict[str, Any]) -> str:
    parameters = noted.get(MODEL_PARAMETERS)
    told = noted.get(MODEL) or (parameters.get("model") if isinstance(parameters, dict) else None)
    return told if isinstance(told, str) else _NO_MODEL
