r"""Scores as numbers: `helpfulness.grade` is what lies there in a prediction's `output.scores`, true counts as 1.

Names are paths into the scores as clients write them, `\.` for a dot in a key.
"""

import re
from functools import lru_cache
from typing import Final

from stores.calls.fields import STATUSES
from stores.errors import BadInputError
from stores.json import paths
from stores.query import text_expressions
from stores.query.fields import Access, Field, FieldTable, Kind
from stores.query.value_expressions import Expression, bound, reach

MAX_DEPTH: Final = 4
"""Keys of a name: of the scorer, and within what that gave."""
MAX_NAMES: Final = 1_000
"""Different names in the runs that are asked for together."""

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
"""The fields of predictions, by which rows are chosen and sorted."""
OUTPUT_BY_EITHER_NAME: Final = {
    "$set": {OUTPUT.path: {"$ifNull": [f"${OUTPUT.path}", "$output.model_output", "$$REMOVE"]}}
}
"""The stage after which a prediction's output is where it is looked for, also where it has its older name."""

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
"""The stage before `OUTPUT_BY_EITHER_NAME` that puts the output under its newer name into the text, too."""

_ESCAPED: Final = re.compile("%([0-9A-F]{2})")
_V: Final = "$$v"


def number_at(access: Access) -> Expression:
    """The number at a place, 1 or 0 for true or false; null for what is neither."""
    branches = [
        {"case": {"$isNumber": _V}, "then": _V},
        {"case": {"$eq": [_V, True]}, "then": 1},
        {"case": {"$eq": [_V, False]}, "then": 0},
    ]
    return bound(reach(access), {"$switch": {"branches": branches, "default": None}})


def flattened() -> Expression:
    """All numbers in a prediction's scores: a list of their names, mirrored, numbers, and whether they are truths."""
    scores = {"$cond": [{"$eq": [{"$type": "$output"}, "object"]}, "$output.scores", None]}
    return _members(scores, None, MAX_DEPTH)


def _members(value: Expression, name: Expression, depth: int) -> Expression:
    """The numbers among an object's members, and in these as far as they are objects."""
    member = f"m{depth}"
    key, inner = f"$${member}.k", f"$${member}.v"
    path: Expression = key if name is None else {"$concat": [name, ".", key]}
    of_objects = _members(inner, path, depth - 1) if depth > 1 else []
    branches = [
        {"case": {"$isNumber": inner}, "then": [{"name": path, "number": inner, "is_truth": False}]},
        {
            "case": {"$eq": [{"$type": inner}, "bool"]},
            "then": [{"name": path, "number": {"$cond": [inner, 1, 0]}, "is_truth": True}],
        },
        {"case": {"$eq": [{"$type": inner}, "object"]}, "then": of_objects},
    ]
    each = {"$switch": {"branches": branches, "default": []}}
    members = {"$map": {"input": {"$objectToArray": value}, "as": member, "in": each}}
    lists = {"$reduce": {"input": members, "initialValue": [], "in": {"$concatArrays": ["$$value", "$$this"]}}}
    return {"$cond": [{"$eq": [{"$type": value}, "object"]}, lists, []]}


@lru_cache(MAX_NAMES)
def plain_name(mirrored: str) -> str:
    """The name of a number, as clients write it, from its mirrored one."""
    return paths.join(_ESCAPED.sub(lambda code: chr(int(code[1], 16)), key) for key in mirrored.split("."))


def check_names(count: int, argument: str) -> None:
    """Hold how many different names there are to `MAX_NAMES`.

    Raises:
        BadInputError: there are more.
    """
    if count > MAX_NAMES:
        raise BadInputError(
            f"its scores have more than {MAX_NAMES:,} numbers of different names, the limit; read them row by row",
            argument,
        )
