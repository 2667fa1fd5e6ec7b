"""Filter of calls: lists with any-of semantics, combined with AND."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, get_type_hints

from stores.calls import documents
from stores.calls.op_names import op_names
from stores.errors import BadInputError
from stores.input_checks import MAX_MEMBERS
from stores.paging import Row
from stores.query.fields import starting_with
from stores.refs import check_external

Match = dict[str, Any]

Test = Callable[[Row], bool]

Texts = list[str] | None
Flag = bool | None
Number = int | None
"""Types of the filter's values. A null, an empty list and a false flag set no condition."""

_COMPARISONS: Final = {"$gt": operator.gt, "$lt": operator.lt}


@dataclass(frozen=True, slots=True)
class FilterField:
    """One field of the filter: the only declaration of its meaning.

    Attributes:
        column: the column with whose values clients compare; it gives the field its type in GraphQL.
        description: description in GraphQL.
        match: returns the match in MongoDB of a value, a project and the known op names (see `CallsFilter.clauses`).
        test: returns the test in Python of a value and a project, for events.
    """

    column: str
    description: str
    match: Callable[[Any, str, Sequence[str] | None], Match]
    test: Callable[[Any, str], Test]


def _any_of(path: str, description: str) -> FilterField:
    """Condition that one of some values is at a path, or in the list there."""
    return FilterField(
        path,
        description,
        lambda members, _project, _names: _any_of_match(path, members),
        lambda members, _project: _any_of_test(path, members),
    )


def _flag(match: Match, test: Test, description: str) -> FilterField:
    """Condition that holds if the value is true."""
    return FilterField("", description, lambda _value, _project, _names: match, lambda _value, _project: test)


def _bound(column: str, comparison: str, description: str) -> FilterField:
    """Condition that a column has a value, and that this compares with the given one."""
    compare = _COMPARISONS[comparison]
    return FilterField(
        column,
        description,
        lambda bound, _project, _names: {column: {comparison: bound}},
        lambda bound, _project: lambda call: call.get(column) is not None and compare(call[column], bound),
    )


def _any_of_match(path: str, members: Sequence[str]) -> Match:
    return {path: members[0]} if len(members) == 1 else {path: {"$in": list(members)}}


def _any_of_test(path: str, members: Sequence[str]) -> Test:
    wanted, (name, *steps) = frozenset(members), path.split(".")

    def test(call: Row) -> bool:
        value = call.get(name)
        if not isinstance(value, list):
            return value in wanted
        return not wanted.isdisjoint([entry[steps[0]] for entry in value] if steps else value)

    return test


def _ids_match(members: Sequence[str], project_id: str, _names: Sequence[str] | None) -> Match:
    """Return the match by `_id`, since no other index finds single calls."""
    return _any_of_match("_id", [documents.key_fields(project_id, member)["_id"] for member in members])


def _ops_match(members: Sequence[str], project_id: str, names: Sequence[str] | None) -> Match:
    expanded = op_names(project_id, members)
    if names is not None and expanded.prefixes:
        matching = [name for name in names if name.startswith(tuple(expanded.prefixes))]
        return _any_of_match("op_name", [*expanded.exact, *matching])
    branches = [_any_of_match("op_name", expanded.exact)] if expanded.exact else []
    branches += [{"op_name": starting_with(prefix)} for prefix in expanded.prefixes]
    return branches[0] if len(branches) == 1 else {"$or": branches}


def _ops_test(members: Sequence[str], project_id: str) -> Test:
    expanded = op_names(project_id, members)
    exact, prefixes = frozenset(expanded.exact), tuple(expanded.prefixes)
    return lambda call: (name := call["op_name"]) in exact or name.startswith(prefixes)


@dataclass(frozen=True, slots=True)
class CallsFilter:
    """A filter of calls: all conditions must hold.

    `stores.calls.op_names` defines the meaning of `op_names`. Times are microseconds since the epoch.

    To add a field, add its row here and its case to `tests/stores/calls/cases.py`, then run
    `loomql schema > graphql_schema/schema.graphql`.
    """

    op_names: Annotated[
        Texts,
        FilterField(
            "op_name",
            "Op names: a plain name or `name:*` matches that name and every version of the op, as `traceName` and "
            "`callsAggregate` show it. A ref matches one version, and `weave:///entity/project/op/name:*` every "
            "version.",
            _ops_match,
            _ops_test,
        ),
    ] = None
    input_refs: Annotated[
        Texts, _any_of("input_refs", "Refs of which at least one is in the inputs; each is compared as a whole.")
    ] = None
    output_refs: Annotated[
        Texts, _any_of("output_refs", "Refs of which at least one is in the output; each is compared as a whole.")
    ] = None
    parent_ids: Annotated[Texts, _any_of("parent_id", "Ids of parent calls.")] = None
    trace_ids: Annotated[Texts, _any_of("trace_id", "Ids of traces.")] = None
    call_ids: Annotated[
        Texts, FilterField("id", "Ids of calls.", _ids_match, lambda members, _project: _any_of_test("id", members))
    ] = None
    thread_ids: Annotated[Texts, _any_of("thread_id", "Ids of threads.")] = None
    turn_ids: Annotated[Texts, _any_of("turn_id", "Ids of turns.")] = None
    trace_roots_only: Annotated[
        Flag,
        _flag(
            {"parent_id": None},
            lambda call: call.get("parent_id") is None,
            "True if only calls without a parent match.",
        ),
    ] = None
    wb_user_ids: Annotated[Texts, _any_of("wb_user_id", "Users who wrote the calls.")] = None
    wb_run_ids: Annotated[Texts, _any_of("wb_run_id", "W&B runs of the calls, as entity/project/run.")] = None
    statuses: Annotated[Texts, _any_of("status", "Statuses of calls.")] = None
    models: Annotated[Texts, _any_of("usage.model", "Exact names of models of which the calls report usage.")] = None
    started_after: Annotated[Number, _bound("started_at", "$gt", "Exclusive lower bound of startedAt.")] = None
    started_before: Annotated[Number, _bound("started_at", "$lt", "Exclusive upper bound of startedAt.")] = None
    errors_only: Annotated[
        Flag,
        _flag(
            {"status": "error"},
            lambda call: call["status"] == "error",
            "True if only calls with the status ERROR match: those that ended with an exception.",
        ),
    ] = None

    def clauses(self, project_id: str, names: Sequence[str] | None = None) -> list[Match]:
        """Return the match conditions, all of which must be true.

        `names`, if given, are the known op names; they replace searches by the prefixes of `op_names`.

        Raises:
            BadInputError: if a list has more than `MAX_MEMBERS` members, or if a member is an internal ref.
        """
        return [row.match(value, project_id, names) for row, value in self._conditions()]

    def test(self, project_id: str) -> Test:
        """Return the filter as a predicate over a loaded call of the project.

        Raises:
            BadInputError: if a list has more than `MAX_MEMBERS` members, or if a member is an internal ref.
        """
        tests = [row.test(value, project_id) for row, value in self._conditions()]
        return lambda call: all(test(call) for test in tests)

    def _conditions(self) -> list[tuple[FilterField, Any]]:
        """Check the filter; return the fields that set a condition, with their values."""
        conditions = []
        for name, row in FILTER_FIELDS.items():
            value = getattr(self, name)
            if isinstance(value, list):
                _check_members(value, f"filter.{name}")
            if value is not None and value is not False and value != []:
                conditions.append((row, value))
        return conditions


FILTER_FIELDS: Final[Mapping[str, FilterField]] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(CallsFilter, include_extras=True).items()
}
"""The declarations of the filter's fields."""


def _check_members(members: list[str], argument: str) -> None:
    if len(members) > MAX_MEMBERS:
        raise BadInputError(f"has {len(members):,} members; the limit is {MAX_MEMBERS:,}", argument)
    for position, member in enumerate(members):
        check_external(member, f"{argument}.{position}")


def calls_match(
    project_id: str,
    calls_filter: CallsFilter | None = None,
    conditions: Sequence[Match] = (),
    versions: Sequence[str] | None = None,
) -> Match:
    """Build the match of a project's visible calls that pass a filter and further conditions.

    `versions`, if given, are the known op names; they replace searches by the prefixes of the filter.

    Raises:
        BadInputError: if the filter is invalid.
    """
    clauses = calls_filter.clauses(project_id, versions) if calls_filter else []
    clauses += conditions
    visible: Match = {"project_id": project_id, "visible": True}
    return visible | ({"$and": clauses} if clauses else {})
