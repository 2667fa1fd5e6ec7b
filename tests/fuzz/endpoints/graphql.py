"""GraphQL over HTTP: valid, damaged and invalid documents, in bodies and URLs of many kinds."""

import json
from random import Random
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from tests.fuzz import damage, texts
from tests.fuzz.documents import Documents, Operation
from tests.fuzz.wire import Request

if TYPE_CHECKING:
    from collections.abc import Callable

NAME: Final = "graphql"
_JSON: Final = ("Content-Type", "application/json")
_EVENTS: Final = ("Accept", "text/event-stream")
_BOUNDARY: Final = "----fuzz"
_FORM: Final = (("Content-Type", f"multipart/form-data; boundary={_BOUNDARY}"), ("Apollo-Require-Preflight", "1"))
_STRANGE_BODIES: Final = (
    b"", b"null", b"5", b'"x"', b"[]", b"{}", b"\xff\xfe{\0}\0", b"\xef\xbb\xbf{}", b"[" * 100_000,
    b'{"query":' + b"[" * 50_000, b'{"query": "{ __typename }", "variables": ' + b'{"a":' * 20_000,
    b'{"query": "{ __typename }", "query": 5}', b'{"query": "{ __typename }", "operationName": "Nobody"}',
    b'{"query": "{ __typename }", "variables": []}', b'{"query": "{ __typename }", "extensions": 1}',
    b'{"query": "{ __typename }", "extensions": {"persistedQuery": {"version": 1, "sha256Hash": "00"}}}',
    b'[{"query": "{ __typename }"}, {"query": "{ __typename }"}]', b'{"query": "\\ud800"}', b'{"query": "\\u0000"}',
    b'{"query": "{ __typename }", "variables": {"a": 1e999999}}', b'{"query": "{ __typename }"} trailing',
    b'{"query": "{ __typename }", "variables": {"a": ' + b"9" * 100_000 + b"}}",
)  # fmt: skip
_STRANGE_HEADERS: Final = (
    (("Content-Type", "text/plain"),),
    (("Content-Type", "application/x-www-form-urlencoded"),),
    (("Content-Type", "application/json; charset=utf-16"),),
    (("Content-Type", "application/json; charset=\x00"),),
    (("Content-Type", "multipart/form-data"),),
    (_JSON, ("Content-Encoding", "gzip")),
    (_JSON, ("Accept", "image/png")),
    (_JSON, ("Accept", "application/graphql-response+json;q=banana, */*;q=-1")),
    (_JSON, ("Accept", "a" * 5000)),
    (_JSON, ("Expect", "100-continue")),
    (_JSON, ("Transfer-Encoding", "chunked")),
    (_JSON, ("X-Request-ID", "\x7f" * 300)),
    (_JSON, ("Authorization", "Bearer \u00e9\u00e9")),
    (_JSON, ("Cookie", "a=" + "b" * 4000)),
)


def request(random: Random, documents: Documents) -> Request:
    ways: tuple[tuple[float, Callable[[Random, Documents], Request]], ...] = (
        (64, _posted),
        (12, _damaged_document),
        (5, _damaged_body),
        (5, _got),
        (4, _form),
        (2, _events),
        (3, _strange_body),
        (4, _strange_headers),
        (1, _torn),
        (0.4, _dense),
        (0.5, _aliases),
    )
    return random.choices([way for _, way in ways], weights=[weight for weight, _ in ways])[0](random, documents)


def body(random: Random, operation: Operation) -> bytes:
    """Return the body of a request as JSON, with non-ASCII characters escaped or not."""
    content: dict[str, Any] = {"query": operation.document, "variables": operation.variables}
    if random.random() < 0.05:
        content["operationName"] = random.choice(("Asked", "", None, texts.text(random)))
    return json.dumps(content, ensure_ascii=random.random() < 0.7).encode("utf-8", "surrogatepass")


def _post(content: bytes, *headers: tuple[str, str], **more: Any) -> Request:
    return Request(NAME, "POST", "/graphql", headers or (_JSON,), content, **more)


def _posted(random: Random, documents: Documents) -> Request:
    return _post(body(random, documents.make(random)))


def _damaged_document(random: Random, documents: Documents) -> Request:
    operation = documents.make(random)
    return _post(body(random, Operation(damage.of_document(random, operation.document), operation.variables)))


def _damaged_body(random: Random, documents: Documents) -> Request:
    return _post(damage.of_bytes(random, body(random, documents.make(random))))


def _got(random: Random, documents: Documents) -> Request:
    operation = documents.make(random)
    variables = json.dumps(operation.variables)
    if random.random() < 0.2:
        variables = damage.of_text(random, variables)
    query = f"query={quote(operation.document, errors='ignore')}&variables={quote(variables, errors='ignore')}"
    return Request(NAME, "GET", f"/graphql?{query}"[:50_000], (("Accept", "application/json"),))


def _form(random: Random, _documents: Documents) -> Request:
    operations = json.dumps(
        {
            "query": 'mutation ($f: Upload) { fileCreate(projectId: "fuzz/own", name: "a", upload: $f) { digest } }',
            "variables": {"f": random.choice((None, None, "x", [None]))},
        }
    )
    where = random.choice(
        ("variables.f", "variables.f", "variables.f", "variables.g", "f", "", "variables.f.0", "query")
    )
    parts = [
        ("operations", "", operations),
        ("map", "", json.dumps({"0": [where]})),
        ("0", '; filename="a"', "content"),
    ]
    if random.random() < 0.2:
        random.shuffle(parts)
    encoded = _encoded_form(parts)
    if random.random() < 0.6:
        encoded = damage.of_bytes(random, encoded)
    return _post(encoded, *_FORM)


def _encoded_form(parts: list[tuple[str, str, str]]) -> bytes:
    """Encode a multipart form; each part has a name, more parameters of Content-Disposition, and content."""
    content = "".join(
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'
        for name, more, value in parts
    )
    return f"{content}--{_BOUNDARY}--\r\n".encode()


def _dense(random: Random, _documents: Documents) -> Request:
    """Return a request with very many small values in a condition, in a form's `operations`, or in stored data."""
    if random.random() < 0.3:
        start = {"projectId": "fuzz/own", "opName": "dense", "startedAt": "2026-03-01T08:00:00Z", "attributes": {}}
        values = texts.dense(random, 400_000)
        variables = f'{{"s": {json.dumps(start)[:-1]}, "inputs": {{"a": {values}}}}}}}'
        document = "mutation ($s: StartedCallSchemaForInsert!) { callStart(start: $s) { id } }"
    else:
        variables = f'{{"q": {texts.dense(random)}}}'
        document = 'query ($q: JSON!) { calls(projectId: "fuzz/own", first: 1, query: { json: $q }) { nodes { id } } }'
    operations = f'{{"query": {json.dumps(document)}, "variables": {variables}}}'
    if random.random() < 0.3:
        return _post(_encoded_form([("operations", "", operations), ("map", "", "{}")]), *_FORM)
    return _post(operations.encode())


def _aliases(random: Random, _documents: Documents) -> Request:
    """Return a request with one root field under many aliases, each with its own condition that no index supports."""
    count = random.choice((20, 60, 90, 100, 101))
    root = random.choice(
        (
            "calls(projectId: $p, first: 1, query: {{ json: $q{} }}) {{ nodes {{ id }} }}",
            "callsStats(projectId: $p, query: {{ json: $q{} }}) {{ count }}",
            "feedback(projectId: $p, first: 1, query: {{ json: $q{} }}) {{ nodes {{ id }} }}",
        )
    )
    fields = " ".join(f"a{number}: {root.format(number)}" for number in range(count))
    declared = " ".join(f"$q{number}: JSON!" for number in range(count))
    field = random.choice(("inputs", "output.answer", "payload", "summary.usage"))
    variables: dict[str, Any] = {"p": random.choice(("demo/assistant", "fuzz/own", "fuzz/other"))}
    for number in range(count):
        parts = {"input": {"$getField": field}, "substr": {"$literal": f"absent {number}"}}
        variables[f"q{number}"] = {"$expr": {"$contains": parts}}
    document = f"query ($p: ID! {declared}) {{ {fields} }}"
    return _post(json.dumps({"query": document, "variables": variables}).encode())


def _events(random: Random, documents: Documents) -> Request:
    operation = documents.make(random, random.choice(("query", "subscription", "subscription")))
    return _post(body(random, operation), _JSON, _EVENTS, reads_for=0.2)


def _strange_body(random: Random, _documents: Documents) -> Request:
    return _post(random.choice(_STRANGE_BODIES))


def _strange_headers(random: Random, documents: Documents) -> Request:
    content = body(random, documents.make(random, "query"))
    if random.random() < 0.3:
        method = random.choice(("PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "BREW"))
        return Request(NAME, method, "/graphql", (_JSON,), content)
    return _post(content, *random.choice(_STRANGE_HEADERS))


def _torn(random: Random, documents: Documents) -> Request:
    content = body(random, documents.make(random))
    if random.random() < 0.5:
        return _post(content, length=len(content) + random.choice((1, 1000)))
    return _post(content, cut_at=random.randrange(len(content)))
