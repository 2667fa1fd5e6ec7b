"""Tests of the queries that name ids, and of the refusal of other queries."""

from typing import Any

import pytest

from stores.costs.store import COST_FIELDS
from stores.document_list import named_ids
from stores.errors import BadInputError
from stores.query import Query

ID: dict[str, Any] = {"$getField": "id"}


def literal(value: object) -> dict[str, object]:
    return {"$literal": value}


def equal(value: object) -> dict[str, object]:
    return {"$eq": [ID, literal(value)]}


def among(*values: object) -> dict[str, object]:
    return {"$in": [ID, [literal(value) for value in values]]}


@pytest.mark.parametrize("takes_in", [True, False])
@pytest.mark.parametrize(
    ("tree", "ids"),
    [
        (equal("a"), ["a"]),
        ({"$or": [equal("b")]}, ["b"]),
        ({"$or": [equal("b"), equal("a"), equal("b")]}, ["b", "a"]),
        ({"$or": [equal("x" * 129), equal("y" * 128), equal("z" * 90_000)]}, ["y" * 128]),
        (equal("x" * 129), []),
    ],
    ids=["one", "one of", "twice", "long", "nothing"],
)
def test_ids_are_unique_and_too_long_ones_are_dropped(
    tree: object,
    ids: list[str],
    takes_in: bool,  # noqa: FBT001 -- a parameter of the test
) -> None:
    assert named_ids(Query({"$expr": tree}), COST_FIELDS, allow_in=takes_in) == ids


def test_list_of_ids_is_accepted_only_if_enabled() -> None:
    query = Query({"$expr": among("a", "b", "a", "x" * 129)})

    assert named_ids(query, COST_FIELDS, allow_in=True) == ["a", "b"]
    with pytest.raises(BadInputError) as caught:
        named_ids(query, COST_FIELDS, allow_in=False)
    assert caught.value.argument == "query"
    assert "$in" not in caught.value.message


@pytest.mark.parametrize(
    "tree",
    [
        {"$and": [equal("a")]},
        {"$not": [equal("a")]},
        {"$eq": [literal("a"), ID]},
        {"$eq": [{"$getField": "llm_id"}, literal("a")]},
        {"$in": [{"$getField": "llm_id"}, [literal("a")]]},
        {"$or": [equal("a"), among("b")]},
        {"$or": [equal("a"), {"$or": [equal("b")]}]},
        among("a", None),
        equal(None),
        {"$gte": [ID, literal("a")]},
    ],
    ids=str,
)
def test_other_queries_are_refused_with_the_accepted_forms(tree: object) -> None:
    with pytest.raises(BadInputError) as caught:
        named_ids(Query({"$expr": tree}), COST_FIELDS, allow_in=True)

    assert caught.value.argument == "query"
    assert caught.value.message == (
        'must name ids: {"$eq": [{"$getField": "id"}, {"$literal": "<id>"}]}, or an $or of such, or '
        '{"$in": [{"$getField": "id"}, [{"$literal": "<id>"}, …]]}; otherwise query the ids first'
    )
