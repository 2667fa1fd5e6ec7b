"""The filter of calls: lists of which any member may match, all of them together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from stores.calls import documents
from stores.calls.fields import CALL_FIELDS
from stores.errors import BadInputError
from stores.paging import Row
from stores.query import Query
from stores.refs import check_external

MAX_MEMBERS: Final = 1000
ANY_VERSION: Final = ":*"

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
}


@dataclass(frozen=True, slots=True)
class CallsFilter:
    """Which calls: a list that is null or empty asks nothing; `X:*` in `op_names` is every version of the op X."""

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

    def clauses(self, project_id: str) -> list[Match]:
        """The conditions, all of which a call of the project must meet.

        Raises:
            BadInputError: a list has more than `MAX_MEMBERS` members, or one of them an inner ref.
        """
        self._check()
        found = [_any_of(path, members) for name, path in _MEMBERSHIP.items() if (members := getattr(self, name))]
        if self.call_ids:
            # By the key of the document, since no other index leads to single calls.
            found.append(_any_of("_id", [documents.key(project_id, call_id)["_id"] for call_id in self.call_ids]))
        if self.op_names:
            found.append(_any_op(self.op_names))
        if self.trace_roots_only:
            found.append({"parent_id": None})
        return found

    def test(self) -> Callable[[Row], bool]:
        """The same conditions on a call that is at hand, whatever its project.

        Raises:
            BadInputError: a list has more than `MAX_MEMBERS` members, or one of them an inner ref.
        """
        self._check()
        tests = list(self._tests())
        return lambda call: all(test(call) for test in tests)

    def _tests(self) -> Iterator[Callable[[Row], bool]]:
        for name, path in {**_MEMBERSHIP, "call_ids": "id"}.items():
            if members := getattr(self, name):
                yield _is_any_of(path, frozenset(members))
        if self.op_names:
            yield _is_any_op(self.op_names)
        if self.trace_roots_only:
            yield lambda call: call.get("parent_id") is None

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
    also: Sequence[Match] = (),
) -> Match:
    """The match of a project's visible calls that pass a filter, a query, and whatever else is asked for.

    Raises:
        BadInputError: the filter or the query breaks a rule.
    """
    clauses = calls_filter.clauses(project_id) if calls_filter else []
    clauses += [query.match(CALL_FIELDS)] if query else []
    clauses += also
    visible: Match = {"project_id": project_id, "visible": True}
    return visible | ({"$and": clauses} if clauses else {})


def _any_of(path: str, members: list[str]) -> Match:
    return {path: members[0]} if len(members) == 1 else {path: {"$in": members}}


def _is_any_of(path: str, members: frozenset[str]) -> Callable[[Row], bool]:
    def test(call: Row) -> bool:
        found = call.get(path)
        return not members.isdisjoint(found) if isinstance(found, list) else found in members

    return test


def _is_any_op(op_names: list[str]) -> Callable[[Row], bool]:
    exact = frozenset(name for name in op_names if not name.endswith(ANY_VERSION))
    prefixes = tuple(name.removesuffix("*") for name in op_names if name.endswith(ANY_VERSION))
    return lambda call: (name := call.get("op_name", "")) in exact or name.startswith(prefixes)


def _any_op(op_names: list[str]) -> Match:
    exact = [name for name in op_names if not name.endswith(ANY_VERSION)]
    branches = [_any_of("op_name", exact)] if exact else []
    branches += [_any_version(name.removesuffix("*")) for name in op_names if name.endswith(ANY_VERSION)]
    return branches[0] if len(branches) == 1 else {"$or": branches}


def _any_version(prefix: str) -> Match:
    """Names that start with the prefix, which ends in a colon: `;` is the character after it."""
    return {"op_name": {"$gte": prefix, "$lt": prefix[:-1] + ";"}}
