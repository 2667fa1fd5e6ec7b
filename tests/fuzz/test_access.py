"""Tests of the checks that find answers which give a caller data without the right to it."""

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
def test_request_without_key_returns_nothing(name: str) -> None:
    assert access.problems(caller(name), ASKED, answer(DATA)) == [
        f"{name} is given data",
        f"{name} is answered with 200",
    ]
    assert access.problems(caller(name), ASKED, answer(DATA, 401)) == [f"{name} is given data"]
    assert access.problems(caller(name), ASKED, answer({"data": None, "errors": []}, 401)) == []


def test_key_returns_data_of_its_projects() -> None:
    assert access.problems(caller(READER), ASKED, answer(DATA)) == ["reader is told of fuzz/other"]
    for may in (caller(WRITER), caller(OPERATOR), EVERYBODY):
        assert access.problems(may, ASKED, answer(DATA)) == []
    listed = answer({"data": {"r0_calls": [{"projectId": "demo/assistant"}, {"projectId": "fuzz/own"}]}})
    assert access.problems(caller(READER), ASKED, listed) == []


def test_redirect_returns_nothing() -> None:
    request = Request("files", "GET", "/files/fuzz/other/")

    assert access.problems(caller(READER), request, answer("", 307)) == []
    assert access.problems(caller(READER), request, answer("", 200)) == ["reader may GET fuzz/other"]


def test_data_of_another_project_is_detected_in_any_response() -> None:
    secret = answer(MARK.format("fuzz/other"), media_type="application/jsonl")

    assert access.problems(caller(READER), ASKED, secret) == ["reader is told what only fuzz/other holds"]
    assert access.problems(caller(WRITER), ASKED, secret) == []
    assert access.of_text(caller(READER), json.dumps({"payload": MARK.format("fuzz/other")})) == [
        "reader is told what only fuzz/other holds"
    ]


@pytest.mark.parametrize(
    ("name", "method", "target", "expected"),
    [
        (READER, "GET", "/files/fuzz/other/abc", ["reader may GET fuzz/other"]),
        (READER, "GET", "/files/fuzz/own/abc", []),
        (READER, "PUT", "/files/fuzz/own?name=a", ["reader may PUT fuzz/own"]),
        (WRITER, "PUT", "/files/fuzz/own?name=a", []),
        (READER, "GET", "/export/calls?projectId=fuzz%2Fother&format=parquet", ["reader may GET fuzz/other"]),
        (READER, "GET", "/export/calls?projectId=demo/assistant", []),
    ],
)
def test_url_names_a_project_of_the_key(name: str, method: str, target: str, expected: list[str]) -> None:
    assert access.problems(caller(name), Request("files", method, target), answer(None, 206)) == expected


def test_reader_changes_nothing() -> None:
    changed = answer({"data": {"r0_callUpdate": {"id": "1"}}})

    assert access.problems(caller(READER), CHANGED, changed) == ["reader writes"]
    assert access.problems(caller(READER), CHANGED, answer({"data": {"r0_callUpdate": None}})) == []
    nothing = answer({"data": {"r0_callCreateBatch": {"__typename": "Res", "res": []}}, "extensions": {"id": "x"}})
    assert access.problems(caller(READER), CHANGED, nothing) == []
    assert access.problems(caller(WRITER), CHANGED, changed) == []
