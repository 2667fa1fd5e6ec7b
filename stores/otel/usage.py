"""The usage of a model that a span states, as a call's summary has it."""

from collections.abc import Iterable, Iterator
from functools import reduce
from typing import Any, Final

from stores.costs.decimals import ZERO, exact, plus
from stores.otel.attribute_nesting import Candidate, Layout
from stores.otel.conventions import (
    AGENT_OPERATIONS,
    COST,
    COST_PARTS,
    COUNTS,
    GATEWAY,
    LANGFUSE_COST,
    LANGFUSE_USAGE,
    MODEL,
    MODEL_PARAMETERS,
    NOTED,
    PARTS,
    SPEAKING_MARK,
    SUMMING_PREFIX,
    USAGE_BESIDE,
)
from stores.otel.spans import CLIENT
from stores.usage.rules import (
    CACHE,
    CLASS_COUNTS,
    Split,
    cost_in_usd,
    first_cost,
    span_rule_of,
    split,
    split_usage,
    stated_classes,
)

_NO_MODEL: Final = "usage"
"""The name in a summary for what was used of a model that nobody named."""

_COUNTS: Final = COUNTS.keys()
_BESIDE: Final = PARTS.keys() | USAGE_BESIDE.keys()
_OF_STORED: Final = Layout(
    root=(),
    separators=0,
    is_odd=False,
    found={
        role: [Candidate(key, 0, tuple(key.split("."))) for key in keys]
        for role, keys in (COUNTS | PARTS | USAGE_BESIDE | {MODEL: NOTED[MODEL]}).items()
    },
    json_at=(),
)
"""The layout of a span's attributes as a call has them: one value in which all nest."""

_LONGEST: Final = 19
_BEYOND: Final = 1 << 63


def usage_of(layout: Layout, values: list[object], noted: dict[str, Any], scope: object = None) -> dict[str, Any]:
    """The usage by the model's name: the five counts as sent, with null for those that are absent.

    Where the span states parts of these counts, `token_classes` has the counts of all classes, and `total_tokens` is
    no less than their sum; a cost that the span states is under `cost`.

    Args:
        layout: the layout of the span's attributes.
        values: their values.
        noted: the attributes of the call, which name the model and the provider.
        scope: the instrumentation scope, an object with its `name`.

    Returns:
        An empty object where the span states no count.
    """
    found = layout.found
    if _COUNTS.isdisjoint(found):
        return {}
    counts: dict[str, Any] = {name: _count(layout, name, values) for name in COUNTS}
    if all(count is None for count in counts.values()):
        return {}
    if not _BESIDE.isdisjoint(found):
        parts = _parts(layout, values, noted, scope, counts)
        if parts and parts.classes:
            counts["total_tokens"] = parts.total
            counts[CLASS_COUNTS] = stated_classes(parts)
        if (cost := _cost(layout, values)) is not None:
            counts[COST] = cost
    if counts["total_tokens"] is None:
        counts["total_tokens"] = sum(max(count or 0, 0) for count in _sent(counts))
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


def usage_of_stored(attributes: object) -> dict[str, Any]:
    """The usage of a span by the attributes of its call; empty where no span made the call."""
    span = attributes.get("otel_span") if isinstance(attributes, dict) else None
    if not isinstance(attributes, dict) or not isinstance(span, dict):
        return {}
    return usage_of(_OF_STORED, [span.get("attributes")], attributes, span.get("scope"))


def _sent(counts: dict[str, Any]) -> tuple[int | None, int | None]:
    return counts["prompt_tokens"] or counts["input_tokens"], counts["completion_tokens"] or counts["output_tokens"]


def _parts(
    layout: Layout, values: list[object], noted: dict[str, Any], scope: object, counts: dict[str, Any]
) -> Split | None:
    """The counts that add up, of a span that states parts of its input or output; None of one that states none."""
    langfuse = layout.pick(LANGFUSE_USAGE, values)
    if isinstance(langfuse, dict):
        return split_usage(langfuse)[0]
    stated = {name: _count(layout, name, values) for name in PARTS if name in layout.found}
    found = {name: max(count, 0) for name, count in stated.items() if count is not None}
    if not any(found.values()):
        return None
    rule = span_rule_of(_names(layout, values, scope), _provider(layout, values, noted), found)
    sent_in, sent_out = _sent(counts)
    totals = {"input": sent_in, "output": sent_out, "total": counts["total_tokens"]}
    found |= {name: max(count or 0, 0) for name, count in totals.items()}
    return split(found, CACHE if rule.excludes else (), is_fixed=rule.is_fixed)


def _names(layout: Layout, values: list[object], scope: object) -> Iterator[str]:
    name = scope.get("name") if isinstance(scope, dict) else None
    yield name if isinstance(name, str) else ""
    for count in ("prompt_tokens", "input_tokens"):
        yield from (at.key for at in layout.found.get(count, ()) if at.value(values) is not None)


def _provider(layout: Layout, values: list[object], noted: dict[str, Any]) -> str:
    told = [noted.get("provider"), noted.get("system")]
    if told[0] == GATEWAY:
        # It passes on what the provider counted, which only the model's name tells. Other routers count anew.
        told += (at.value(values) for at in layout.found.get(MODEL, ()))
    return " ".join(said for said in told if isinstance(said, str))


def _cost(layout: Layout, values: list[object]) -> float | None:
    """The cost in US dollars that a span states."""
    langfuse = layout.pick(LANGFUSE_COST, values)
    of_langfuse = dict(langfuse) if isinstance(langfuse, dict) else {}
    total = cost_in_usd(of_langfuse.pop("total", None))
    return first_cost(
        (
            _number(layout, COST, values),
            total,
            _sum(map(cost_in_usd, of_langfuse.values())),
            _sum(_number(layout, name, values) for name in COST_PARTS),
        )
    )


def _sum(costs: Iterable[float | None]) -> float | None:
    """The sum of stated costs as decimal numbers; None where there are none."""
    stated = [exact(cost) for cost in costs if cost is not None]
    return cost_in_usd(float(reduce(plus, stated, ZERO))) if stated else None


def _number(layout: Layout, name: str, values: list[object]) -> float | None:
    """The first cost of a name that is a number, or a string of one."""
    return first_cost(_as_cost(candidate.value(values)) for candidate in layout.found.get(name, ()))


def _as_cost(value: object) -> float | None:
    if isinstance(value, str) and len(value) <= _LONGEST + 13:
        try:
            value = float(value)
        except ValueError:
            return None
    return cost_in_usd(value)


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
