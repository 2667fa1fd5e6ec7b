"""Model usage stated by a span, in the format of a call's summary."""

from collections.abc import Iterable, Iterator
from functools import reduce
from typing import Any, Final

from stores.costs.pricing import ZERO, exact, plus
from stores.json.bson_copy import INT64
from stores.otel.spans import CLIENT
from stores.senders.attributes import (
    AGENT_OPERATIONS,
    COUNTS,
    GATEWAY,
    OTHER_USAGE,
    PARTS,
    SPEAKING_MARK,
    STORED_LAYOUT,
    SUMMING_PREFIX,
    Attributes,
)
from stores.usage import rules
from stores.usage.classes import by_class
from stores.usage.rules import cost_in_usd, first_cost

_NO_MODEL: Final = "usage"
"""Name in the summary for the usage of an unnamed model."""

_DETAILS: Final = PARTS.keys() | OTHER_USAGE.keys()
_COSTS: Final = OTHER_USAGE.keys() - {"langfuse_usage"}
_MAX_DIGITS: Final = 19


def usage_of(read: Attributes, noted: dict[str, Any], scope: object = None) -> dict[str, Any]:
    """Return the usage by model name: the five counts as sent, null for missing ones.

    If the span states parts of these counts, `token_classes` has the counts of all classes and `total_tokens` is at
    least their sum. A stated cost is in `cost`.

    Args:
        read: the span's attributes.
        noted: attributes of the call, with the names of model and provider.
        scope: instrumentation scope, an object with its `name`.

    Returns:
        An empty object if the span states no count.
    """
    found = read.layout.found
    if COUNTS.keys().isdisjoint(found):
        return {}
    counts: dict[str, Any] = {name: _count(read, name) if name in found else None for name in COUNTS}
    if all(count is None for count in counts.values()):
        return {}
    if not _DETAILS.isdisjoint(found):
        parts = _parts(read, noted, scope, counts)
        if parts and parts.classes:
            counts["total_tokens"] = parts.total
            totals = {"prompt_tokens": parts.prompt, "completion_tokens": parts.completion}
            counts[rules.CLASS_COUNTS] = by_class({**totals, "classes": parts.classes})
        if not _COSTS.isdisjoint(found) and (cost := _cost(read)) is not None:
            counts["cost"] = cost
    if counts["total_tokens"] is None:
        counts["total_tokens"] = sum(max(count or 0, 0) for count in _sent(counts))
    return {_model(noted): counts}


def sums_up(usage: dict[str, Any], operation: object, kind: int) -> bool:
    """Return True if the usage includes that of child spans, judged by operation name and span kind.

    Children often give the model another name or none, so a comparison cannot show this. An agent that names its model
    is compared all the same, because it may be the only one to report the usage.
    """
    if not isinstance(operation, str):
        return False
    if operation.startswith(SUMMING_PREFIX):
        return SPEAKING_MARK not in operation
    return operation in AGENT_OPERATIONS and kind != CLIENT and _NO_MODEL in usage


def usage_of_stored(attributes: object) -> dict[str, Any]:
    """Return the usage of a span from the attributes of its call; empty if the call is not from a span."""
    span = attributes.get("otel_span") if isinstance(attributes, dict) else None
    if not isinstance(attributes, dict) or not isinstance(span, dict):
        return {}
    return usage_of(Attributes(STORED_LAYOUT, [span.get("attributes")]), attributes, span.get("scope"))


def _sent(counts: dict[str, Any]) -> tuple[int | None, int | None]:
    return counts["prompt_tokens"] or counts["input_tokens"], counts["completion_tokens"] or counts["output_tokens"]


def _parts(read: Attributes, noted: dict[str, Any], scope: object, counts: dict[str, Any]) -> rules.Split | None:
    """Return consistent counts if the span states parts of its input or output; None otherwise."""
    langfuse = read.pick("langfuse_usage")
    if isinstance(langfuse, dict):
        return rules.split_usage(langfuse)[0]
    stated = {name: _count(read, name) for name in PARTS if name in read.layout.found}
    parts = {name: max(count, 0) for name, count in stated.items() if count is not None}
    if not any(parts.values()):
        return None
    rule = rules.span_rule_of(_names(read, scope), _provider(read, noted), parts)
    sent_in, sent_out = _sent(counts)
    totals = {"input": sent_in, "output": sent_out, "total": counts["total_tokens"]}
    parts |= {name: max(count or 0, 0) for name, count in totals.items()}
    return rules.split(parts, rules.CACHE if rule.excludes else (), is_fixed=rule.is_fixed)


def _names(read: Attributes, scope: object) -> Iterator[str]:
    name = scope.get("name") if isinstance(scope, dict) else None
    yield name if isinstance(name, str) else ""
    for count in ("prompt_tokens", "input_tokens"):
        yield from (key for key, value in read.found(count) if value is not None)


def _provider(read: Attributes, noted: dict[str, Any]) -> str:
    names = [noted.get("provider"), noted.get("system")]
    if names[0] == GATEWAY:
        # The gateway passes on the provider's counts, so the model's name tells the provider. Other routers count anew.
        names += (value for _, value in read.found("model"))
    return " ".join(said for said in names if isinstance(said, str))


def _cost(read: Attributes) -> float | None:
    """Return the cost in US dollars that a span states."""
    langfuse = read.pick("langfuse_cost")
    of_langfuse = dict(langfuse) if isinstance(langfuse, dict) else {}
    total = cost_in_usd(of_langfuse.pop("total", None))
    return first_cost(
        (
            _number(read, "cost"),
            total,
            _sum(map(cost_in_usd, of_langfuse.values())),
            _sum(_number(read, name) for name in ("cost_of_input", "cost_of_output")),
        )
    )


def _sum(costs: Iterable[float | None]) -> float | None:
    """Sum stated costs as decimal numbers; None if there are none."""
    stated = [exact(cost) for cost in costs if cost is not None]
    return cost_in_usd(float(reduce(plus, stated, ZERO))) if stated else None


def _number(read: Attributes, name: str) -> float | None:
    """Return the first cost of a name that is a number or a numeric string."""
    return first_cost(_as_cost(value) for _, value in read.found(name))


def _as_cost(value: object) -> float | None:
    if isinstance(value, str) and len(value) <= _MAX_DIGITS + 13:
        try:
            value = float(value)
        except ValueError:
            return None
    return cost_in_usd(value)


def _count(read: Attributes, name: str) -> int | None:
    """Return the first count of a name that is an integer or an integer string."""
    for candidate in read.layout.found[name]:
        value = candidate.value(read.values)
        if type(value) is int and abs(value) < INT64:
            return value
        if isinstance(value, float) and value.is_integer() and abs(value) < INT64:
            return int(value)
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < _MAX_DIGITS:
            return int(value)
    return None


def _model(noted: dict[str, Any]) -> str:
    parameters = noted.get("model_parameters")
    name = noted.get("model") or (parameters.get("model") if isinstance(parameters, dict) else None)
    return name if isinstance(name, str) else _NO_MODEL
