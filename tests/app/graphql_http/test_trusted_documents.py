"""Tests of trusted documents: manifests of common tools, and requests by hash over every protocol."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.graphql_http.trusted_documents import (
    TrustedDocuments,
    UnknownDocumentError,
    UntrustedDocumentError,
    read_documents,
)
from app.pages import EXPLORER_DOCUMENTS
from app.server.application import create_app
from app.settings import Settings
from stores.calls import CallsStore
from stores.errors import BadInputError
from tests.app.endpoints import PROJECT, Server, answered, serving
from tests.app.event_stream import EVENTS
from tests.stores.calls.builders import start

COUNT = 'query Count { callsStats(projectId: "acme/endpoints") { count } }'
WATCH = 'subscription Watch { callEvents(projectId: "acme/endpoints") { type } }'
RENAME = 'mutation Make { ensureProjectExists(entity: "acme", project: "endpoints") { projectName } }'
SHA256 = hashlib.sha256(COUNT.encode()).hexdigest()
OTHER = "{ __typename }"
MANIFEST = {"c0ffee": COUNT, "watch-hash": WATCH, "make-hash": RENAME}
FOUND = {"callsStats": {"count": 0}}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    file = tmp_path / "persisted-documents.json"
    file.write_text(json.dumps(MANIFEST))
    return file


@pytest.fixture
def trusting(mongodb_uri: str, database_name: str, manifest: Path) -> Iterator[Server]:
    yield from serving(mongodb_uri, database_name, trusted_documents=manifest)


@pytest.fixture
def strict(mongodb_uri: str, database_name: str, manifest: Path) -> Iterator[Server]:
    yield from serving(mongodb_uri, database_name, trusted_documents=manifest, only_trusted_documents=True)


def persisted(sha256: str) -> dict[str, Any]:
    return {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": sha256}}}


@pytest.mark.parametrize(
    "content",
    [
        {"h1": COUNT, "h2": WATCH},  # the format of graphql-codegen and Relay
        {
            "format": "apollo-persisted-query-manifest",
            "version": 1,
            "operations": [
                {"id": "h1", "name": "Count", "type": "query", "body": COUNT},
                {"id": "h2", "name": "Watch", "type": "subscription", "body": WATCH},
            ],
        },
    ],
    ids=["codegen", "apollo"],
)
def test_manifests_of_common_tools_are_read(tmp_path: Path, content: object) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(content))

    assert read_documents(tmp_path / "manifest.json") == {"h1": COUNT, "h2": WATCH}


def test_folder_may_contain_manifests_and_documents(tmp_path: Path, manifest: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "count.graphql").write_text(COUNT)
    (tmp_path / "more" / "README.md").write_text("of no concern")

    assert read_documents(manifest.parent) == {**MANIFEST, SHA256: COUNT}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not JSON"),
        ("[]", "is not a manifest"),
        ('{"h": 5}', "is not a manifest"),
        ('{"format": "apollo-persisted-query-manifest", "operations": [5]}', "is not a manifest"),
        ("{}", "no documents"),
    ],
)
def test_invalid_manifest_fails_startup(tmp_path: Path, mongodb_uri: str, content: str, reason: str) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(content)

    with pytest.raises(ValueError, match=f"LOOMQL_TRUSTED_DOCUMENTS: .*{reason}"):
        create_app(Settings(mongodb_uri=mongodb_uri, trusted_documents=file))


def test_missing_manifest_or_conflicting_hash_fails_startup(tmp_path: Path, mongodb_uri: str) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        TrustedDocuments.of(tmp_path / "none.json", is_strict=False)
    with pytest.raises(ValueError, match="no document could run"):
        create_app(Settings(mongodb_uri=mongodb_uri, only_trusted_documents=True, explorer=False))
    (tmp_path / "a.json").write_text('{"h": "{ a }"}')
    (tmp_path / "b.json").write_text('{"h": "{ b }"}')
    with pytest.raises(ValueError, match=r"b.json has another document for h"):
        read_documents(tmp_path)


def test_strict_server_without_documents_runs_none() -> None:
    with pytest.raises(UntrustedDocumentError, match="only trusted documents"):
        TrustedDocuments(is_strict=True).text_of({"query": COUNT})


def test_unknown_hash_is_not_a_syntax_error() -> None:
    trusted = TrustedDocuments(MANIFEST, is_strict=False)

    assert trusted.text_of({"documentId": f"sha256:{SHA256}"}) == COUNT
    assert trusted.text_of({"query": OTHER}) is None
    assert trusted.text_of({"query": OTHER, **persisted("unknown")}) is None
    with pytest.raises(UnknownDocumentError):
        trusted.text_of({"documentId": "unknown"})
    with pytest.raises(UntrustedDocumentError, match="differs from the trusted document"):
        trusted.text_of({"documentId": "c0ffee", "query": OTHER})
    wrong: list[dict[str, Any]] = [{"documentId": 5}, {"documentId": ""}, {"extensions": {"persistedQuery": {}}}]
    for parameters in wrong:
        with pytest.raises(BadInputError):
            trusted.text_of(parameters)


def test_documents_are_requested_by_hash_with_post_and_get(trusting: Server) -> None:
    client = trusting.client
    answers = [
        client.post("/graphql", json={"documentId": "c0ffee"}),
        client.post("/graphql", json=persisted(SHA256)),
        client.post("/graphql", json={"documentId": "c0ffee", "query": COUNT, "operationName": "Count"}),
        client.get("/graphql", params={"documentId": SHA256}),
        client.get("/graphql", params={"extensions": json.dumps(persisted("c0ffee")["extensions"])}),
    ]

    assert [(answer.status_code, answer.json().get("data")) for answer in answers] == [(200, FOUND)] * 5
    # GET must not run a mutation, trusted or not.
    assert client.get("/graphql", params={"documentId": "make-hash"}).status_code == 405


def test_unknown_document_gets_the_error_code_clients_expect(trusting: Server) -> None:
    unknown = [{"documentId": "none"}, persisted("0" * 64)]

    for parameters in unknown:
        answer = trusting.client.post("/graphql", json=parameters)
        [error] = answer.json()["errors"]
        assert (answer.status_code, error["extensions"]["code"]) == (404, "PERSISTED_QUERY_NOT_FOUND")
        assert error["message"].startswith("PersistedQueryNotFound")
    # Apollo's clients then send the hash and the text. The server runs the text and registers nothing.
    assert trusting.graphql(COUNT, **persisted("0" * 64)).json()["data"] == FOUND
    assert trusting.client.post("/graphql", json=persisted("0" * 64)).status_code == 404


def test_hash_without_a_manifest_is_not_found(mongodb_uri: str, database_name: str) -> None:
    for server in serving(mongodb_uri, database_name):
        assert server.client.post("/graphql", json=persisted(SHA256)).status_code == 404
        assert server.graphql(COUNT, **persisted(SHA256)).json()["data"] == FOUND
        missing = server.client.post("/graphql", json={}).json()["errors"][0]["message"]
        assert missing.startswith("The query is missing")


NO_HASHES: list[dict[str, Any]] = [
    {"documentId": 5},
    {"documentId": {}},
    {"documentId": ""},
    {"extensions": {"persistedQuery": []}},
    {"extensions": {"persistedQuery": 5}},
    {"extensions": {"persistedQuery": {"sha256Hash": 5}}},
]


@pytest.mark.parametrize("body", NO_HASHES, ids=str)
def test_invalid_hash_is_refused_with_and_without_a_manifest(
    mongodb_uri: str, database_name: str, manifest: Path, body: dict[str, Any]
) -> None:
    for given in ({}, {"trusted_documents": manifest}):
        for server in serving(mongodb_uri, database_name, **given):
            answers = [server.client.post("/graphql", json=body, headers=headers) for headers in ({}, EVENTS)]
            if "extensions" in body:
                in_url = {"extensions": json.dumps(body["extensions"])}
                answers.append(server.client.get("/graphql", params=in_url))
            errors = [(answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) for answer in answers]
            assert errors == [(400, "BAD_USER_INPUT")] * len(answers)
            assert "hash" in answers[0].text


def test_strict_server_refuses_untrusted_documents(strict: Server) -> None:
    answers = [strict.graphql(OTHER), strict.graphql("{ __schema { types { name } } }"), strict.graphql("not GraphQL")]
    answers += [strict.client.get("/graphql", params={"query": OTHER}), strict.graphql(OTHER, **persisted("0" * 64))]
    form = {"operations": (None, json.dumps({"query": OTHER})), "map": (None, "{}")}
    answers.append(strict.client.post("/graphql", files=form, headers={"apollo-require-preflight": "1"}))

    codes = [(answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) for answer in answers]
    assert codes == [(403, "FORBIDDEN")] * 4 + [(404, "PERSISTED_QUERY_NOT_FOUND"), (403, "FORBIDDEN")]
    assert "LOOMQL_ONLY_TRUSTED_DOCUMENTS" in answers[0].text
    assert strict.client.post("/graphql", json={"documentId": "c0ffee"}).json()["data"] == FOUND
    assert strict.graphql(COUNT).json()["data"] == FOUND  # the manifest contains this text


@pytest.mark.parametrize("query", [[OTHER], {"text": OTHER}, 5, True])
def test_invalid_trusted_document_is_refused(strict: Server, query: object) -> None:
    answer = strict.client.post("/graphql", json={"query": query})

    assert answer.status_code == 400
    assert "query must be a string" in answer.text


def test_subscription_can_be_requested_by_hash(strict: Server) -> None:
    with strict.client.stream("POST", "/graphql", json={"documentId": "watch-hash"}, headers=EVENTS) as stream:
        assert (stream.status_code, next(stream.iter_lines())) == (200, ":")
    assert strict.client.post("/graphql", json={"query": WATCH + " "}, headers=EVENTS).status_code == 403


async def test_websocket_operation_can_be_requested_by_hash(strict: Server) -> None:
    async with strict.socket() as socket:
        by_id = await answered(socket, "1", documentId="c0ffee")
        by_hash = await answered(socket, "2", query="", **persisted(SHA256))
        unknown = await answered(socket, "3", documentId="none")
        own = await answered(socket, "4", query=OTHER)

    assert by_id["payload"]["data"] == by_hash["payload"]["data"] == FOUND
    codes = [message["payload"][0]["extensions"]["code"] for message in (unknown, own)]
    assert codes == ["PERSISTED_QUERY_NOT_FOUND", "FORBIDDEN"]


@pytest.mark.parametrize("has_manifest", [True, False])
async def test_strict_server_runs_the_documents_of_the_explorer(
    mongodb_uri: str, database_name: str, manifest: Path, calls: CallsStore, *, has_manifest: bool
) -> None:
    texts = json.loads(EXPLORER_DOCUMENTS.read_bytes())
    hashes = {
        operation: name for name, text in texts.items() for operation in re.findall(r"(?:query|subscription) \w+", text)
    }
    asked = {"documentId": hashes["query EventsCursor"], "variables": {"projectId": PROJECT}}

    for server in serving(
        mongodb_uri, database_name, trusted_documents=manifest if has_manifest else None, only_trusted_documents=True
    ):
        own, cursor, refused = (
            server.client.post("/graphql", json=body) for body in ({"documentId": "c0ffee"}, asked, {"query": OTHER})
        )
        await calls.write([start(project_id=PROJECT)])
        async with server.socket() as socket:
            over_socket = await answered(socket, "1", **asked)
            variables = {"projectId": PROJECT, "after": cursor.json()["data"]["callEventsCursor"]}
            event = await answered(
                socket, "2", query="", variables=variables, **persisted(hashes["subscription NewCalls"])
            )

    assert [own.status_code, cursor.status_code, refused.status_code] == [200 if has_manifest else 404, 200, 403]
    assert over_socket["payload"]["data"].keys() == {"callEventsCursor"}
    assert event["payload"]["data"]["callEvents"]["type"] == "STARTED"
    assert event["payload"]["data"]["callEvents"]["call"]["id"] == start().id


def test_without_the_explorer_its_documents_are_not_trusted(
    mongodb_uri: str, database_name: str, manifest: Path
) -> None:
    some = next(iter(json.loads(EXPLORER_DOCUMENTS.read_bytes())))

    for server in serving(
        mongodb_uri, database_name, trusted_documents=manifest, only_trusted_documents=True, explorer=False
    ):
        assert server.client.post("/graphql", json={"documentId": some}).status_code == 404
