"""Random conditions in the query language, as JSON: valid ones and slightly broken ones."""

from random import Random
from typing import Any, Final

from tests.fuzz import texts

FIELDS: Final = (
    "id", "op_name", "display_name", "trace_id", "parent_id", "thread_id", "turn_id", "started_at", "ended_at",
    "exception", "status", "latency_ms", "trace_name", "inputs", "output", "attributes", "summary", "inputs.question",
    "inputs.messages.0.content", "output.answer", "summary.usage", "summary.weave.status", "summary.weave.latency_ms",
    "wb_user_id", "wb_run_id", "storage_size_bytes", "feedback_type", "payload", "payload.note", "weave_ref",
    "creator", "created_at", "llm_id", "prompt_token_cost", "effective_date", "digest", "object_id", "val", "val.name",
    "kind", "version_index", "row_digest", "original_index", "turn_count", "last_updated", "name", "entity",
)  # fmt: skip
_MANY: Final = ("$and", "$or", "$not", "$eq", "$gt", "$gte", "$lt", "$lte")
_STRANGE: Final = ("$where", "$function", "$regex", "$ne", "$expr", "$getField", "", "and", "$nothing")


def field(random: Random, wildness: float = 0.0) -> str:
    """Return the name of a field that some list has."""
    return texts.text(random) if random.random() < wildness else random.choice(FIELDS)


def query(random: Random, wildness: float) -> Any:
    """Return a complete query."""
    if random.random() < wildness / 2:
        return texts.broken(random)
    return {"$expr": expression(random, random.randint(1, 4), wildness)}


def expression(random: Random, depth: int, wildness: float) -> Any:
    """Return an expression of at most the given depth."""
    if random.random() < wildness / 4:
        return random.choice((texts.broken(random), {random.choice(_STRANGE): expression(random, 1, wildness)}))
    if depth == 0:
        return _operand(random, wildness)
    operator = random.choice((*_MANY, "$in", "$contains", "$convert"))
    if operator == "$in":
        return {operator: [_operand(random, wildness), [_literal(random, wildness) for _ in range(3)]]}
    if operator == "$contains":
        parts = {"input": _operand(random, wildness), "substr": _literal(random, wildness)}
        return {operator: {**parts, "case_insensitive": random.random() < 0.5}}
    if operator == "$convert":
        return _converted(random, wildness)
    count = 1 if operator == "$not" else 2
    return {operator: [expression(random, depth - 1, wildness) for _ in range(count)]}


def _operand(random: Random, wildness: float) -> Any:
    kind = random.random()
    if kind < 0.5:
        return {"$getField": field(random, wildness)}
    return _literal(random, wildness) if kind < 0.8 else _converted(random, wildness)


def _converted(random: Random, wildness: float) -> dict[str, Any]:
    to = random.choice(("double", "string", "int", "bool", "exists"))
    return {"$convert": {"input": {"$getField": field(random, wildness)}, "to": to}}


def _literal(random: Random, wildness: float) -> dict[str, Any]:
    if random.random() < wildness:
        return {"$literal": texts.broken(random)}
    return {"$literal": random.choice((None, True, 5, 0.5, "a", "SUCCESS", "2026-03-01T08:00:00Z", texts.word(random)))}
