"""Filter of calls: lists with any-of semantics, combined with AND."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from stores.calls import documents
from stores.calls.fields import CALL_FIELDS
from stores.calls.op_names import compile_calls_query, op_names
from stores.errors import BadInputError
from stores.input_checks import MAX_MEMBERS
from stores.paging import Row
from stores.query import Query
from stores.query.match_compiler import compile_match
from stores.query.text_expressions import starting_with
from stores.refs import check_external

Match = dict[str, Any]

_MEMBERSHIP: Final = {
    "input_refs": "input_refs",
    "output_refs": "output_refs",
    "parent_ids": "parent_id",
    "trace_ids": "trace_id",
    "thread_ids": "thread_id",
    "turn_ids": "turn_id",
    "wb_user_ids": "wb_user_id",
    "wb_run_ids": "wb_run_id",
    "statuses": "status",
}
_ERROR: Final = "error"
_MODEL: Final = "usage.model"


@dataclass(frozen=True, slots=True)
class CallsFilter:
    """A filter of calls; a null or empty list matches all calls.

    `stores.calls.op_names` defines the meaning of `op_names`. `models` match the model names in a call's usage.
    `started_after` and `started_before` are exclusive, in microseconds since the epoch. `errors_only` selects calls
    that ended with an exception.
    """

    op_names: list[str] | None = None
    input_refs: list[str] | None = None
    output_refs: list[str] | None = None
    parent_ids: list[str] | None = None
    trace_ids: list[str] | None = None
    call_ids: list[str] | None = None
    thread_ids: list[str] | None = None
    turn_ids: list[str] | None = None
    trace_roots_only: bool | None = None
    wb_user_ids: list[str] | None = None
    wb_run_ids: list[str] | None = None
    statuses: list[str] | None = None
    models: list[str] | None = None
    started_after: int | None = None
    started_before: int | None = None
    errors_only: bool | None = None

    def clauses(self, project_id: str, versions: Sequence[str] | None = None) -> list[Match]:
        """Return the match conditions, all of which must be true.

        `versions`, if given, are the known op names; they replace searches by the prefixes of `op_names`.

        Raises:
            BadInputError: if a list has more than `MAX_MEMBERS` members, or if a member is an internal ref.
        """
        self._check()
        clauses = [
            _any_of_match(path, members) for name, path in _MEMBERSHIP.items() if (members := getattr(self, name))
        ]
        if self.call_ids:
            # By `_id`, since no other index finds single calls.
            clauses.append(
                _any_of_match("_id", [documents.key_fields(project_id, call_id)["_id"] for call_id in self.call_ids])
            )
        if self.op_names:
            clauses.append(_any_op_match(project_id, self.op_names, versions))
        if self.models:
            clauses.append(_any_of_match(_MODEL, self.models))
        if self.trace_roots_only:
            clauses.append({"parent_id": None})
        if self.errors_only:
            clauses.append({"status": _ERROR})
        bounds = {"$gt": self.started_after, "$lt": self.started_before}
        if present := {operator: bound for operator, bound in bounds.items() if bound is not None}:
            clauses.append({"started_at": present})
        return clauses

    def test(self, project_id: str) -> Callable[[Row], bool]:
        """Return the filter as a predicate over a loaded call of the project.

        Raises:
            BadInputError: if a list has more than `MAX_MEMBERS` members, or if a member is an internal ref.
        """
        self._check()
        tests = list(self._tests(project_id))
        return lambda call: all(test(call) for test in tests)

    def _tests(self, project_id: str) -> Iterator[Callable[[Row], bool]]:
        for name, path in {**_MEMBERSHIP, "call_ids": "id"}.items():
            if members := getattr(self, name):
                yield _any_of_test(path, frozenset(members))
        if self.op_names:
            yield _any_op_test(project_id, self.op_names)
        if self.models:
            models = frozenset(self.models)
            yield lambda call: any(entry["model"] in models for entry in call.get("usage", ()))
        if self.trace_roots_only:
            yield lambda call: call.get("parent_id") is None
        if self.errors_only:
            yield lambda call: call["status"] == _ERROR
        if (after := self.started_after) is not None:
            yield lambda call: bool(call["started_at"] > after)
        if (before := self.started_before) is not None:
            yield lambda call: bool(call["started_at"] < before)

    def _check(self) -> None:
        for field in fields(self):
            members, argument = getattr(self, field.name), f"filter.{field.name}"
            if not isinstance(members, list):
                continue
            if len(members) > MAX_MEMBERS:
                raise BadInputError(f"has {len(members):,} members; the limit is {MAX_MEMBERS:,}", argument)
            for position, member in enumerate(members):
                check_external(member, f"{argument}.{position}")


def calls_match(
    project_id: str,
    calls_filter: CallsFilter | None = None,
    query: Query | None = None,
    conditions: Sequence[Match] = (),
    versions: Sequence[str] | None = None,
) -> Match:
    """Build the match of a project's visible calls that pass a filter, a query and further conditions.

    `versions`, if given, are the known op names; they replace searches by the prefixes of the filter.

    Raises:
        BadInputError: if the filter or the query is invalid.
    """
    clauses = calls_filter.clauses(project_id, versions) if calls_filter else []
    clauses += [compile_match(compile_calls_query(query, CALL_FIELDS, project_id))] if query else []
    clauses += conditions
    visible: Match = {"project_id": project_id, "visible": True}
    return visible | ({"$and": clauses} if clauses else {})


def _any_of_match(path: str, members: list[str]) -> Match:
    return {path: members[0]} if len(members) == 1 else {path: {"$in": members}}


def _any_of_test(path: str, members: frozenset[str]) -> Callable[[Row], bool]:
    def test(call: Row) -> bool:
        value = call.get(path)
        return not members.isdisjoint(value) if isinstance(value, list) else value in members

    return test


def _any_op_test(project_id: str, names: list[str]) -> Callable[[Row], bool]:
    expanded = op_names(project_id, names)
    exact, prefixes = frozenset(expanded.exact), tuple(expanded.prefixes)
    return lambda call: (name := call["op_name"]) in exact or name.startswith(prefixes)


def _any_op_match(project_id: str, names: list[str], versions: Sequence[str] | None) -> Match:
    expanded = op_names(project_id, names)
    if versions is not None and expanded.prefixes:
        matching = [name for name in versions if name.startswith(tuple(expanded.prefixes))]
        return _any_of_match("op_name", [*expanded.exact, *matching])
    branches = [_any_of_match("op_name", list(expanded.exact))] if expanded.exact else []
    branches += [{"op_name": starting_with(prefix)} for prefix in expanded.prefixes]
    return branches[0] if len(branches) == 1 else {"$or": branches}
