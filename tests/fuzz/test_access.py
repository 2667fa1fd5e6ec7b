"""Which answers give somebody what is not theirs."""

import json

import pytest

from tests.fuzz import access
from tests.fuzz.callers import EVERYBODY, EXPIRED, NOBODY, OPERATOR, READER, STRANGE, WRITER, Caller
from tests.fuzz.seeding import MARK
from tests.fuzz.wire import Answer, Request

DATA = {"data": {"r0_call": {"id": "1", "projectId": "fuzz/other"}}}
ASKED = Request("graphql", "POST", "/graphql", body=b'{"query": "query { call { id } }"}')
CHANGED = Request("graphql", "POST", "/graphql", body=b'{"query": "mutation { callUpdate { id } }"}')


def caller(name: str) -> Caller:
    return Caller.of(name, "Bearer x", name)


def answer(content: object, status: int = 200, media_type: str = "application/json") -> Answer:
    return Answer(status, {"content-type": media_type}, json.dumps(content).encode(), is_whole=True)


@pytest.mark.parametrize("name", [EXPIRED, STRANGE, NOBODY])
def test_who_has_no_key_is_answered_with_nothing(name: str) -> None:
    assert access.problems(caller(name), ASKED, answer(DATA)) == [
        f"{name} is given data",
        f"{name} is answered with 200",
    ]
    assert access.problems(caller(name), ASKED, answer(DATA, 401)) == [f"{name} is given data"]
    assert access.problems(caller(name), ASKED, answer({"data": None, "errors": []}, 401)) == []


def test_a_key_shows_what_is_in_its_projects() -> None:
    assert access.problems(caller(READER), ASKED, answer(DATA)) == ["reader is told of fuzz/other"]
    for may in (caller(WRITER), caller(OPERATOR), EVERYBODY):
        assert access.problems(may, ASKED, answer(DATA)) == []
    listed = answer({"data": {"r0_calls": [{"projectId": "demo/assistant"}, {"projectId": "fuzz/own"}]}})
    assert access.problems(caller(READER), ASKED, listed) == []


def test_a_redirect_gives_nothing() -> None:
    asked = Request("files", "GET", "/files/fuzz/other/")

    assert access.problems(caller(READER), asked, answer("", 307)) == []
    assert access.problems(caller(READER), asked, answer("", 200)) == ["reader may GET fuzz/other"]


def test_what_only_another_project_holds_is_found_in_any_answer() -> None:
    secret = answer(MARK.format("fuzz/other"), media_type="application/jsonl")

    assert access.problems(caller(READER), ASKED, secret) == ["reader is told what only fuzz/other holds"]
    assert access.problems(caller(WRITER), ASKED, secret) == []
    assert access.of_text(caller(READER), json.dumps({"payload": MARK.format("fuzz/other")})) == [
        "reader is told what only fuzz/other holds"
    ]


@pytest.mark.parametrize(
    ("name", "method", "target", "told"),
    [
        (READER, "GET", "/files/fuzz/other/abc", ["reader may GET fuzz/other"]),
        (READER, "GET", "/files/fuzz/own/abc", []),
        (READER, "PUT", "/files/fuzz/own?name=a", ["reader may PUT fuzz/own"]),
        (WRITER, "PUT", "/files/fuzz/own?name=a", []),
        (READER, "GET", "/export/calls?projectId=fuzz%2Fother&format=parquet", ["reader may GET fuzz/other"]),
        (READER, "GET", "/export/calls?projectId=demo/assistant", []),
    ],
)
def test_an_address_names_a_project_of_the_key(name: str, method: str, target: str, told: list[str]) -> None:
    assert access.problems(caller(name), Request("files", method, target), answer(None, 206)) == told


def test_a_reader_changes_nothing() -> None:
    changed = answer({"data": {"r0_callUpdate": {"id": "1"}}})

    assert access.problems(caller(READER), CHANGED, changed) == ["reader writes"]
    assert access.problems(caller(READER), CHANGED, answer({"data": {"r0_callUpdate": None}})) == []
    nothing = answer({"data": {"r0_callCreateBatch": {"__typename": "Res", "res": []}}, "extensions": {"id": "x"}})
    assert access.problems(caller(READER), CHANGED, nothing) == []
    assert access.problems(caller(WRITER), CHANGED, changed) == []
