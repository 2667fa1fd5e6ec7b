"""Every root field with every role: the server rejects it before any command, or permits it, as the table says."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from graphql_schema.context import Context, Stores
from graphql_schema.engine.operations import LimitedSchema
from graphql_schema.limits import Limits
from graphql_schema.permissions import FIELD_PERMISSIONS, FieldPermission, guard_root_fields
from graphql_schema.schema import build_schema
from stores.database import Database
from stores.security.access import ANONYMOUS_ADMIN, ANONYMOUS_WRITER, NOBODY, Caller, Grant, Role
from tests.commands import Commands
from tests.graphql_schema.permissions.questions import Question, questions
from tests.waiting import until

OURS, THEIRS = "acme/chat", "rival/chat"
CALLERS = {
    "none": NOBODY,
    "reader": Caller("reader", (Grant(OURS, Role.READER),)),
    "writer": Caller("writer", (Grant(OURS, Role.WRITER),)),
    "admin": Caller("admin", (Grant(OURS, Role.ADMIN),)),
    "other admin": Caller("other", (Grant(THEIRS, Role.ADMIN), Grant("acme/chat2", Role.ADMIN))),
    "entity reader": Caller("entity reader", (Grant("acme/*", Role.READER),)),
    "entity admin": Caller("entity admin", (Grant("acme/*", Role.ADMIN), Grant(THEIRS, Role.READER))),
    "operator": Caller("operator", (Grant("*", Role.ADMIN),)),
    "open": ANONYMOUS_WRITER,
    "open admin": ANONYMOUS_ADMIN,
}
CODES = {"FORBIDDEN", "NOT_FOUND", "OBJECT_DELETED", "BAD_USER_INPUT"}
"""Codes that an answer may have: the question is rejected or invalid, or its entity is missing or deleted."""

ROLES = {
    "reader": Role.READER,
    "writer": Role.WRITER,
    "admin": Role.ADMIN,
    "entity reader": Role.READER,
    "entity admin": Role.ADMIN,
    "operator": Role.ADMIN,
    "open": Role.WRITER,
    "open admin": Role.ADMIN,
}


def may(caller: str, ruling: FieldPermission) -> bool:
    """Return whether the table permits the field; `projects` permits all callers and returns only their projects."""
    return ruling.projects.description.startswith("only projects") or ROLES.get(caller, Role.NONE) >= ruling.role


async def first_errors(schema: LimitedSchema, context: Context, question: Question, commands: Commands) -> list[Any]:
    """Return the errors of the first answer, or none once a subscription sends a command to the database."""
    if question.root != "Subscription":
        result = await schema.execute(question.document, question.variables, context)
        return result.errors or []
    results: Any = await schema.stream(question.document, question.variables, context)
    async with aclosing(results):
        answer = asyncio.ensure_future(anext(results))
        await until(lambda: answer.done() or bool(_started_commands(commands)))
        if answer.done():
            return answer.result().errors or []
        answer.cancel()
        await asyncio.gather(answer, return_exceptions=True)
        return []


def _started_commands(commands: Commands) -> list[tuple[str, dict[str, Any]]]:
    """Return the commands without those that continue a watch."""
    return [sent for sent in commands.sent if sent[0] not in {"getMore", "killCursors"}]


def own(commands: Commands) -> list[str]:
    """Return the commands without those of watches, because a watch of an earlier question may still send some."""
    return [
        name for name, body in _started_commands(commands) if "$changeStream" not in (body.get("pipeline") or [{}])[0]
    ]


def is_refused(errors: list[Any], question: Question) -> bool:
    """Return whether a question was rejected, after a check that no error is unexpected."""
    codes = {error.extensions["code"] for error in errors}
    assert codes <= CODES, (question, question.variables, errors)
    return "FORBIDDEN" in codes


@pytest.fixture(scope="module", params=[True, False], ids=["compiled", "stock"])
def schema(request: pytest.FixtureRequest) -> LimitedSchema:
    """Return the schema with each of the two executors."""
    return build_schema(Limits(), compiled=request.param)


@pytest.mark.parametrize("caller", CALLERS)
async def test_every_field_needs_the_role_in_the_table(
    schema: LimitedSchema, database: Database, commands: Commands, caller: str
) -> None:
    stores = Stores(database)
    outcomes: dict[str, set[bool]] = {}
    sent: dict[str, list[str]] = {}

    for question in questions(schema, OURS):
        commands.sent.clear()
        errors = await first_errors(schema, Context(stores, caller=CALLERS[caller]), question, commands)
        refused = is_refused(errors, question)
        outcomes.setdefault(str(question), set()).add(not refused)
        sent.setdefault(str(question), []).extend(own(commands) if refused else [])
    await stores.close()

    expected = {
        f"{root}.{field}": {may(caller, ruling)}
        for root, ruled in FIELD_PERMISSIONS.items()
        for field, ruling in ruled.items()
    }
    assert outcomes == expected
    assert {field: names for field, names in sent.items() if names} == {}


def test_field_without_permission_fails_schema_creation(schema: LimitedSchema) -> None:
    for root in FIELD_PERMISSIONS:
        lacking = {**FIELD_PERMISSIONS, root: dict(list(FIELD_PERMISSIONS[root].items())[1:])}
        with pytest.raises(TypeError, match=rf"fields of {root} .*: {next(iter(FIELD_PERMISSIONS[root]))}"):
            guard_root_fields(schema._schema, lacking)


def test_permission_without_field_fails_schema_creation(schema: LimitedSchema) -> None:
    more = {**FIELD_PERMISSIONS, "Query": {**FIELD_PERMISSIONS["Query"], "secrets": FieldPermission(Role.ADMIN)}}
    with pytest.raises(TypeError, match=r"fields of Query .*: secrets"):
        guard_root_fields(schema._schema, more)


async def test_error_without_keys_names_the_command_for_an_admin_key(schema: LimitedSchema, database: Database) -> None:
    document = '{ a: retentionSet(projectId: "acme/chat") { projectId } }'

    result = await schema.execute(f"mutation {document}", context_value=Context(Stores(database)))

    assert result.errors
    assert "LOOMQL_ADMIN=true" in result.errors[0].message
    assert "`loomql retention set acme/chat`" in result.errors[0].message
