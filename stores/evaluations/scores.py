r"""Scores as numbers: `helpfulness.grade` is that path in a prediction's `output.scores`; true counts as 1.

Names are paths into the scores as clients write them, with `\.` for a dot in a key.
"""

import re
from functools import lru_cache
from typing import Final

from stores.calls.fields import STATUSES
from stores.errors import BadInputError
from stores.json import paths
from stores.query import text_expressions
from stores.query.fields import Access, Field, FieldTable, Kind
from stores.query.text_expressions import Expression, let_v
from stores.query.value_expressions import path_expression

MAX_DEPTH: Final = 4
"""Limit on the keys of a metric name: the scorer, then keys inside its result."""
MAX_NAMES: Final = 1_000
"""Limit on the different metric names of the runs in one request."""

SCORES: Final = "scores"

_TEXT: Final = "json.output"

OUTPUT: Final = Field("output", "output.output", Kind.JSON, text_path=_TEXT)

PREDICTION_FIELDS: Final = FieldTable(
    [
        Field("id", "id", optional=False),
        Field("started_at", "started_at", Kind.TIME, optional=False),
        Field("ended_at", "ended_at", Kind.TIME),
        Field("status", "status", optional=False, values=STATUSES),
        Field("exception", "exception"),
        Field("latency_ms", "latency_ms", Kind.NUMBER),
        Field("total_tokens", "total_tokens", Kind.NUMBER),
        Field("example", "inputs.example", Kind.JSON, text_path="json.inputs"),
        OUTPUT,
        Field("model_latency", "output.model_latency", Kind.JSON, text_path=_TEXT),
        Field(SCORES, "output.scores", Kind.JSON, text_path=_TEXT),
    ]
)
"""Fields of predictions by which rows are filtered and sorted."""
OUTPUT_BY_EITHER_NAME: Final = {
    "$set": {OUTPUT.path: {"$ifNull": [f"${OUTPUT.path}", "$output.model_output", "$$REMOVE"]}}
}
"""Stage that copies an output stored as `model_output`, the older name, to `output`."""

_HAS_OLDER_NAME: Final = {
    "$and": [
        {"$eq": [{"$type": "$output"}, "object"]},
        {"$lte": [f"${OUTPUT.path}", None]},
        {"$in": [{"$type": "$output.model_output"}, ["object", "array"]]},
    ]
}
_RENAMED: Final = [text_expressions.of_part(f"${_TEXT}", ["model_output"]), ",", {"$substrBytes": [f"${_TEXT}", 1, -1]}]
TEXT_BY_EITHER_NAME: Final = {
    "$set": {_TEXT: {"$cond": [_HAS_OLDER_NAME, {"$concat": ['{"output":', *_RENAMED]}, f"${_TEXT}"]}}
}
"""Stage that renames `model_output` to `output` in the JSON text; it runs before `OUTPUT_BY_EITHER_NAME`."""

_ESCAPED: Final = re.compile("%([0-9A-F]{2})")
_V: Final = "$$v"


def number_at(access: Access) -> Expression:
    """Build the expression of the number at a path: 1 or 0 for a boolean, null for any other value."""
    branches = [
        {"case": {"$isNumber": _V}, "then": _V},
        {"case": {"$eq": [_V, True]}, "then": 1},
        {"case": {"$eq": [_V, False]}, "then": 0},
    ]
    return let_v(path_expression(access), {"$switch": {"branches": branches, "default": None}})


def numbers_in_scores() -> Expression:
    """Build the expression of all numbers in the scores: a list of `name` (escaped), `number` and `is_boolean`."""
    scores = {"$cond": [{"$eq": [{"$type": "$output"}, "object"]}, "$output.scores", None]}
    return _numbers_in(scores, None, MAX_DEPTH)


def _numbers_in(value: Expression, name: Expression, depth: int) -> Expression:
    """List the numbers among an object's members and, down to `depth`, in nested objects."""
    member = f"m{depth}"
    key, inner = f"$${member}.k", f"$${member}.v"
    path: Expression = key if name is None else {"$concat": [name, ".", key]}
    of_objects = _numbers_in(inner, path, depth - 1) if depth > 1 else []
    branches = [
        {"case": {"$isNumber": inner}, "then": [{"name": path, "number": inner, "is_boolean": False}]},
        {
            "case": {"$eq": [{"$type": inner}, "bool"]},
            "then": [{"name": path, "number": {"$cond": [inner, 1, 0]}, "is_boolean": True}],
        },
        {"case": {"$eq": [{"$type": inner}, "object"]}, "then": of_objects},
    ]
    each = {"$switch": {"branches": branches, "default": []}}
    members = {"$map": {"input": {"$objectToArray": value}, "as": member, "in": each}}
    lists = {"$reduce": {"input": members, "initialValue": [], "in": {"$concatArrays": ["$$value", "$$this"]}}}
    return {"$cond": [{"$eq": [{"$type": value}, "object"]}, lists, []]}


@lru_cache(MAX_NAMES)
def plain_name(escaped: str) -> str:
    """Return a metric name as clients write it, from its escaped BSON copy."""
    return paths.join(_ESCAPED.sub(lambda code: chr(int(code[1], 16)), key) for key in escaped.split("."))


def check_names(count: int, argument: str) -> None:
    """Check the number of different metric names.

    Raises:
        BadInputError: there are more than `MAX_NAMES`.
    """
    if count > MAX_NAMES:
        raise BadInputError(
            f"the scores have more than {MAX_NAMES:,} different metric names, the limit; read them row by row",
            argument,
        )
