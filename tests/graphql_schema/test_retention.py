"""Retention and purges in the API."""

import asyncio

import pytest

from graphql_schema.context import Context, Stores
from graphql_schema.schema import LoomSchema
from stores import times
from stores.calls import CallsStore
from stores.database import Database
from stores.retention.rules import DAY
from stores.security.access import ANONYMOUS_ADMIN
from tests.graphql_schema.conftest import Answer, Run
from tests.stores.calls.builders import PROJECT, SECOND, end, start
from tests.waiting import TIMEOUT

SET = """mutation ($days: Int, $calls: Int, $project: ID = "acme/chat") {
  retentionSet(projectId: $project, keepDays: $days, keepCalls: $calls) { projectId keepDays keepCalls }
}"""
PREVIEW = """query ($days: Int, $calls: Int, $project: ID = "acme/chat") {
  retentionPreview(projectId: $project, keepDays: $days, keepCalls: $calls) {
    traces calls hiddenCalls feedback files traceStorageSizeBytes filesStorageSizeBytes
  }
}"""
SWEEP = """mutation ($project: ID = "acme/chat") { retentionSweep(projectId: $project) {
  outcome startedAt endedAt durationMs traces calls hiddenCalls feedback files
  traceStorageSizeBytes filesStorageSizeBytes error
} }"""
PURGE = """mutation ($confirm: String!, $project: ID = "acme/chat") {
  projectPurge(projectId: $project, confirm: $confirm) { projectId isDone calls feedback objects files }
}"""
READ = """{ retention(projectId: "acme/chat") {
  keepDays keepCalls setAt nextSweepAt lastSweep { outcome calls }
} }"""


@pytest.fixture
def administer(schema: LoomSchema, database: Database) -> Run:
    """Return the function of `run` for a server with LOOMQL_ADMIN=true."""
    context = Context(Stores(database), caller=ANONYMOUS_ADMIN)
    return run_with(schema, context)


def run_with(schema: LoomSchema, context: Context) -> Run:
    async def run(document: str, **variables: object) -> Answer:
        result = await schema.execute(document, variable_values=variables, context_value=context)
        return Answer(result.data, [dict(error.formatted) for error in result.errors or ()])

    return run


@pytest.fixture
async def logged(calls: CallsStore) -> None:
    """Store five calls from 9 days ago and two from now."""
    for number, days in enumerate((9, 9, 9, 9, 9, 0, 0)):
        began = times.now() - days * DAY
        await calls.write([start(number, started_at=began), end(number, ended_at=began + SECOND)])


@pytest.mark.usefixtures("logged")
async def test_rule_is_previewed_set_applied_and_removed(administer: Run, run: Run) -> None:
    nothing = {"hiddenCalls": 0, "feedback": 0, "files": 0, "filesStorageSizeBytes": 0}
    old = {"traces": 5, "calls": 5, "traceStorageSizeBytes": 5 * len("{}{}null{}")}

    assert (await run(PREVIEW, days=5)).data["retentionPreview"] == old | nothing
    assert (await run(PREVIEW, calls=7)).data["retentionPreview"] == dict.fromkeys(old | nothing, 0)
    assert (await run(READ)).data["retention"] == {
        "keepDays": None, "keepCalls": None, "setAt": None, "nextSweepAt": None, "lastSweep": None
    }  # fmt: skip
    rule = (await administer(SET, days=5, calls=1000)).data["retentionSet"]
    assert rule == {"projectId": PROJECT, "keepDays": 5, "keepCalls": 1000}
    assert (await run(PREVIEW)).data["retentionPreview"] == old | nothing

    swept = (await administer(SWEEP)).data["retentionSweep"]
    times_told = [swept.pop(name) for name in ("startedAt", "endedAt", "durationMs")]
    assert swept == {"outcome": "DONE", "error": None} | old | nothing
    assert None not in times_told
    assert (await run('{ callsStats(projectId: "acme/chat") { count } }')).data["callsStats"] == {"count": 2}
    found = (await run(READ)).data["retention"]
    assert found["lastSweep"] == {"outcome": "DONE", "calls": 5}
    assert None not in found.values()

    assert (await administer(SET)).data["retentionSet"]["keepDays"] is None
    after = (await run(READ)).data["retention"]
    assert (after["keepCalls"], after["nextSweepAt"], after["lastSweep"]) == (None, None, found["lastSweep"])
    assert (await administer(SWEEP)).code == "BAD_USER_INPUT"


@pytest.mark.usefixtures("logged")
@pytest.mark.timings(registry_lag_seconds=0, write_margin_seconds=0)
async def test_project_is_purged(administer: Run, run: Run) -> None:
    last = (
        '{ lastPurge(projectId: "acme/chat") { isDone endedAt waitsUntil calls } '
        'project(projectId: "acme/chat") { id } }'
    )
    assert (await run(last)).data == {"lastPurge": None, "project": {"id": PROJECT}}

    found = (await administer(PURGE, confirm=PROJECT)).data["projectPurge"]

    assert found == {"projectId": PROJECT, "isDone": True, "calls": 7, "feedback": 0, "objects": 0, "files": 0}
    after = (await run(last)).data
    assert after["lastPurge"].pop("endedAt")
    assert after == {"lastPurge": {"isDone": True, "waitsUntil": None, "calls": 7}, "project": None}
    assert (await administer(PURGE, confirm=PROJECT)).code == "NOT_FOUND"


@pytest.mark.usefixtures("logged")
@pytest.mark.timings(registry_lag_seconds=1_000)
async def test_purge_returns_before_the_wait_for_unaware_servers(administer: Run) -> None:
    async with asyncio.timeout(TIMEOUT):
        found = (await administer(PURGE, confirm=PROJECT)).data["projectPurge"]

    assert found == {"projectId": PROJECT, "isDone": False, "calls": 7, "feedback": 0, "objects": 0, "files": 0}


@pytest.mark.usefixtures("logged")
async def test_non_admin_error_says_how_to_get_access(run: Run) -> None:
    for document, command in (
        (SET, "loomql retention set acme/chat"),
        (SWEEP, "loomql retention sweep acme/chat"),
        (PURGE, "loomql project purge acme/chat"),
    ):
        answer = await run(document, confirm=PROJECT, days=1)
        assert answer.code == "FORBIDDEN"
        assert answer.errors[0]["message"].startswith("is for administrators; set LOOMQL_ADMIN=true on the server")
        assert answer.errors[0]["message"].endswith(f"or run `{command}` there")
    assert (await run('{ callsStats(projectId: "acme/chat") { count } }')).data["callsStats"] == {"count": 7}


@pytest.mark.parametrize(
    ("document", "variables", "code", "message"),
    [
        (SET, {"days": -1}, "BAD_USER_INPUT", "keepDays: -1 days is out of range; send 1 to 36,500"),
        (SET, {"days": 0}, "BAD_USER_INPUT", "keepDays: 0 days is out of range; send 1 to 36,500"),
        (SET, {"calls": -7}, "BAD_USER_INPUT", "keepCalls: -7 calls is out of range; send 1 to 2,000,000,000"),
        (SET, {"days": 1, "project": "acme/typo"}, "NOT_FOUND", "projectId: project acme/typo does not exist"),
        (SET, {"days": 1, "project": "acme"}, "BAD_USER_INPUT", "projectId: 'acme' is not a project id"),
        (PREVIEW, {}, "BAD_USER_INPUT", "keepDays: acme/chat has no rule; state how many days"),
        (PREVIEW, {"days": 99999999}, "BAD_USER_INPUT", "keepDays: 99,999,999 days is out of range"),
        (SWEEP, {}, "BAD_USER_INPUT", "projectId: acme/chat has no rule; set one with retentionSet"),
        (SWEEP, {"project": "acme/typo"}, "NOT_FOUND", "projectId: project acme/typo does not exist"),
        (PURGE, {"confirm": "acme/chap"}, "BAD_USER_INPUT", "confirm: must repeat the project id acme/chat"),
        (
            PURGE,
            {"confirm": "acme/typo", "project": "acme/typo"},
            "NOT_FOUND",
            "projectId: project acme/typo does not exist",
        ),
    ],
)
@pytest.mark.usefixtures("logged")
async def test_invalid_rules_are_refused(
    administer: Run, document: str, variables: dict[str, object], code: str, message: str
) -> None:
    answer = await administer(document, **variables)

    assert answer.code == code
    assert answer.errors[0]["message"].startswith(message)


async def test_missing_project_has_no_retention(run: Run) -> None:
    assert (await run(READ)).data == {"retention": None}


async def test_missing_database_is_unavailable(schema: LoomSchema) -> None:
    away = Database.open("mongodb://127.0.0.1:9", "none", timeout_seconds=0.1)
    run = run_with(schema, Context(Stores(away), caller=ANONYMOUS_ADMIN))

    documents: tuple[str, ...] = (SET, PREVIEW, SWEEP, PURGE, READ, '{ lastPurge(projectId: "acme/chat") { isDone } }')
    codes = [(await run(document, days=1, confirm=PROJECT)).code for document in documents]

    assert codes == ["UNAVAILABLE"] * len(documents)
    away.close()
