"""The parameters of an export: the arguments of a list field in a query string."""

import pickle

import pytest

from graphql_schema.exports import concept_of, parse_arguments, unique_parameters
from graphql_schema.limits import Limits
from graphql_schema.schema import build_schema
from stores.calls import CallsFilter
from stores.errors import BadInputError, NotFoundError
from stores.exports import LISTS
from stores.query import Query
from stores.query.sort import SortBy
from stores.threads import ThreadsFilter

SCHEMA = build_schema(Limits())


def test_arguments_are_converted_for_the_stores() -> None:
    calls = parse_arguments(
        SCHEMA,
        concept_of("calls"),
        {
            "projectId": "acme/chat",
            "filter": '{"opNames": ["a:*"], "traceRootsOnly": true}',
            "query": '{"expr": {"eq": [{"getField": "status"}, {"literal": "error"}]}}',
            "sortBy": '[{"field": "started_at", "direction": "DESC"}]',
        },
    )
    threads = parse_arguments(
        SCHEMA, concept_of("threads"), {"projectId": "acme/chat", "filter": '{"afterDatetime": "1970-01-01T00:00:01Z"}'}
    )

    assert calls.filter == CallsFilter(op_names=["a:*"], trace_roots_only=True)
    assert calls.query == Query({"eq": [{"getField": "status"}, {"literal": "error"}]}, typed=True)
    assert calls.sort_by == [SortBy("started_at", descending=True)]
    assert threads.filter == ThreadsFilter(after_datetime=1_000_000)
    assert pickle.loads(pickle.dumps(calls)) == calls  # noqa: S301 -- our own


def test_null_equals_a_missing_argument() -> None:
    found = parse_arguments(
        SCHEMA, concept_of("objects"), {"projectId": "acme/chat", "filter": "null", "sortBy": "null"}
    )

    assert (found.filter, found.query, found.sort_by) == (None, None, [])


@pytest.mark.parametrize("name", LISTS)
def test_each_list_can_be_exported(name: str) -> None:
    concept = concept_of(name)

    assert [SCHEMA.argument_type(concept.field, argument) for argument in concept.arguments]


def test_unknown_argument_is_named() -> None:
    with pytest.raises(NotFoundError, match="calls, objects, feedback, threads"):
        concept_of("costs")
    with pytest.raises(BadInputError, match="use a, b") as refused:
        unique_parameters([("c", "1")], ["a", "b"])
    with pytest.raises(BadInputError, match="is repeated"):
        unique_parameters([("a", "1"), ("a", "1")], ["a", "b"])

    assert refused.value.argument == "c"
